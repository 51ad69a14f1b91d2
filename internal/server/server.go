// Package server builds the stages of the mail's way from a configuration and
// ties them together. It is the only place that knows them all; what it adds
// is the order in which they start and stop.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/dns"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/mailflow/listener"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/mailflow/queue/sqlite"
	"github.com/weirmail/weir/internal/privsep"
	"github.com/weirmail/weir/internal/trace"
)

// SMTPSocket is the name of the unix socket for SMTP in the queue's directory.
const SMTPSocket = "smtp.sock"

// DefaultGrace is how long a server that stops waits for transactions and
// attempts under way.
const DefaultGrace = 30 * time.Second

// Options is what a server needs besides its configuration.
type Options struct {
	Log      *slog.Logger
	Version  string
	Resolver dns.Resolver  // nil: the system's
	Grace    time.Duration // 0: DefaultGrace
	Strict   bool          // no start without filters that refuse mail when they fail

	// Load reads the configuration again, for Reload; nil: there is none.
	Load func() (*config.Config, error)

	parent *engine // does what needs rights; nil: we have those that there are
}

// Server is one running weir.
type Server struct {
	now     atomic.Pointer[generation] // in force
	opt     Options
	log     *slog.Logger
	sink    trace.Sink
	started time.Time

	store    *sqlite.Store
	queue    *queue.Queue
	agent    *delivery.Agent
	launcher launcher
	filters  *filter.Host
	limits   *listener.Limits
	control  net.Listener
	sessions registry

	// serving ends, by quit, when no more sessions are taken; life, by abort,
	// when those that there are have no more time.
	serving, life context.Context
	quit, abort   context.CancelFunc
	accepting     sync.WaitGroup // sockets that are served
	served        sync.WaitGroup // connections that are served
	reloading     chan struct{}  // full while a reload goes on, and while there can be none
}

// New builds the stages of cfg and binds its sockets; nothing is accepted and
// no process started before Run. A Server that is not run is closed.
func New(cfg *config.Config, opt Options) (*Server, error) {
	if opt.Grace == 0 {
		opt.Grace = DefaultGrace
	}
	if opt.Resolver == nil {
		opt.Resolver = dns.System()
	}
	s := &Server{opt: opt, log: opt.Log, sink: trace.Log(opt.Log), started: time.Now(), reloading: make(chan struct{}, 1)}
	s.serving, s.quit = context.WithCancel(context.Background())
	s.life, s.abort = context.WithCancel(context.Background())
	s.reloading <- struct{}{} // until Run serves
	s.limits = &listener.Limits{MaxSessions: cfg.SMTP.MaxSessions, MaxSessionsPerSource: cfg.SMTP.MaxSessionsPerSource, FreeLoopback: cfg.SMTP.FreeLoopback}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	if err := s.build(ctx, cfg); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// buildTimeout bounds the look-up of names to listen on and the opening of the
// queue.
const buildTimeout = time.Minute

// queueMode lets every user reach the sockets below, and only ours the rest.
const queueMode = 0o711

// build makes the stages, from the end of the mail's way to its beginning.
func (s *Server) build(ctx context.Context, cfg *config.Config) (err error) {
	dir := cfg.Queue.Path
	if err := os.MkdirAll(dir, queueMode); err != nil {
		return fmt.Errorf("queue path: %w", err)
	}
	if s.store, err = sqlite.Open(dir, sqlite.Options{Log: s.log}); err != nil {
		return err
	}
	deliveries := delivery.Options{Log: s.log}
	if s.opt.parent != nil {
		deliveries.Rights = s.opt.parent
	}
	s.agent = delivery.New(cfg, deliveries)
	if s.queue, err = queue.Open(ctx, s.store, s.agent, s.queueOptions(cfg)); err != nil {
		return err
	}
	own := privsep.New(cfg, s.log, filepath.Join(dir, SMTPSocket))
	s.launcher = ownLauncher{own}
	if s.opt.parent != nil {
		s.launcher = s.newEngineLauncher(own, cfg)
	}
	s.filters, err = filter.New(cfg, filter.Options{
		Launcher: s.launcher, Elsewhere: s.opt.parent != nil, Log: s.log, Sink: s.sink, Version: strings.TrimSpace("weir " + s.opt.Version),
		PythonBridge: findBridge("python"), PerlBridge: findBridge("perl"),
	})
	if err != nil {
		return err
	}
	g, err := s.prepare(ctx, cfg, s.filters.Set(), nil)
	if err != nil {
		return err
	}
	s.now.Store(g)
	if s.opt.parent != nil {
		s.control, err = s.opt.parent.control()
	} else {
		s.control, err = admin.Listen(filepath.Join(dir, admin.Socket))
	}
	return err
}

// queueOptions says how the configuration wants mail to be kept and tried.
func (s *Server) queueOptions(cfg *config.Config) queue.Options {
	t := tuning(cfg)
	return queue.Options{
		Log: s.log, Sink: s.sink, Hostname: t.Hostname,
		WarnIntervals: t.WarnIntervals, MaxDeferred: t.MaxDeferred,
		TTL:   func(action string) time.Duration { return s.now.Load().ttl(action) },
		Route: s.routeBounce,
		Grace: s.opt.Grace,
	}
}

// Run serves until ctx ends: filters first, then connections. It returns when
// transactions and attempts under way have ended or their grace is over.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	defer s.quit()
	defer context.AfterFunc(ctx, s.quit)()
	pace.Do(paceCollector)
	s.notes(s.now.Load().cfg, s.euid())
	if err := s.filters.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to end while a filter was starting
		}
		return err
	}
	if s.opt.Strict {
		if err := s.demandFilters(); err != nil {
			return err
		}
	}
	var services sync.WaitGroup
	service := func(name string, f func(context.Context) error) {
		services.Add(1)
		go func() {
			defer services.Done()
			if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
				s.log.Error("service ended", "service", name, "error", err)
			}
		}()
	}
	control := s.control
	s.control = nil // ServeListener closes it
	service("control", func(ctx context.Context) error {
		return admin.ServeListener(ctx, s.launcher.Guard(control), s.methods())
	})
	service("queue", s.queue.Run)
	if s.opt.parent != nil {
		if err := s.opt.parent.ready(); err != nil {
			s.log.Error("the parent does not hear us", "error", err)
		}
	}
	s.serve()
	services.Wait()
	return nil
}

// serve accepts connections until serving ends, then lets sessions come to
// their end.
func (s *Server) serve() {
	defer s.abort()
	go s.sessions.watchDepartures(s.life)
	go s.sessions.trim(s.life)
	for _, sock := range s.now.Load().sockets {
		s.accept(sock.Socket, sock.config)
	}
	<-s.reloading
	<-s.serving.Done()
	s.reloading <- struct{}{} // the last reload is over, there is no other
	s.accepting.Wait()
	s.log.Info("stopping", "sessions", s.sessions.count())
	s.sessions.interrupt()
	ended := make(chan struct{})
	go func() { s.served.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(s.opt.Grace):
		s.log.Warn("sessions cut off", "sessions", s.sessions.count())
		s.abort()
		s.sessions.closeAll()
		<-ended
	}
}

// accept serves a socket until it is closed or serving ends.
func (s *Server) accept(sock *listener.Socket, l *config.Listener) {
	s.log.Info("listening", "listener", sock.Addr().String(), "filter", l.Filter)
	s.accepting.Go(func() {
		sock.Serve(s.serving, s.limits, &s.served, s.log, func(_ context.Context, conn net.Conn) { s.session(conn, sock) })
	})
}

// stopTimeout bounds the end of the filters.
const stopTimeout = 10 * time.Second

// close ends what build made, in the order in which mail would still need it.
func (s *Server) close() {
	if g := s.now.Load(); g != nil {
		g.closeBut(nil)
	}
	if s.control != nil {
		s.control.Close()
	}
	if s.filters != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		s.filters.Stop(ctx)
		cancel()
	}
	if s.launcher != nil {
		s.launcher.Close()
	}
	if s.agent != nil {
		s.agent.Close()
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.log.Error("queue store did not close", "error", err)
		}
	}
}

// euid is the user whose rights count: the parent's are root's.
func (s *Server) euid() int {
	if s.opt.parent != nil {
		return 0
	}
	return os.Geteuid()
}

// notes says once what of the configuration the user of that id cannot honour.
func (s *Server) notes(cfg *config.Config, euid int) {
	if euid == 0 {
		return
	}
	for _, a := range cfg.Actions {
		if a.User != "" {
			s.log.Warn("not root: deliveries are made as the user that weir runs as", "action", a.Name, "user", a.User)
		}
	}
}
