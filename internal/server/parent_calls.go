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
		p.hungup = false
		p.mu.Unlock()
		cfg, snap, err := p.opt.Load()
		if err != nil {
			return privsep.Reply{}, err
		}
		if cfg.Queue.Path != p.dir {
			return privsep.Reply{}, fmt.Errorf("queue path is %s in the configuration and %s in the running server: "+
				"the queue cannot move while the server runs; stop it, move the directory and start it again", cfg.Queue.Path, p.dir)
		}
		n = p.add(cfg, snap)
	}
	p.mu.Lock()
	if n == 0 {
		n = p.inForce
	}
	g := p.gens[n]
	p.mu.Unlock()
	f, err := snapshotFile(g.snap)
	if err != nil {
		return privsep.Reply{}, err
	}
	rep := privsep.Reply{Value: loaded{Generation: n, Signer: len(g.cfg.PKI) > 0}, Files: []*os.File{f}}
	if len(g.cfg.PKI) > 0 {
		var pairs []privsep.KeyFile
		for _, name := range keyNames(g.cfg) {
			pairs = append(pairs, privsep.KeyFile{Cert: g.cfg.PKI[name].Cert, Key: g.cfg.PKI[name].Key})
		}
		_, end, err := privsep.StartSigner(p.id, pairs)
		if err != nil {
			f.Close()
			return privsep.Reply{}, err
		}
		rep.Files = append(rep.Files, end)
	}
	return rep, nil
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

// generation gives the configuration of that number.
func (p *Parent) generation(n int) (*parentGeneration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.gens[n]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("there is no configuration %d", n)
}

// use makes a configuration the one in force. What only others listened on is
// closed.
func (p *Parent) use(a useArgs) (privsep.Reply, error) {
	g, err := p.generation(a.Generation)
	if err != nil {
		return privsep.Reply{}, err
	}
	p.mu.Lock()
	p.inForce = a.Generation
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), bindTimeout)
	defer cancel()
	var keep []*listener.Socket
	for i := range g.cfg.Listeners {
		socks, err := p.bind(ctx, g, i) // they are there
		if err != nil {
			return privsep.Reply{}, err
		}
		keep = append(keep, socks...)
	}
	p.closeSockets(func(s *listener.Socket) bool { return slices.Contains(keep, s) })
	return privsep.Reply{}, nil
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

// configs gives the configurations that an engine may know.
func (p *Parent) configs() []*config.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*config.Config
	for _, g := range p.gens {
		all = append(all, g.cfg)
	}
	return all
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
