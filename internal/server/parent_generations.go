package server

import (
	"context"
	"fmt"
	"slices"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/listener"
	"github.com/weirmail/weir/internal/privsep"
)

// parentGeneration is one configuration that an engine may know.
type parentGeneration struct {
	cfg      *config.Config
	snap     *config.Snapshot
	launcher *privsep.Launcher
}

// add makes a generation of a configuration. It is forgotten when the engine
// drops it or ends, unless it is in force by then.
func (p *Parent) add(cfg *config.Config, snap *config.Snapshot) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.gens) >= maxGenerations {
		return 0, fmt.Errorf("sessions that go on still need %d earlier configurations; no more are kept", len(p.gens))
	}
	p.last++
	cfg.SetLogger(p.log)
	p.gens[p.last] = &parentGeneration{cfg, snap, p.launcher.For(cfg)}
	return p.last, nil
}

// maxGenerations bounds what an engine can have kept. A configuration is kept
// for as long as there are sessions that began with it: tables, filters and
// keys are still theirs.
const maxGenerations = 512

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

// drop forgets a configuration that the engine has no more use for.
func (p *Parent) drop(a useArgs) (privsep.Reply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.Generation != p.inForce { // the next engine begins with it
		delete(p.gens, a.Generation)
	}
	return privsep.Reply{}, nil
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
