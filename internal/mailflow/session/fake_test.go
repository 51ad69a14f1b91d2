package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/trace"
)

// script is a connection whose client says one thing and listens.
type script struct {
	in     io.Reader
	out    bytes.Buffer
	closed bool
}

func (c *script) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *script) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *script) Close() error                     { c.closed = true; return nil }
func (c *script) LocalAddr() net.Addr              { return tcp("127.0.0.1:25") }
func (c *script) RemoteAddr() net.Addr             { return tcp("192.0.2.7:4711") }
func (c *script) SetDeadline(time.Time) error      { return nil }
func (c *script) SetReadDeadline(time.Time) error  { return nil }
func (c *script) SetWriteDeadline(time.Time) error { return nil }

func tcp(s string) net.Addr {
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		panic(err)
	}
	return a
}

// fakeRouter knows alice and bob of example.test.
type fakeRouter struct{}

func (fakeRouter) Route(_ context.Context, f *routing.Facts) routing.Result {
	switch f.RcptTo.Local {
	case "alice", "bob":
		return routing.Result{Verdict: routing.Accept, Envelopes: []mail.Envelope{{Rcpt: f.RcptTo, Dest: f.RcptTo, Action: "local"}}}
	case "later":
		return routing.Result{Verdict: routing.TryLater, Cause: errors.New("table gone")}
	}
	return routing.Result{Verdict: routing.Refuse}
}

// fakeQueue keeps what was committed.
type fakeQueue struct {
	mu        sync.Mutex
	next      mail.MessageID
	messages  []fakeMessage
	discarded int
	err       error // given by Commit
	spoolErr  error // given by Spool
}

type fakeMessage struct {
	mail.Message
	envelopes []mail.Envelope
	body      string
}

func (q *fakeQueue) NewID() (mail.MessageID, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next++
	return q.next, nil
}

func (q *fakeQueue) Spool(mail.MessageID) (Spool, error) {
	if q.spoolErr != nil {
		return nil, q.spoolErr
	}
	return &fakeSpool{q: q}, nil
}

type fakeSpool struct {
	bytes.Buffer
	q    *fakeQueue
	done bool
}

func (s *fakeSpool) Size() int64 { return int64(s.Len()) }

func (s *fakeSpool) Commit(_ context.Context, m *mail.Message, env []mail.Envelope) error {
	if s.q.err != nil {
		return s.q.err
	}
	s.done = true
	s.q.messages = append(s.q.messages, fakeMessage{*m, slices.Clone(env), s.String()})
	return nil
}

func (s *fakeSpool) Discard() {
	if !s.done {
		s.done = true
		s.q.discarded++
	}
}

// fakeFilters answers proceed unless told otherwise, and echoes lines.
type fakeFilters struct {
	answers map[filterwire.Phase]filter.Verdict
	asked   []string
	events  []string
	lines   bytes.Buffer
	bodies  bool // wants the lines of messages
	body    filter.Verdict
	closed  int
	ask     func(ctx context.Context) // called before an answer
	write   func()                    // called before lines are taken
}

func (f *fakeFilters) Event(e *trace.Event) { f.events = append(f.events, eventText(e)) }

func (f *fakeFilters) Ask(ctx context.Context, p filterwire.Phase, arg string) filter.Verdict {
	f.asked = append(f.asked, fmt.Sprintf("%s(%s)", p, arg))
	if f.ask != nil {
		f.ask(ctx)
	}
	if v, ok := f.answers[p]; ok {
		return v
	}
	return filter.Verdict{Decision: filterwire.Proceed}
}

func (f *fakeFilters) Flush() {}

func (f *fakeFilters) SetMessageSize(n int64) { f.asked = append(f.asked, fmt.Sprintf("size(%d)", n)) }
func (f *fakeFilters) Close()                 { f.closed++ }

func (f *fakeFilters) Message(_ context.Context, out io.Writer) MessageFilter {
	if !f.bodies {
		return nil
	}
	return &fakeBody{f, out}
}

type fakeBody struct {
	f   *fakeFilters
	out io.Writer
}

func (b *fakeBody) Write(p []byte) (int, error) {
	if b.f.write != nil {
		b.f.write()
	}
	b.f.lines.Write(p)
	return b.out.Write(slices.Clone(p))
}

func (b *fakeBody) Finish(context.Context) filter.Verdict {
	if b.f.body.Err != nil {
		return b.f.body
	}
	return filter.Verdict{Decision: filterwire.Proceed}
}

func (b *fakeBody) Abort() { b.f.events = append(b.f.events, "abort") }

// kinds names events as the protocol does.
var kinds = map[trace.Kind]string{
	trace.LinkConnect: "link-connect", trace.LinkGreeting: "link-greeting", trace.LinkIdentify: "link-identify",
	trace.LinkTLS: "link-tls", trace.LinkAuth: "link-auth", trace.LinkDisconnect: "link-disconnect",
	trace.TxReset: "tx-reset", trace.TxBegin: "tx-begin", trace.TxMail: "tx-mail", trace.TxRcpt: "tx-rcpt",
	trace.TxEnvelope: "tx-envelope", trace.TxData: "tx-data", trace.TxCommit: "tx-commit", trace.TxRollback: "tx-rollback",
	trace.ProtocolClient: "C", trace.ProtocolServer: "S", trace.FilterResponse: "filter-response", trace.Timeout: "timeout",
	trace.Accepted: "accepted", trace.Refused: "refused",
}

func eventText(e *trace.Event) string {
	s := kinds[e.Kind]
	for _, f := range []string{e.Phase, e.Result, e.Method, e.Text, e.User} {
		if f != "" {
			s += "|" + f
		}
	}
	return s
}

// bench is a session with everything around it faked.
type bench struct {
	opt     Options
	queue   *fakeQueue
	filters *fakeFilters
	log     bytes.Buffer
	events  []string
}

func (b *bench) Event(e *trace.Event) { b.events = append(b.events, eventText(e)) }

func newBench() *bench {
	b := &bench{queue: &fakeQueue{}, filters: &fakeFilters{answers: map[filterwire.Phase]filter.Verdict{}}}
	b.opt = Options{
		Hostname: "mx.example.test", DSN: true,
		Limits: config.SMTP{MaxMails: 100, MaxRcpt: 100, MaxMessageSize: 10000, MaxErrors: 50, Timeout: time.Minute},
		Open:   func(mail.SessionID, *routing.Facts) Filters { return b.filters },
		Router: fakeRouter{}, Queue: b.queue, Sink: b,
		Log: slog.New(slog.NewTextHandler(&b.log, nil)),
	}
	return b
}

// run plays what a client says and gives what it hears.
func (b *bench) run(t testing.TB, in string) string {
	t.Helper()
	c := &script{in: strings.NewReader(in)}
	New(c, &b.opt, Peer{Rdns: "client.example.net", Fcrdns: "pass"}).Serve(context.Background())
	if strings.Contains(b.log.String(), "session panicked") {
		t.Fatalf("session panicked:\n%s", b.log.String())
	}
	return c.out.String()
}

// codes gives the reply codes of what a client heard, one for each reply.
func codes(out string) string {
	var c []string
	for _, line := range strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n") {
		if len(line) < 4 || line[3] != '-' {
			c = append(c, line[:min(3, len(line))])
		}
	}
	return strings.Join(c, " ")
}

// crlf turns a raw string into what travels.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
