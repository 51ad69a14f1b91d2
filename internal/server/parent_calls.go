package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/listener"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/privsep"
)

// answer does what the engine asks, or does not. The engine may be anybody's by
// now: what is not in the configuration, or not a user's own, is refused.
func (p *Parent) answer(ctx context.Context, r *privsep.Request) (privsep.Reply, error) {
	switch r.Name {
	case callLoad:
		return with(r, p.load)
	case callUse:
		return with(r, p.use)
	case callDrop:
		return with(r, p.drop)
	case callSigner:
		return with(r, p.signer)
	case callReady:
		p.serves()
		return privsep.Reply{}, nil
	case callBind:
		return with(r, func(a bindArgs) (privsep.Reply, error) { return p.bindFor(ctx, a) })
	case callControl:
		return give(fileOf(p.control))
	case callOpen:
		return with(r, p.openFile)
	case callUser:
		return with(r, p.user)
	case callForward:
		return with(r, p.forward)
	case callWorker:
		return with(r, p.worker)
	case callMailbox:
		return with(r, p.mailbox)
	case callLock:
		return with(r, p.lock)
	case callRelease:
		return with(r, p.release)
	case callStart:
		return p.startFilter(r)
	case callSignal:
		return with(r, p.signalFilter)
	case callWait:
		return with(r, func(a runArgs) (privsep.Reply, error) { return p.waitFilter(ctx, a) })
	case callShow:
		return with(r, p.show)
	case callCaller:
		return with(r, func(a processArgs) (privsep.Reply, error) {
			name, err := p.launcher.FilterOf(a.PID)
			return privsep.Reply{Value: nameArgs{name}}, err
		})
	}
	return privsep.Reply{}, fmt.Errorf("unknown call %q", r.Name)
}

// with decodes the arguments of a call.
func with[A any](r *privsep.Request, f func(A) (privsep.Reply, error)) (privsep.Reply, error) {
	var a A
	if err := r.Args(&a); err != nil {
		return privsep.Reply{}, err
	}
	return f(a)
}

// give answers with a file.
func give(f *os.File, err error) (privsep.Reply, error) {
	if err != nil {
		return privsep.Reply{}, err
	}
	return privsep.Reply{Files: []*os.File{f}}, nil
}

// fileOf duplicates the descriptor of a listener.
func fileOf(ln net.Listener) (*os.File, error) {
	f, ok := ln.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("a listener of type %T has no descriptor", ln)
	}
	return f.File()
}

// load gives the configuration in force, or a fresh one to follow it, with a
// signer for its keys.
func (p *Parent) load(a loadArgs) (privsep.Reply, error) {
	n := 0
	if a.Fresh {
		p.mu.Lock()
		p.hungUp = false
		p.mu.Unlock()
		cfg, snap, err := p.opt.Load()
		if err != nil {
			return privsep.Reply{}, err
		}
		if cfg.Queue.Path != p.dir {
			return privsep.Reply{}, fmt.Errorf("queue path is %s in the configuration and %s in the running server: "+
				"the queue cannot move while the server runs; stop it, move the directory and start it again", cfg.Queue.Path, p.dir)
		}
		if n, err = p.add(cfg, snap); err != nil {
			return privsep.Reply{}, err
		}
	}
	p.mu.Lock()
	if n == 0 {
		n = p.inForce
	}
	g := p.gens[n]
	p.mu.Unlock()
	rep, err := p.handOver(n, g)
	if err != nil {
		p.drop(useArgs{n})
	}
	return rep, err
}

// handOver gives the engine what it needs of a configuration.
func (p *Parent) handOver(n int, g *parentGeneration) (privsep.Reply, error) {
	f, err := snapshotFile(g.snap)
	if err != nil {
		return privsep.Reply{}, err
	}
	rep := privsep.Reply{Value: loaded{Generation: n, Signer: len(g.cfg.PKI) > 0}, Files: []*os.File{f}}
	if len(g.cfg.PKI) > 0 {
		end, err := p.startSigner(g)
		if err != nil {
			f.Close()
			return privsep.Reply{}, err
		}
		rep.Files = append(rep.Files, end)
	}
	return rep, nil
}

// maxSigners is for how many configurations of which something goes on there
// are signers. An engine needs no more, and cannot have processes without end.
const maxSigners = 128

// signer starts another signer of a configuration whose own has ended.
func (p *Parent) signer(a useArgs) (privsep.Reply, error) {
	g, err := p.generation(a.Generation)
	if err != nil {
		return privsep.Reply{}, err
	}
	if len(g.cfg.PKI) == 0 {
		return privsep.Reply{}, fmt.Errorf("configuration %d has no keys", a.Generation)
	}
	return give(p.startSigner(g))
}

// startSigner starts a process with the keys of g, as they were when it was
// checked. The engine's end of its channel is what it gives.
func (p *Parent) startSigner(g *parentGeneration) (*os.File, error) {
	var pairs []privsep.KeyPair
	for _, name := range keyNames(g.cfg) {
		k := g.cfg.PKI[name]
		pairs = append(pairs, privsep.KeyPair{Cert: g.snap.Certs[k.Cert], Key: g.snap.Keys[k.Key]})
	}
	p.signing.Lock()
	defer p.signing.Unlock()
	if p.signers >= maxSigners {
		return nil, fmt.Errorf("sessions of %d configurations go on; try again when some have ended", maxSigners)
	}
	r, end, err := privsep.StartSigner(p.id, pairs)
	if err != nil {
		return nil, err
	}
	p.signers++
	go func() {
		<-r.Done
		p.signing.Lock()
		p.signers--
		p.signing.Unlock()
		if r.State != "exit status 0" {
			p.log.Error("a signer has ended; the next TLS handshake starts another", "status", r.State)
		}
	}()
	return end, nil
}

// keyNames gives the names of a configuration's keys as the signer counts them.
func keyNames(cfg *config.Config) []string {
	names := make([]string, 0, len(cfg.PKI))
	for name := range cfg.PKI {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// bind gives the sockets of a "listen on", those that are bound already and new
// ones.
func (p *Parent) bind(ctx context.Context, g *parentGeneration, i int) ([]*listener.Socket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := g.cfg.Listeners[i]
	socks, err := listener.Bind(ctx, l, p.dir+"/"+SMTPSocket, p.sockets...)
	if err != nil {
		return nil, err
	}
	for _, s := range socks {
		s.Use(l)
		if !slices.Contains(p.sockets, s) {
			p.sockets = append(p.sockets, s)
		}
	}
	return socks, nil
}

func (p *Parent) bindFor(ctx context.Context, a bindArgs) (rep privsep.Reply, err error) {
	g, err := p.generation(a.Generation)
	if err != nil {
		return rep, err
	}
	if a.Listener < 0 || a.Listener >= len(g.cfg.Listeners) {
		return rep, fmt.Errorf("there is no listener %d", a.Listener)
	}
	socks, err := p.bind(ctx, g, a.Listener)
	if err != nil {
		return rep, err
	}
	var b bound
	for _, s := range socks {
		f, err := fileOf(s.Listener)
		if err != nil {
			return rep, err
		}
		rep.Files = append(rep.Files, f)
		b.Sockets = append(b.Sockets, boundSocket{Place: s.Place(), Loopback: s.Loopback})
	}
	rep.Value = b
	return rep, nil
}

// openFile opens a file of a table, or one that a table includes, to be read.
func (p *Parent) openFile(a openArgs) (privsep.Reply, error) {
	for _, cfg := range p.configs() {
		named := routing.Includes(cfg, a.Path)
		for _, t := range cfg.Tables {
			named = named || t.Path() == a.Path && a.Path != ""
		}
		if named {
			return give(os.OpenFile(a.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0))
		}
	}
	return privsep.Reply{}, fmt.Errorf("%s: no table of the configuration is or includes that file", a.Path)
}

// user looks a user of the machine up.
func (p *Parent) user(a nameArgs) (privsep.Reply, error) {
	u, err := p.users.lookUp(a.Name)
	if errors.Is(err, delivery.ErrNoUser) {
		return privsep.Reply{Value: foundUser{}}, nil
	}
	return privsep.Reply{Value: foundUser{true, u}}, err
}
