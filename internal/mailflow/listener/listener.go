// Package listener owns the sockets that clients connect to: it binds them,
// accepts connections within limits and hands each on.
//
// It says nothing in SMTP but the refusal of a connection that is one too
// many, and knows nothing of sessions: a Handler does. TLS begins in the
// session, as filters are asked about a connection before its handshake.
package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/smtp"
)

// Handler takes a connection that was accepted; it closes it. Called by a
// goroutine of its own for each.
type Handler func(ctx context.Context, conn net.Conn)

// Socket is one bound socket of a "listen on".
type Socket struct {
	net.Listener
	Loopback bool // bound to a loopback address, or a unix socket

	place string // what it is bound to, as it was asked for
	conf  atomic.Pointer[config.Listener]
}

// Received makes a Socket of one that another process has bound to a place, in
// its Socket's terms, for l.
func Received(ln net.Listener, l *config.Listener, place string, loopback bool) *Socket {
	return newSocket(ln, l, place, loopback)
}

// Place gives what the socket is bound to, as it was asked for.
func (s *Socket) Place() string { return s.place }

// newSocket makes a Socket of ln.
func newSocket(ln net.Listener, l *config.Listener, place string, loopback bool) *Socket {
	s := &Socket{Listener: ln, Loopback: loopback, place: place}
	s.conf.Store(l)
	return s
}

// Config gives the "listen on" that counts.
func (s *Socket) Config() *config.Listener { return s.conf.Load() }

// Use makes l, of a later configuration, the "listen on" that counts.
func (s *Socket) Use(l *config.Listener) { s.conf.Store(l) }

// unixPlace is the place of the unix socket, of which there is one.
const unixPlace = "socket"

// find gives the socket of have that is bound to a place, nil if none is.
func find(have []*Socket, place string) *Socket {
	for _, s := range have {
		if s.place == place {
			return s
		}
	}
	return nil
}

// Bind opens the sockets of one "listen on": one for each address that its
// name or interface stands for. socketPath is where "listen on socket" goes.
// Sockets of have that are bound to the same address and port, or path, are
// given as they are, Config included, instead of new ones.
func Bind(ctx context.Context, l *config.Listener, socketPath string, have ...*Socket) ([]*Socket, error) {
	if l.Socket {
		if s := find(have, unixPlace); s != nil {
			return []*Socket{s}, nil
		}
		s, err := bindUnix(l, socketPath)
		if err != nil {
			return nil, err
		}
		return []*Socket{s}, nil
	}
	addrs, err := addresses(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("%s: listen on %s: %w", l.Pos, l.Interface, err)
	}
	var sockets, fresh []*Socket
	// No keep-alive: a session's time limits end long before it would notice
	// anything, and to set it takes two system calls of each connection.
	lc := net.ListenConfig{KeepAlive: -1}
	for _, a := range addrs {
		place := net.JoinHostPort(a.String(), strconv.Itoa(l.Port))
		if s := find(have, place); s != nil {
			sockets = append(sockets, s)
			continue
		}
		network := "tcp6"
		if a.Is4() {
			network = "tcp4"
		}
		ln, err := lc.Listen(ctx, network, place)
		if err != nil {
			for _, s := range fresh {
				s.Close()
			}
			if errors.Is(err, syscall.EADDRINUSE) && slices.ContainsFunc(have, func(h *Socket) bool { return h.covers(a, l.Port) }) {
				err = fmt.Errorf("%w by this server, under another address: that takes a stop and a start", err)
			}
			return nil, fmt.Errorf("%s: %w", l.Pos, err)
		}
		s := newSocket(ln, l, place, a.IsLoopback())
		sockets, fresh = append(sockets, s), append(fresh, s)
	}
	return sockets, nil
}

// covers reports whether the socket may be what another cannot be bound for: one
// of the two is for every address.
func (s *Socket) covers(a netip.Addr, port int) bool {
	p, err := netip.ParseAddrPort(s.place)
	return err == nil && int(p.Port()) == port && port != 0 && (a.IsUnspecified() || p.Addr().IsUnspecified())
}

// Check tells whether this machine has the addresses that l is to listen on.
// Nothing stays bound.
func Check(ctx context.Context, l *config.Listener) error {
	if l.Socket {
		return nil
	}
	addrs, err := addresses(ctx, l)
	if err != nil {
		return fmt.Errorf("%s: listen on %s: %w", l.Pos, l.Interface, err)
	}
	for _, a := range addrs {
		ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
		if err != nil {
			return fmt.Errorf("%s: %w", l.Pos, err)
		}
		ln.Close()
	}
	return nil
}

// socketMode lets every user of the machine hand in mail.
const socketMode = 0o666

// bindUnix opens the unix socket. One that a dead server left is removed; that
// no other server lives is known by then, as the queue's lock is ours.
func bindUnix(l *config.Listener, path string) (*Socket, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		ln.Close()
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	return newSocket(ln, l, unixPlace, true), nil
}

// Replies to a connection that is one too many (RFC 5321 s3.8, s4.2.1).
var (
	replyFull      = smtp.MustReply(421, "4.3.2", "Too many connections, try again later")
	replySourceMax = smtp.MustReply(421, "4.7.0", "Too many connections from your address, try again later")
)

// refusalTimeout bounds the writing of a refusal.
const refusalTimeout = time.Second

// acceptPause is how long accepting rests when the machine is out of
// descriptors or memory.
const acceptPause = 100 * time.Millisecond

// Serve accepts until ctx ends or the socket fails for good, and hands each
// connection that limits admits to handle. It returns when accepting is over;
// wg counts the connections that are still being handled.
func (s *Socket) Serve(ctx context.Context, limits *Limits, wg *sync.WaitGroup, log *slog.Logger, handle Handler) error {
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	for {
		conn, err := s.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			log.Warn("accept failed", "listener", s.Addr().String(), "error", err)
			time.Sleep(acceptPause)
			continue
		}
		release, err := limits.admit(conn.RemoteAddr())
		if err != nil {
			log.Info("connection refused", "source", conn.RemoteAddr().String(), "reason", err.Error())
			s.refuse(conn, err)
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer release()
			handle(ctx, conn)
		}()
	}
}

// refuse tells a client that it is one too many. The kernel's buffer takes the
// line, so that nobody waits for the client. Where TLS comes first there is
// nobody to tell without a handshake, which would cost more than a session.
func (s *Socket) refuse(conn net.Conn, err error) {
	defer conn.Close()
	if s.Config().TLS == config.TLSImplicit {
		return
	}
	r := replyFull
	if errors.Is(err, ErrSourceFull) {
		r = replySourceMax
	}
	conn.SetWriteDeadline(time.Now().Add(refusalTimeout))
	conn.Write(r.AppendWire(nil))
}
