package server

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/mailflow/listener"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/mailflow/session"
)

// generation is one configuration in force with what was made of it. It does
// not change; a reload puts another in its place. A session keeps that of its
// beginning to its end.
type generation struct {
	cfg     *config.Config
	router  *routing.Router
	filters *filter.Set
	sockets []*socket
}

// socket is what the sessions of one bound socket share in one generation.
type socket struct {
	*listener.Socket
	config   *config.Listener
	sessions *session.Options
}

// prepare makes the generation of cfg, with sockets of have where it wants the
// same and new ones where not. Nothing of it has an effect yet; Start of its
// filters is what it lacks. On an error all is as it was.
func (s *Server) prepare(ctx context.Context, cfg *config.Config, filters *filter.Set, have []*socket) (*generation, error) {
	cfg.SetLogger(s.log)
	g := &generation{cfg: cfg, filters: filters, router: s.newRouter(cfg)}
	if s.opt.parent != nil {
		filters.AtEnd(func() { s.opt.parent.drop(cfg) })
	}
	bound := bare(have)
	for _, l := range cfg.Listeners {
		socks, err := s.bind(ctx, cfg, l, bound)
		if err != nil {
			g.closeBut(have)
			return nil, err
		}
		for _, sock := range socks {
			g.sockets = append(g.sockets, &socket{Socket: sock, config: l})
		}
		bound = slices.DeleteFunc(bound, func(b *listener.Socket) bool { return slices.Contains(socks, b) })
	}
	for _, sock := range g.sockets {
		var err error
		if sock.sessions, err = s.sessionOptions(g, sock); err != nil {
			g.closeBut(have)
			return nil, err
		}
	}
	return g, nil
}

// newRouter makes the Router of cfg.
func (s *Server) newRouter(cfg *config.Config) *routing.Router {
	if s.opt.parent == nil {
		return routing.New(cfg, &routing.SystemUsers{}, s.log)
	}
	r := routing.New(cfg, s.opt.parent, s.log)
	r.SetFiles(s.opt.parent)
	return r
}

// bind gives the sockets of l, those of have that are bound to the same.
func (s *Server) bind(ctx context.Context, cfg *config.Config, l *config.Listener, have []*listener.Socket) ([]*listener.Socket, error) {
	if s.opt.parent != nil {
		return s.opt.parent.bind(cfg, l, have)
	}
	return listener.Bind(ctx, l, filepath.Join(cfg.Queue.Path, SMTPSocket), have...)
}

func bare(socks []*socket) []*listener.Socket {
	out := make([]*listener.Socket, 0, len(socks))
	for _, s := range socks {
		out = append(out, s.Socket)
	}
	return out
}

// has reports whether one of socks is bound to the same.
func has(socks []*socket, s *socket) bool {
	return slices.ContainsFunc(socks, func(o *socket) bool { return o.Socket == s.Socket })
}

// closeBut closes the sockets that keep has not, and gives them.
func (g *generation) closeBut(keep []*socket) (closed []*socket) {
	for _, sock := range g.sockets {
		if !has(keep, sock) {
			sock.Close()
			closed = append(closed, sock)
		}
	}
	return closed
}

// of gives what counts for a bound socket; nil if the generation has it not.
func (g *generation) of(s *listener.Socket) *socket {
	for _, sock := range g.sockets {
		if sock.Socket == s {
			return sock
		}
	}
	return nil
}

// ttl gives how long an envelope of an action is tried.
func (g *generation) ttl(action string) time.Duration {
	if a := g.cfg.Actions[action]; a != nil && a.TTL != 0 {
		return a.TTL
	}
	return g.cfg.Queue.TTL
}

// enter gives the generation in force with a hold on its filters, which the
// caller releases.
func (s *Server) enter() *generation {
	for {
		// One that nobody holds has a successor already.
		if g := s.now.Load(); g.filters.Hold() {
			return g
		}
	}
}

// config gives the configuration in force.
func (s *Server) config() *config.Config { return s.now.Load().cfg }

// apply puts g into force. The parts that mail needs later come first: when a
// session can use a new action, delivery knows it.
func (s *Server) apply(g *generation) {
	s.agent.Use(g.cfg)
	s.queue.Tune(tuning(g.cfg))
	s.limits.Set(g.cfg.SMTP.MaxSessions, g.cfg.SMTP.MaxSessionsPerSource, g.cfg.SMTP.FreeLoopback)
	for _, sock := range g.sockets {
		sock.Use(sock.config)
	}
	s.now.Store(g)
	if s.opt.parent != nil { // before it hears that the old one is dropped
		if err := s.opt.parent.inForce(g.cfg); err != nil {
			s.log.Error("the parent does not know of the new configuration", "error", err)
		}
	}
	s.filters.Use(g.filters)
}

// tuning says how a configuration wants mail in the queue to be treated.
func tuning(cfg *config.Config) queue.Tuning {
	return queue.Tuning{Hostname: cfg.Hostname, WarnIntervals: cfg.WarnIntervals, MaxDeferred: cfg.MaxDeferred}
}
