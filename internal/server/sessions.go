package server

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/weirmail/weir/internal/dns"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/mailflow/listener"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/mailflow/session"
)

// reverseTimeout bounds the look-up of a client's name. A session begins
// without one rather than late.
const reverseTimeout = 3 * time.Second

// submissionPort is where a missing Date or Message-ID is added (RFC 6409 s8).
const submissionPort = 587

// sessionOptions gives what the sessions of a socket share in g.
func (s *Server) sessionOptions(g *generation, sock *socket) (*session.Options, error) {
	l := sock.config
	tlsConf, err := s.tlsConfig(g.cfg, l)
	if err != nil {
		return nil, err
	}
	opt := &session.Options{
		Hostname: l.Hostname, Hostnames: l.Hostnames, Tag: l.Tag,
		MaskSource: l.MaskSrc, DSN: !l.NoDSN,
		AddMissing: sock.Loopback || l.Port == submissionPort, BareLF: l.BareLF,
		TLS: l.TLS, TLSConfig: tlsConf, Auth: l.Auth,
		Limits: g.cfg.SMTP,
		Router: g.router, Queue: queueAdapter{s.queue}, Sink: s.sink, Log: s.log,
	}
	if l.AuthTable != nil {
		opt.Authenticate = l.AuthTable.Authenticate
	}
	if l.Filter != "" {
		opt.Open = openFilters(g.filters.Chain(l.Filter))
	}
	return opt, nil
}

// session serves one connection of a socket, to its end with what is in force
// now.
func (s *Server) session(conn net.Conn, bound *listener.Socket) {
	g := s.enter()
	defer g.filters.Release()
	sock := g.of(bound)
	if sock == nil { // it has gone since: one moment later there had been no connection
		conn.Close()
		return
	}
	ss := s.newSession(conn, sock)
	s.sessions.add(ss, g.cfg.SMTP.Timeout)
	defer s.sessions.remove(ss)
	ss.Serve(s.life)
}

// newSession makes a session. What it needs for that is off the stack when the
// session waits.
//
//go:noinline
func (s *Server) newSession(conn net.Conn, sock *socket) *session.Session {
	return session.New(conn, sock.sessions, s.peer(s.life, conn))
}

// peer finds out the name of a client.
func (s *Server) peer(ctx context.Context, conn net.Conn) session.Peer {
	a, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return session.Peer{}
	}
	ctx, cancel := context.WithTimeout(ctx, reverseTimeout)
	defer cancel()
	name, fcrdns := dns.Reverse(ctx, s.opt.Resolver, a.AddrPort().Addr().Unmap())
	return session.Peer{Rdns: name, Fcrdns: fcrdns}
}

// openFilters lets sessions see a chain through their own interface.
func openFilters(c *filter.Chain) session.OpenFilters {
	return func(id mail.SessionID, f *routing.Facts) session.Filters {
		return filterAdapter{c.Open(id, f)}
	}
}

// filterAdapter makes a filter.Session a session.Filters: the two differ in
// how they say that there is no message to carry.
type filterAdapter struct{ *filter.Session }

func (a filterAdapter) Message(ctx context.Context, out io.Writer) session.MessageFilter {
	if m := a.Session.Message(ctx, out); m != nil {
		return m
	}
	return nil
}

// queueAdapter makes a queue.Queue a session.Queue.
type queueAdapter struct{ *queue.Queue }

func (a queueAdapter) Spool(id mail.MessageID) (session.Spool, error) {
	sp, err := a.Queue.Spool(id)
	if err != nil {
		return nil, err
	}
	return sp, nil
}

// routeBounce finds who receives a delivery report.
func (s *Server) routeBounce(ctx context.Context, _ *mail.Message, rcpt mail.Address) ([]mail.Envelope, error) {
	return s.now.Load().router.RouteBounce(ctx, rcpt)
}

// registry holds the sessions that are served.
type registry struct {
	mu       sync.Mutex
	sessions map[*session.Session]time.Duration // how long each may wait for its filters
	stopping bool
}

func (r *registry) add(s *session.Session, limit time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions == nil {
		r.sessions = make(map[*session.Session]time.Duration)
	}
	r.sessions[s] = limit
	if r.stopping {
		s.Interrupt()
	}
}

func (r *registry) remove(s *session.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, s)
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

// interrupt tells all sessions, also those that are still to come, that the
// server is stopping.
func (r *registry) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopping = true
	for s := range r.sessions {
		s.Interrupt()
	}
}

// closeAll cuts all sessions off.
func (r *registry) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.sessions {
		s.Conn().Close()
	}
}

// Sessions that wait for their filters for longer than departureAfter are
// looked at every departureEvery: whether their client is still there. A
// client that sent everything and shut its writing half, as nc does, looks
// as if it had left; the wait gives it time for its reply.
const (
	departureAfter = 5 * time.Second
	departureEvery = time.Second
)

// watchDepartures ends the waits of sessions whose client has left, and those
// that take longer than they may, until ctx ends.
func (r *registry) watchDepartures(ctx context.Context) {
	t := time.NewTicker(departureEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			for s, limit := range r.waiting(now) {
				if s.Waiting(now) > limit {
					s.Overdue()
				} else if left(s.Conn(), s.Secured()) {
					s.Departed()
				}
			}
		}
	}
}

// waiting gives the sessions that wait for their filters for longer than
// departureAfter or their limit, with that.
func (r *registry) waiting(now time.Time) map[*session.Session]time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	long := make(map[*session.Session]time.Duration)
	for s, limit := range r.sessions {
		if s.Waiting(now) > min(departureAfter, limit) {
			long[s] = limit
		}
	}
	return long
}

// left reports whether the other end of conn is closed or shut for writing,
// with nothing left to read. Under TLS something is: its farewell, and nobody
// who has said that wants to hear more.
func left(conn net.Conn, secured bool) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n == 0 && err == nil || secured && shut(int(fd)) || err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	})
	return gone || err != nil
}
