// Package session is the SMTP server's side of one connection: the state
// machine of RFC 5321 with its extensions.
//
// One table (table.go) drives it. Each command goes three steps: check (syntax,
// order, limits; changes nothing), ask (the filters; one question, one
// verdict), proceed (the only place where state changes). Handlers return a
// smtp.Reply; only the loop writes it and tells the events that follow from
// it. There is one file per command.
//
// The package owns neither the listening socket nor what happens to a message
// after it was accepted: filters, routing and queue are reached through the
// interfaces of ports.go. Replies have the texts of OpenSMTPD, which filters
// and log readers know; docs/differences.md says where we differ.
package session

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/table"
	"github.com/weirmail/weir/internal/trace"
)

// Options is what all sessions of one listener share. It is not changed while
// sessions use it.
type Options struct {
	Hostname   string       // name in banner and trace header
	Hostnames  *table.Table // names by local address, over Hostname; nil for none
	Tag        string
	MaskSource bool // leave the client out of the trace header
	DSN        bool // offer DSN (RFC 3461)
	AddMissing bool // add Date and Message-ID where a message lacks them
	BareLF     bool // take LF alone as line end from a client that begins so; see typedLines

	TLS       config.TLSMode
	TLSConfig *tls.Config // nil without TLS
	Auth      config.AuthMode
	// Authenticate says whether user may enter with password; an error means
	// that it could not be found out. Safe for concurrent use. Nil without AUTH.
	Authenticate func(user, password string) (bool, error)

	Limits config.SMTP
	Open   OpenFilters // nil: no filter
	Router Router
	Queue  Queue
	Sink   trace.Sink
	Log    *slog.Logger
}

// Peer is what is known of the other end when its session begins.
type Peer struct {
	Rdns   string // "" if its address has no name
	Fcrdns string // pass, fail or error
}

// Session is one connection. Serve runs it; Interrupt and Departed may be
// called by other goroutines meanwhile, everything else is Serve's own.
type Session struct {
	opt   *Options
	id    mail.SessionID
	conn  net.Conn
	tls   *tls.Conn // nil in the clear
	in    *input
	typed *typedLines // the way into in of a listener with bare-lf; else nil
	out   replyWriter
	state state
	name  string // our name on this connection

	linger bool // unread input may stand between the client and our last reply

	facts   routing.Facts
	helo    string // name of the last HELO or EHLO that was accepted
	esmtp   bool   // it was EHLO
	filters Filters
	tx      *Transaction
	junk    bool // session mark: every message is junk
	mails   int  // messages accepted
	errs    int  // error replies since the last accepted message

	rewriteLogged uint32 // phases whose empty rewrite was logged, a bit each
	ev            trace.Event

	ctx      context.Context
	cancel   context.CancelCauseFunc
	stopping atomic.Bool
	secured  atomic.Bool  // tls is set
	asking   atomic.Int64 // when the filters were asked, Unix nanoseconds; 0 if they are not
}

// Causes for which a session's context ends before the session does.
var (
	errDeparted = errors.New("client left while a filter was asked")
	errStopped  = errors.New("server is stopping")
	errOverdue  = errors.New("filters took longer than a session may be silent")
)

// New makes a session on conn, which Serve will close. Peer says what the
// resolver found out.
func New(conn net.Conn, opt *Options, peer Peer) *Session {
	s := &Session{opt: opt, conn: conn, id: newID(), name: opt.Hostname}
	s.in = newInput(conn, s.expired)
	if opt.BareLF {
		s.typed = &typedLines{src: s.in}
		s.in.reader.Reset(s.typed)
	}
	s.out.w = conn
	s.facts = routing.Facts{Rdns: peer.Rdns, Fcrdns: peer.Fcrdns == "pass", Tag: opt.Tag}
	s.learnAddresses()
	s.ev.Rdns, s.ev.Fcrdns = peer.Rdns, peer.Fcrdns
	return s
}

// newID gives a session id that is not zero.
func newID() mail.SessionID {
	for {
		if id := rand.Uint64(); id != 0 {
			return mail.SessionID(id)
		}
	}
}

// learnAddresses fills in what the two ends of the connection tell.
func (s *Session) learnAddresses() {
	switch a := s.conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		s.facts.Src = a.AddrPort().Addr().Unmap()
		s.facts.Local = s.facts.Src.IsLoopback()
	default:
		// The unix socket: whoever may open it is a user of this machine, and
		// as in OpenSMTPD counts as authenticated (without a name).
		s.facts.Socket, s.facts.Local, s.facts.Auth = true, true, true
		s.facts.Rdns, s.facts.Fcrdns = s.opt.Hostname, true
	}
	if s.opt.Hostnames == nil {
		return
	}
	if a, ok := s.conn.LocalAddr().(*net.TCPAddr); ok {
		if name, ok := s.opt.Hostnames.Lookup(a.AddrPort().Addr().Unmap().String()); ok {
			s.name = name
		}
	}
}

// ID gives the id that replies, reports and logs show.
func (s *Session) ID() mail.SessionID { return s.id }

// Serve runs the session to its end and closes the connection. When ctx ends
// an idle session is told so at once (421), one in a transaction when that is
// over.
func (s *Session) Serve(ctx context.Context) {
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	defer s.end()
	if s.opt.Open != nil {
		s.filters = s.opt.Open(s.id, &s.facts)
	}
	s.emitLinkConnect()
	if s.greet() {
		s.loop()
	}
}

// end is the last thing that happens in a session, also after a panic, which
// ends this session and no other. What panicked may do so again while the
// session is put away: each step is made whatever became of those before.
func (s *Session) end() {
	defer s.closeConn()
	defer s.in.close()
	defer s.cancel(nil)
	defer s.caught(s.closeFilters)
	defer s.caught(func() { s.emit(trace.LinkDisconnect) })
	defer s.caught(s.rollback)
	defer s.out.flush(s)
	if p := recover(); p != nil {
		s.logPanic(p)
		s.caught(func() { s.say(replyInternal) })
	}
}

// caught runs f and logs what it panics with.
func (s *Session) caught(f func()) {
	defer func() {
		if p := recover(); p != nil {
			s.logPanic(p)
		}
	}()
	f()
}

func (s *Session) closeFilters() {
	if s.filters != nil {
		s.filters.Close()
	}
}

// loop reads commands and answers them until the session is over.
func (s *Session) loop() {
	for s.state != stateQuit {
		line, err := s.readCommand()
		if err != nil {
			if !s.inputFailed(err) {
				return
			}
			continue
		}
		s.command(line)
		if s.state == stateBody {
			s.body()
		}
	}
}

// body takes the message that 354 asked for. It is not part of loop, whose
// frame is on the stack of every session that waits: see input.readRaw.
//
//go:noinline
func (s *Session) body() { s.finish(smtp.Data, &request{}, s.receive()) }

// command runs one command line through the table. As body, it is not in loop.
//
//go:noinline
func (s *Session) command(line []byte) {
	cmd := smtp.ParseCommand(line)
	s.emitClient(line)
	c := &commands[cmd.Verb]
	req := request{args: string(cmd.Args), hasArgs: cmd.HasArgs}
	s.finish(cmd.Verb, &req, s.run(c, &req))
}

// run takes one command through check, ask and proceed.
func (s *Session) run(c *command, req *request) smtp.Reply {
	if r := s.admit(c, req); r.Code() != 0 {
		return r
	}
	if c.check != nil {
		if r := c.check(s, req); r.Code() != 0 {
			return r
		}
	}
	if c.phase != 0 {
		if r := s.ask(c, req); r.Code() != 0 {
			return r
		}
	}
	return c.proceed(s, req)
}

// admit checks what the table says of a command: its arguments and the state.
func (s *Session) admit(c *command, req *request) smtp.Reply {
	if c.noArgs && req.hasArgs {
		return replyNoArguments
	}
	if !c.states.has(s.state) {
		return replyNotNow
	}
	return smtp.Reply{}
}

// finish writes the reply of a command and tells what follows from it.
func (s *Session) finish(verb smtp.Verb, req *request, r smtp.Reply) {
	if r.Code() == 0 {
		return
	}
	s.say(r)
	if !s.mayGather(verb) {
		s.out.flush(s)
	}
	s.afterReply(verb, req, r)
	if r.Closes() {
		s.enter(stateQuit)
	} else if s.errs >= s.opt.Limits.MaxErrors && s.state != stateBody {
		s.say(replyTooManyErrors)
		s.enter(stateQuit)
	}
	if s.state == stateTLS {
		s.startTLS()
	}
}

// inputFailed deals with a failure to read a command; true to go on reading.
func (s *Session) inputFailed(err error) bool {
	switch {
	case errors.Is(err, smtp.ErrBareCR), errors.Is(err, smtp.ErrBareLF), errors.Is(err, smtp.ErrNUL):
		// RFC 5321 s2.3.8: CR and LF only ever stand together.
		s.finish(smtp.Unknown, &request{}, replyBareLine)
		return s.state != stateQuit
	case errors.Is(err, smtp.ErrLineTooLong):
		s.say(s.tooLong())
	case errors.Is(err, errIdle):
		s.emit(trace.Timeout)
		s.say(replyTimeout)
	case errors.Is(err, errStopped):
		s.say(replyStopping)
	case errors.Is(err, io.EOF):
		// The client has gone; RFC 5321 s4.1.1.10 wants QUIT, nobody insists.
	default:
		s.opt.Log.Debug("read failed", "session", s.id.String(), "error", err)
	}
	return false
}

// tooLong gives the reply to a command line that is too long, by as much as it
// is. The line is not looked for any further: the session ends.
func (s *Session) tooLong() smtp.Reply {
	if ended, err := s.in.reader.SkipLine(smtp.MaxDataLine); ended && err == nil {
		return replyCommandTooLong
	}
	return replyLineTooLong
}

// Interrupt tells the session that the server is stopping; see Serve.
func (s *Session) Interrupt() {
	s.stopping.Store(true)
	// Wakes a read that waits for a command; readCommand looks at stopping.
	s.conn.SetReadDeadline(time.Now())
}

// Waiting gives how long the session has been waiting for its filters, 0 if
// it is not.
func (s *Session) Waiting(now time.Time) time.Duration {
	if since := s.asking.Load(); since != 0 {
		return now.Sub(time.Unix(0, since))
	}
	return 0
}

// Departed ends a wait for filters because the client has left.
func (s *Session) Departed() { s.cancel(errDeparted) }

// Overdue ends a wait for filters because it takes longer than a session may
// be silent. The client is told so (421), and the session ends.
func (s *Session) Overdue() { s.cancel(errOverdue) }

func (s *Session) overdue() bool {
	return s.ctx.Err() != nil && errors.Is(context.Cause(s.ctx), errOverdue)
}

// Secured reports whether the session has gone over to TLS.
func (s *Session) Secured() bool { return s.secured.Load() }

// Conn gives the connection, to look whether the client is still there.
func (s *Session) Conn() net.Conn { return s.conn }

// Source gives the client's address, invalid for the unix socket.
func (s *Session) Source() netip.Addr { return s.facts.Src }
