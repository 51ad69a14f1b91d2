package privsep

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// signerRole is the process that has the keys of TLS. It is handed them, so
// that it can be anybody, and keeps nothing but what it signs
// with. That a key signs what the engine asks for is what it is for; that it
// leaves the process is what this prevents.
const signerRole = "weir: signer"

const (
	maxPEM      = 1 << 20          // bytes of a certificate's or key's file
	maxDigest   = 32 << 10         // bytes to sign: a hash, or with Ed25519 the message itself
	signTimeout = 10 * time.Second // for one signature

	callSign = "sign"
)

// KeyPair is a certificate with its key, as their files have them.
type KeyPair struct{ Cert, Key []byte }

// StartSigner starts a process that has the keys of pairs. The engine's end of
// its channel, on which Certificate's keys call, is for the caller to hand on;
// the process ends when all of those are closed.
func StartSigner(id Identity, pairs []KeyPair) (r *Running, end *os.File, err error) {
	var files []*os.File
	defer func() { closeAll(files) }()
	end, child, err := SocketPair()
	if err != nil {
		return nil, nil, err
	}
	files = append(files, child)
	for _, p := range pairs {
		for _, text := range [][]byte{p.Cert, p.Key} {
			f, err := MemoryFile("pem", text)
			if err != nil {
				end.Close()
				return nil, nil, err
			}
			files = append(files, f)
		}
	}
	c := Child{Role: signerRole, Args: []string{strconv.Itoa(len(pairs))}, Files: files, Identity: id, Confined: true}
	if r, err = c.Start(); err != nil {
		end.Close()
		return nil, nil, err
	}
	return r, end, nil
}

// signs is the signer: it reads its keys, seals itself and signs until nobody
// can ask any more.
func signs() error {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	// Sealed first: what is wrong with a file, or how it is read, ends here.
	if err := Seal(true); err != nil {
		return err
	}
	keys := make([]crypto.Signer, n)
	for i := range keys {
		cert, err1 := readAll(uintptr(ChannelFD + 1 + 2*i))
		key, err2 := readAll(uintptr(ChannelFD + 2 + 2*i))
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return err
		}
		signer, ok := pair.PrivateKey.(crypto.Signer)
		if !ok {
			return fmt.Errorf("a key of type %T cannot sign", pair.PrivateKey)
		}
		keys[i] = signer
	}
	ch, err := NewChannel(os.NewFile(ChannelFD, "channel"), func(_ context.Context, r *Request) (Reply, error) {
		return answerSign(keys, r)
	})
	if err != nil {
		return err
	}
	<-ch.Done()
	return nil
}

// readAll reads a descriptor to its end and closes it.
func readAll(fd uintptr) ([]byte, error) {
	f := os.NewFile(fd, "descriptor "+strconv.Itoa(int(fd)))
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(b) > maxPEM {
		err = fmt.Errorf("a certificate or key of more than %d bytes", maxPEM)
	}
	return b, err
}

// signArgs asks for a signature; signed is the answer.
type signArgs struct {
	Key    int // which, as counted in StartSigner
	Digest []byte
	Hash   uint // crypto.Hash, 0: Digest is the message itself
	PSS    bool // RSA-PSS, with a salt of
	Salt   int
}

type signed struct{ Signature []byte }

func answerSign(keys []crypto.Signer, r *Request) (Reply, error) {
	var a signArgs
	if r.Name != callSign {
		return Reply{}, fmt.Errorf("unknown call %q", r.Name)
	}
	if err := r.Args(&a); err != nil {
		return Reply{}, err
	}
	opts, err := a.check(len(keys))
	if err != nil {
		return Reply{}, err
	}
	sig, err := keys[a.Key].Sign(rand.Reader, a.Digest, opts)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Value: signed{sig}}, nil
}

// check refuses what TLS does not ask for.
func (a *signArgs) check(keys int) (crypto.SignerOpts, error) {
	h := crypto.Hash(a.Hash)
	switch {
	case a.Key < 0 || a.Key >= keys:
		return nil, fmt.Errorf("there is no key %d", a.Key)
	case len(a.Digest) > maxDigest:
		return nil, fmt.Errorf("%d bytes to sign; at most %d are signed", len(a.Digest), maxDigest)
	case h != 0 && (!h.Available() || len(a.Digest) != h.Size()):
		return nil, fmt.Errorf("%d bytes are no %v", len(a.Digest), h)
	case a.PSS && (a.Salt < rsa.PSSSaltLengthEqualsHash || a.Salt > maxDigest):
		return nil, fmt.Errorf("a salt of %d bytes", a.Salt)
	case a.PSS:
		return &rsa.PSSOptions{SaltLength: a.Salt, Hash: h}, nil
	}
	return h, nil
}

// Caller asks a signer: its Channel, or what knows how to start another.
type Caller interface {
	Call(ctx context.Context, name string, args, reply any, files ...*os.File) ([]*os.File, error)
}

// Certificate gives a certificate whose key is the one at place key of the
// signer behind ch.
func Certificate(ch Caller, key int, certPEM []byte) (tls.Certificate, error) {
	chain, err := decodeChain(certPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: chain, PrivateKey: &remoteKey{ch, key, leaf.PublicKey}, Leaf: leaf}, nil
}

// remoteKey is a crypto.Signer whose key is in another process.
type remoteKey struct {
	ch     Caller
	key    int
	public crypto.PublicKey
}

// Public gives the public key.
func (k *remoteKey) Public() crypto.PublicKey { return k.public }

// Sign asks the signer, whose randomness counts.
func (k *remoteKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	a := signArgs{Key: k.key, Digest: digest, Hash: uint(opts.HashFunc())}
	if pss, ok := opts.(*rsa.PSSOptions); ok {
		a.PSS, a.Salt = true, pss.SaltLength
	}
	ctx, cancel := context.WithTimeout(context.Background(), signTimeout)
	defer cancel()
	var s signed
	_, err := k.ch.Call(ctx, callSign, a, &s)
	return s.Signature, err
}

// decodeChain gives the certificates of a PEM file, the server's own first.
func decodeChain(text []byte) (chain [][]byte, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			chain = append(chain, block.Bytes)
		}
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return chain, nil
}

// MemoryFile gives text as an open file that is nowhere but in memory, to be
// read from its beginning.
func MemoryFile(name string, text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(text); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
