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
	"sync"
	"time"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/dns"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/mailflow/listener"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/mailflow/queue/sqlite"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/mailflow/session"
	"github.com/weirmail/weir/internal/privsep"
	"github.com/weirmail/weir/internal/trace"
)

// SMTPSocket is the name of the unix socket for SMTP in the queue's directory.
const SMTPSocket = "smtp.sock"

// DefaultGrace is how long a server that stops waits for transactions and
// attempts under way.
const DefaultGrace = 30 * time.Second

// socket is a bound socket with what its sessions share.
type socket struct {
	*listener.Socket
	sessions *session.Options
}

// Options is what a server needs besides its configuration.
type Options struct {
	Log      *slog.Logger
	Version  string
	Resolver dns.Resolver  // nil: the system's
	Grace    time.Duration // 0: DefaultGrace
}

// Server is one running weir.
type Server struct {
	cfg     *config.Config
	opt     Options
	log     *slog.Logger
	sink    trace.Sink
	started time.Time

	store    *sqlite.Store
	queue    *queue.Queue
	agent    *delivery.Agent
	router   *routing.Router
	launcher *privsep.Launcher
	filters  *filter.Host
	limits   *listener.Limits
	sockets  []socket
	control  net.Listener
	sessions registry
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
	s := &Server{cfg: cfg, opt: opt, log: opt.Log, sink: trace.Log(opt.Log), started: time.Now()}
	s.limits = &listener.Limits{MaxSessions: cfg.SMTP.MaxSessions, MaxSessionsPerSource: cfg.SMTP.MaxSessionsPerSource}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	if err := s.build(ctx); err != nil {
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
func (s *Server) build(ctx context.Context) (err error) {
	s.cfg.SetLogger(s.log)
	dir := s.cfg.Queue.Path
	if err := os.MkdirAll(dir, queueMode); err != nil {
		return fmt.Errorf("queue path: %w", err)
	}
	if s.store, err = sqlite.Open(dir, sqlite.Options{Log: s.log}); err != nil {
		return err
	}
	s.router = routing.New(s.cfg, &routing.SystemUsers{}, s.log)
	s.agent = delivery.New(s.cfg, delivery.Options{Log: s.log, Hostname: s.cfg.Hostname})
	if s.queue, err = queue.Open(ctx, s.store, s.agent, s.queueOptions()); err != nil {
		return err
	}
	s.launcher = privsep.New(s.cfg, s.log, filepath.Join(dir, SMTPSocket))
	s.filters, err = filter.New(s.cfg, filter.Options{
		Launcher: s.launcher, Log: s.log, Sink: s.sink, Version: s.opt.Version,
		PythonBridge: findBridge("python"), PerlBridge: findBridge("perl"),
	})
	if err != nil {
		return err
	}
	for _, l := range s.cfg.Listeners {
		sockets, err := listener.Bind(ctx, l, filepath.Join(dir, SMTPSocket))
		if err != nil {
			return err
		}
		for _, sock := range sockets {
			s.sockets = append(s.sockets, socket{Socket: sock}) // for close to find
		}
	}
	for i := range s.sockets {
		sock := &s.sockets[i]
		if sock.sessions, err = s.sessionOptions(sock.Socket); err != nil {
			return err
		}
	}
	s.control, err = admin.Listen(filepath.Join(dir, admin.Socket))
	return err
}

// queueOptions says how the configuration wants mail to be kept and tried.
func (s *Server) queueOptions() queue.Options {
	return queue.Options{
		Log: s.log, Sink: s.sink, Hostname: s.cfg.Hostname,
		WarnIntervals: s.cfg.WarnIntervals, MaxDeferred: s.cfg.MaxDeferred,
		TTL:   s.ttl,
		Route: s.routeBounce,
		Grace: s.opt.Grace,
	}
}

// ttl gives how long an envelope of an action is tried.
func (s *Server) ttl(action string) time.Duration {
	if a := s.cfg.Actions[action]; a != nil && a.TTL != 0 {
		return a.TTL
	}
	return s.cfg.Queue.TTL
}

// Run serves until ctx ends: filters first, then connections. It returns when
// transactions and attempts under way have ended or their grace is over.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	s.notes(os.Geteuid())
	if err := s.filters.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to end while a filter was starting
		}
		return err
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
	s.serve(ctx)
	services.Wait()
	return nil
}

// serve accepts connections until ctx ends, then lets sessions come to theirs.
func (s *Server) serve(ctx context.Context) {
	sessions, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	go s.sessions.watchDepartures(sessions, s.cfg.SMTP.Timeout)

	var accepting, serving sync.WaitGroup
	for _, sock := range s.sockets {
		s.log.Info("listening", "listener", sock.Addr().String(), "filter", sock.Config.Filter)
		accepting.Add(1)
		go func() {
			defer accepting.Done()
			sock.Serve(ctx, s.limits, &serving, s.log, func(_ context.Context, conn net.Conn) {
				s.session(sessions, conn, sock.sessions)
			})
		}()
	}
	accepting.Wait()
	s.log.Info("stopping", "sessions", s.sessions.count())
	s.sessions.interrupt()
	ended := make(chan struct{})
	go func() { serving.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(s.opt.Grace):
		s.log.Warn("sessions cut off", "sessions", s.sessions.count())
		abort()
		s.sessions.closeAll()
		<-ended
	}
}

// stopTimeout bounds the end of the filters.
const stopTimeout = 10 * time.Second

// close ends what build made, in the order in which mail would still need it.
func (s *Server) close() {
	for _, sock := range s.sockets {
		sock.Close()
	}
	if s.control != nil {
		s.control.Close()
	}
	if s.filters != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		s.filters.Stop(ctx)
		cancel()
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

// notes says once what of the configuration the user of that id cannot honour.
func (s *Server) notes(euid int) {
	if euid == 0 {
		return
	}
	for _, a := range s.cfg.Actions {
		if a.User != "" {
			s.log.Warn("not root: deliveries are made as the user that weir runs as", "action", a.Name, "user", a.User)
		}
	}
}
