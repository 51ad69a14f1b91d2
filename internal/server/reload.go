package server

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/filter"
)

// errNotServing says that there is nothing to reload (yet, or any more).
var errNotServing = errors.New("the server is stopping")

// Reload reads the configuration again and puts it into force. Sessions that
// have begun end with what they began with; those that begin later get the new
// one. It waits until the new filters are ready, or have failed to be: that is
// for their failure policy and no error. On an error nothing has changed. Both
// ends are logged. One call at a time is made, the others wait; before Run
// serves they wait for that.
func (s *Server) Reload(ctx context.Context) (admin.Reloaded, error) {
	done, err := s.reload(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w, or whoever asked for it has left", errNotServing)
	}
	if err != nil {
		s.log.Error("reload failed, nothing has changed", "error", err)
		return done, err
	}
	s.log.Info("configuration reloaded", "config", done.Config,
		"filters_kept", done.FiltersKept, "filters_started", done.FiltersStarted, "filters_ending", done.FiltersEnding, "filters_failing", len(done.FiltersFailing),
		"listeners_kept", done.ListenersKept, "listeners_opened", done.ListenersOpened, "listeners_closed", done.ListenersClosed)
	return done, nil
}

func (s *Server) reload(ctx context.Context) (done admin.Reloaded, err error) {
	if s.opt.Load == nil {
		return done, errors.New("the server was started without a way to read its configuration again")
	}
	select {
	case s.reloading <- struct{}{}:
		defer func() { <-s.reloading }()
	case <-s.serving.Done():
	case <-ctx.Done():
		return done, context.Cause(ctx)
	}
	if s.serving.Err() != nil {
		return done, errNotServing
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.serving, func() { cancel(errNotServing) })()

	old := s.now.Load()
	cfg, err := s.opt.Load()
	if err != nil {
		return done, err
	}
	if err = fixed(old.cfg, cfg); err != nil {
		if s.opt.parent != nil {
			s.opt.parent.drop(cfg)
		}
		return done, err
	}
	g, err := s.successor(ctx, cfg, old)
	if err != nil {
		return done, err
	}
	s.notes(cfg, s.euid())
	s.apply(g)
	closed := old.closeBut(g.sockets)
	for _, sock := range g.sockets {
		if !has(old.sockets, sock) {
			s.accept(sock.Socket, sock.config)
			done.ListenersOpened++
		}
	}
	done.Config = cfg.Path
	done.ListenersKept, done.ListenersClosed = len(g.sockets)-done.ListenersOpened, len(closed)
	done.FiltersKept = g.filters.Kept(old.filters)
	done.FiltersStarted, done.FiltersEnding = g.filters.Len()-done.FiltersKept, old.filters.Len()-done.FiltersKept
	done.FiltersFailing = s.failing()
	return done, nil
}

// fixed refuses what a reload cannot change.
func fixed(old, next *config.Config) error {
	if old.Queue.Path != next.Queue.Path {
		return fmt.Errorf("queue path is %s in the configuration and %s in the running server: "+
			"the queue cannot move while the server runs; stop it, move the directory and start it again", next.Queue.Path, old.Queue.Path)
	}
	if old.Queue.User != next.Queue.User {
		return fmt.Errorf("queue user is %q in the configuration and %q in the running server: "+
			"a server cannot become another user; stop it and start it again", next.Queue.User, old.Queue.User)
	}
	return nil
}

// bindTimeout bounds the look-up of names to listen on in a reload.
const bindTimeout = buildTimeout

// successor makes the generation of cfg that is to follow old, its filters
// started.
func (s *Server) successor(ctx context.Context, cfg *config.Config, old *generation) (*generation, error) {
	launcher := s.launcher.For(cfg)
	filters, err := s.filters.Prepare(cfg, launcher)
	if err != nil {
		if s.opt.parent != nil {
			s.opt.parent.drop(cfg)
		}
		return nil, err
	}
	g, err := s.bindAll(ctx, cfg, filters, old)
	if err == nil {
		if err = filters.Start(ctx); err != nil {
			g.closeBut(old.sockets)
		}
	}
	if err != nil {
		filters.Release()
		if s.opt.parent != nil { // what was bound for it is closed
			err = errors.Join(err, s.opt.parent.inForce(old.cfg))
		}
		return nil, err
	}
	return g, nil
}

func (s *Server) bindAll(ctx context.Context, cfg *config.Config, filters *filter.Set, old *generation) (*generation, error) {
	ctx, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	return s.prepare(ctx, cfg, filters, old.sockets)
}

// ReloadOn reloads the configuration at each signal until ctx ends. Signals
// that come while one is heeded count as one.
func (s *Server) ReloadOn(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-hangup:
			s.Reload(ctx) // logs what is wrong
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) adminReload(ctx context.Context, _ struct{}) (admin.Reloaded, error) {
	return s.Reload(ctx)
}
