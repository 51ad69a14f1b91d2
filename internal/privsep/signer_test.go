package privsep

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// keyPair makes a certificate with its key.
func keyPair(t *testing.T, key crypto.Signer) KeyPair {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.org"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return KeyPair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// TestSigner: handshakes with every kind of key, of which this process has
// none, and a signer that ends with its channel.
func TestSigner(t *testing.T) {
	rsaKey, err1 := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edKey, err3 := ed25519.GenerateKey(rand.Reader)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	var pairs []KeyPair
	for _, k := range []crypto.Signer{rsaKey, ecKey, edKey} {
		pairs = append(pairs, keyPair(t, k))
	}
	id := Identity{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	if os.Getuid() == 0 {
		id = Identity{UID: 65534, GID: 65534}
	}
	r, end, err := StartSigner(id, pairs)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := NewChannel(end, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := readStatus(r.PID)
	if err != nil {
		t.Fatal(err)
	}
	if st["NoNewPrivs"] != "1" || strings.Trim(st["CapEff"], "0") != "" || os.Getuid() == 0 && st.uid() != 65534 {
		t.Errorf("the signer has rights: %v", st)
	}
	for i, p := range pairs {
		cert, err := Certificate(ch, i, p.Cert)
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			if err := handshake(cert, version); err != nil {
				t.Errorf("key %d, version %x: %v", i, version, err)
			}
		}
	}
	// By now it has answered, so it is sealed.
	if st, err = readStatus(r.PID); err != nil || st["Seccomp"] != "2" && auditArch != 0 {
		t.Errorf("seccomp %s, %v", st["Seccomp"], err)
	}
	for _, a := range []signArgs{{Key: 3}, {Key: -1}, {Hash: 5, Digest: []byte("short")}, {Hash: 999}, {Digest: make([]byte, maxDigest+1)}, {Hash: 5, Digest: make([]byte, 32), PSS: true, Salt: -9}} {
		if _, err := ch.Call(t.Context(), callSign, a, nil); err == nil {
			t.Errorf("signed: %d %d %v", a.Key, a.Hash, a.PSS)
		}
	}
	if _, err := ch.Call(t.Context(), "key", signArgs{}, nil); err == nil {
		t.Error("an unknown call is answered")
	}
	ch.Close()
	select {
	case <-r.Done:
		if r.State != "exit status 0" {
			t.Errorf("the signer ended with %s", r.State)
		}
	case <-time.After(10 * time.Second):
		t.Error("the signer does not end")
	}
}

func handshake(cert tls.Certificate, version uint16) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	served := make(chan error, 1)
	go func() {
		s := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version})
		err := s.Handshake()
		if err == nil {
			_, err = io.WriteString(s, "hello")
		}
		served <- err
	}()
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		return err
	}
	return <-served
}

// TestSignerWithout: what is no key is told by the process's end.
func TestSignerWithout(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := keyPair(t, key)
	p.Key = p.Cert
	r, end, err := StartSigner(Identity{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}, []KeyPair{p})
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	select {
	case <-r.Done:
		if r.State == "exit status 0" {
			t.Error("it ended as if all was well")
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for calls without a key")
	}
}
