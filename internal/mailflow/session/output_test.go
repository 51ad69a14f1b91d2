package session

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mailflow/filter"
)

// held is a filter that keeps one phase's answer back.
func (f *fakeFilters) hold(p filterwire.Phase) (release func()) {
	until := make(chan struct{})
	f.ask = func(context.Context) {
		if strings.HasPrefix(f.asked[len(f.asked)-1], p.String()+"(") {
			<-until
		}
	}
	return func() { close(until) }
}

// TestRepliesDoNotWait: RFC 2920 s3.2: what was answered leaves before a filter
// is asked about the last command that came, and the end of a message and those
// commands whose replies may not be kept are answered at once.
func TestRepliesDoNotWait(t *testing.T) {
	for _, tt := range []struct {
		name  string
		in    string // in one write
		hold  filterwire.Phase
		want  string // heard while the filter is silent
		after string
	}{
		{"last command", hello + from + to, filterwire.RcptTo, "220 250 250", "250"},
		{"more to come", hello + from + to + "RSET\n", filterwire.RcptTo, "220 250", "250 250 250"},
		{"message accepted", hello + from + to + "DATA\na: b\n\n.\n" + from + to, filterwire.Noop, "220 250 250 250 354 250 250 250", ""},
		{"NOOP", "NOOP\n" + hello + from + to + "RSET\n", filterwire.Ehlo, "220 250", "250 250 250 250"},
		{"unknown", "FOO\n" + hello + from, filterwire.Ehlo, "220 500", "250 250"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				release := b.filters.hold(tt.hold)
				conn, _, done := b.pipe(t.Context())
				go conn.Write([]byte(crlf(tt.in)))
				if got := codes(hear(conn)); got != tt.want {
					t.Errorf("while the filter is silent: %q, want %q", got, tt.want)
				}
				release()
				if got := codes(hear(conn)); got != tt.after {
					t.Errorf("after it: %q, want %q", got, tt.after)
				}
				conn.Close()
				<-done
			})
		})
	}
}

// TestAcceptedIsSaidAtOnce: nothing stands between the commit and its 250, not
// even a command that waits behind the message: to whoever never hears it the
// message is not accepted, and comes again.
func TestAcceptedIsSaidAtOnce(t *testing.T) {
	for _, in := range []string{"DATA\na: b\n\n.\n", "BDAT 17 LAST\nSubject: a\n\nx\n"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench()
			conn, _, done := b.pipe(t.Context())
			hear(conn)
			conn.Write([]byte(crlf(hello + from + to)))
			hear(conn)
			release := b.filters.hold(filterwire.MailFrom)
			go conn.Write([]byte(crlf(in + from + "RSET\n")))
			if got := codes(hear(conn)); !strings.HasSuffix(got, "250") {
				t.Errorf("%q: heard %q while a filter is asked about the next message", in, got)
			}
			release()
			conn.Close()
			<-done
		})
	}
}

// TestStartOfBodyDoesNotWait: 354 is sent though a filter takes no lines.
func TestStartOfBodyDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.filters.bodies = true
		until := make(chan struct{})
		b.filters.write = func() { <-until }
		conn, _, done := b.pipe(t.Context())
		hear(conn)
		conn.Write([]byte(crlf(hello + from + to + "DATA\n")))
		if got := codes(hear(conn)); got != "250 250 250 354" {
			t.Errorf("heard %q", got)
		}
		close(until)
		conn.Close()
		<-done
	})
}

// TestRefusalLingers: a client that talks before the banner must hear why it is
// refused, which a reset would take away.
func TestRefusalLingers(t *testing.T) {
	b := newBench()
	b.filters.answers[filterwire.Connect] = filter.Verdict{Decision: filterwire.Reject, Param: "550 no", Filter: "f"}
	s := New(&script{in: strings.NewReader(crlf(hello))}, &b.opt, Peer{})
	s.Serve(t.Context())
	if !s.linger {
		t.Error("the connection is closed at once")
	}
}

// TestRefusalWithinTLS: a client that begins with TLS reads nothing before it,
// not even why it is refused.
func TestRefusalWithinTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	b := newBench()
	b.filters.answers[filterwire.Connect] = filter.Verdict{Decision: filterwire.Reject, Param: "451 4.7.1 no", Filter: "f"}
	b.opt.TLS, b.opt.TLSConfig = config.TLSImplicit, &tls.Config{Certificates: web.TLS.Certificates}
	client, server := net.Pipe()
	defer client.Close()
	s := New(server, &b.opt, Peer{})
	go s.Serve(t.Context())
	client.SetDeadline(time.Now().Add(10 * time.Second))
	got, err := io.ReadAll(tls.Client(client, &tls.Config{InsecureSkipVerify: true}))
	if string(got) != "451 4.7.1 no\r\n" || err != nil {
		t.Errorf("heard %q, %v", got, err)
	}
}

// TestStopBeforeHandshake: a session that hears of the stop before its client
// has begun TLS does not wait for that.
func TestStopBeforeHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		b.opt.TLS, b.opt.TLSConfig = config.TLSImplicit, &tls.Config{}
		client, server := net.Pipe()
		defer client.Close()
		s := New(server, &b.opt, Peer{})
		s.Interrupt()
		begin := time.Now()
		s.Serve(t.Context())
		if d := time.Since(begin); d != 0 {
			t.Errorf("the session ended after %v", d)
		}
	})
}

// TestStopBeforeCommand: a session that is told to stop between two commands
// reads no more of those that wait.
func TestStopBeforeCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		release := b.filters.hold(filterwire.Ehlo)
		conn, s, done := b.pipe(t.Context())
		hear(conn)
		go conn.Write([]byte(crlf(hello + from + to)))
		time.Sleep(time.Second)
		s.Interrupt()
		release()
		if got := codes(hear(conn)); got != "250 421" {
			t.Errorf("heard %q", got)
		}
		<-done
	})
}
