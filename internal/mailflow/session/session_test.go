package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/smtp"
)

const (
	hello = "EHLO client.example.net\n"
	from  = "MAIL FROM:<sender@example.net>\n"
	to    = "RCPT TO:<alice@example.test>\n"
	body  = "DATA\nSubject: hi\n\ntext\n.\n"
)

// TestDialogs: what comes back, by code. The first is the banner's.
func TestDialogs(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want string
	}{
		{"RFC 5321 s3.1 greeting and end", hello + "QUIT\n", "220 250 221"},
		{"RFC 5321 s4.1.1.1 HELO", "HELO client.example.net\nQUIT\n", "220 250 221"},
		{"RFC 5321 s3.3 one message", hello + from + to + body + "QUIT\n", "220 250 250 250 354 250 221"},
		{"RFC 2920 everything in one write", hello + from + to + "DATA\nx: y\n\n.\n" + from + to + body + "QUIT\n", "220 250 250 250 354 250 250 250 354 250 221"},
		{"RFC 5321 s4.1.4 MAIL before EHLO", from + "QUIT\n", "220 503 221"},
		{"RFC 5321 s4.1.4 RCPT before MAIL", hello + to + "QUIT\n", "220 250 503 221"},
		{"RFC 5321 s4.1.4 DATA before RCPT", hello + from + "DATA\nQUIT\n", "220 250 250 503 221"},
		{"RFC 5321 s4.1.4 second EHLO resets", hello + from + to + hello + "DATA\n" + to + "QUIT\n", "220 250 250 250 250 503 503 221"},
		{"RFC 5321 s4.1.4 nested MAIL", hello + from + from + to + "QUIT\n", "220 250 250 503 250 221"},
		{"RFC 5321 s4.1.1.5 RSET", hello + from + to + "RSET\nDATA\nQUIT\n", "220 250 250 250 250 503 221"},
		{"RSET before EHLO", "RSET\nQUIT\n", "220 503 221"},
		{"RFC 5321 s4.1.1.9 NOOP takes anything", "NOOP\nNOOP a b\nQUIT\n", "220 250 250 221"},
		{"RFC 5321 s3.5.3 VRFY", hello + "VRFY alice\nEXPN list\nQUIT\n", "220 250 252 502 221"},
		{"HELP", "HELP\nQUIT\n", "220 214 221"},
		{"RFC 5321 s4.2.4 unknown verb", "FOO\nQUIT\n", "220 500 221"},
		{"arguments where none belong", hello + "RSET x\nDATA x\nQUIT x\nQUIT\n", "220 250 500 500 500 221"},
		{"RFC 1870 s6.1 declared size", hello + "MAIL FROM:<a@b.test> SIZE=10001\nMAIL FROM:<a@b.test> SIZE=10000\nQUIT\n", "220 250 552 250 221"},
		{"unknown parameter", hello + "MAIL FROM:<a@b.test> FOO=bar\n" + from + "QUIT\n", "220 250 503 250 221"},
		{"recipient refused and later", hello + from + "RCPT TO:<nosuch@example.test>\nRCPT TO:<later@example.test>\nDATA\nQUIT\n", "220 250 250 550 451 503 221"},
		{"RFC 5321 s4.5.1 null reverse-path", hello + "MAIL FROM:<>\n" + to + body + "QUIT\n", "220 250 250 250 354 250 221"},
		{"no AUTH in the clear", hello + "AUTH PLAIN AGEAYg==\nQUIT\n", "220 250 503 221"},
		{"no STARTTLS without a certificate", hello + "STARTTLS\nQUIT\n", "220 250 503 221"},

		{"RFC 3030 one chunk", hello + from + to + "BDAT 17 LAST\nSubject: a\n\nx\nQUIT\n", "220 250 250 250 250 221"},
		{"RFC 3030 two chunks, line across", hello + from + to + "BDAT 5\nSubjeBDAT 12 LAST\nct: a\n\nx\nQUIT\n", "220 250 250 250 250 250 221"},
		{"RFC 3030 empty last chunk", hello + from + to + "BDAT 17\nSubject: a\n\nx\nBDAT 0 LAST\nQUIT\n", "220 250 250 250 250 250 221"},
		{"RFC 3030 s2 bytes of a refused chunk are skipped", hello + "BDAT 6\nQUIT\nNOOP\nQUIT\n", "220 250 503 250 221"},
		{"RFC 3030 s2 DATA after BDAT", hello + from + to + "BDAT 6\na: b\nDATA\nRSET\n" + from + "QUIT\n", "220 250 250 250 250 503 250 250 221"},
		{"RFC 3030 no size", hello + from + to + "BDAT x\nQUIT\n", "220 250 250 250 501"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := newBench().run(t, crlf(tt.in))
			if got := codes(out); got != tt.want {
				t.Errorf("got  %s\nwant %s\n%s", got, tt.want, out)
			}
		})
	}
}

// TestMalformedMessages: a message with something wrong is answered after its
// end and leaves nothing behind; the next one is fine.
func TestMalformedMessages(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{"bare LF", "Subject: a\r\n\r\nb\nc\r\n.\r\n", "550"},
		{"bare CR", "Subject: a\r\n\r\nb\rc\r\n.\r\n", "550"},
		{"LF . LF does not end", "Subject: a\r\n\r\nb\n.\nMAIL FROM:<evil@x.test>\r\n.\r\n", "550"},
		{"LF . CR LF does not end", "Subject: a\r\n\r\nb\n.\r\nDATA\r\n.\r\n", "550"},
		{"CR LF . LF does not end", "Subject: a\r\n\r\nb\r\n.\nc\r\n.\r\n", "550"},
		{"CR . CR does not end", "Subject: a\r\n\r\nb\r.\rc\r\n.\r\n", "550"},
		{"no header", "this is not a header\r\n\r\nb\r\n.\r\n", "550"},
		{"too big", strings.Repeat("X: y\r\n", 3000) + ".\r\n", "554"},
		{"loop", strings.Repeat("Received: x\r\n", 100) + "\r\n.\r\n", "500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			b.opt.Limits.MaxMessageSize = 5000
			out := b.run(t, crlf(hello+from+to)+"DATA\r\n"+tt.data+crlf(from+to+body+"QUIT\n"))
			if got, want := codes(out), "220 250 250 250 354 "+tt.want+" 250 250 354 250 221"; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if len(b.queue.messages) != 1 || b.queue.discarded != 1 {
				t.Errorf("%d messages, %d discarded; want 1 and 1", len(b.queue.messages), b.queue.discarded)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	set := func(f func(*config.SMTP)) *bench { b := newBench(); f(&b.opt.Limits); return b }
	tests := []struct {
		name string
		b    *bench
		in   string
		want string
	}{
		{"messages of a session", set(func(l *config.SMTP) { l.MaxMails = 1 }), hello + from + to + body + from + "QUIT\n", "220 250 250 250 354 250 452 221"},
		{"recipients", set(func(l *config.SMTP) { l.MaxRcpt = 2 }), hello + from + to + to + to + "QUIT\n", "220 250 250 250 250 451 221"},
		{"errors", set(func(l *config.SMTP) { l.MaxErrors = 3 }), "A\nB\nC\nNOOP\n", "220 500 500 500 421"},
		{"errors, one less", set(func(l *config.SMTP) { l.MaxErrors = 3 }), "A\nB\nNOOP\nQUIT\n", "220 500 500 250 221"},
		{"errors begin anew with a message", set(func(l *config.SMTP) { l.MaxErrors = 3 }), "A\nB\n" + hello + from + to + body + "A\nB\nQUIT\n", "220 500 500 250 250 250 354 250 500 500 221"},
		{"command line", newBench(), "NOOP " + strings.Repeat("x", smtp.MaxCommandLine-5) + "\nNOOP " + strings.Repeat("x", smtp.MaxCommandLine-4) + "\nNOOP\n", "220 250 500"},
		{"message line", newBench(), hello + from + to + "DATA\n" + strings.Repeat("x", smtp.MaxDataLine+1) + "\n.\nNOOP\n", "220 250 250 250 354 500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := codes(tt.b.run(t, crlf(tt.in))); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestStoredMessage(t *testing.T) {
	b := newBench()
	b.run(t, crlf(hello+"MAIL FROM:<sender@example.net> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x\n"+
		"RCPT TO:<alice@example.test> NOTIFY=DELAY ORCPT=rfc822;a@b\nDATA\nSubject: hi\n\n..dot\n.\nQUIT\n"))
	if len(b.queue.messages) != 1 {
		t.Fatalf("%d messages, want 1", len(b.queue.messages))
	}
	m := b.queue.messages[0]
	if !strings.HasPrefix(m.body, "Received: from client.example.net (client.example.net [192.0.2.7])\n\tby mx.example.test (weir) with UTF8SMTP id 00000001\n\tfor <alice@example.test>;\n\t") ||
		!strings.HasSuffix(m.body, "Subject: hi\n\n.dot\n") {
		t.Errorf("body is %q", m.body)
	}
	if !m.EightBit || !m.UTF8 || m.EnvID != "x" || m.Sender.String() != "sender@example.net" || m.Source != "192.0.2.7" {
		t.Errorf("message is %+v", m.Message)
	}
	if e := m.envelopes; len(e) != 1 || e[0].ID.Message() != m.ID || e[0].ORcpt != "rfc822;a@b" || e[0].Notify == 0 {
		t.Errorf("envelopes are %+v", e)
	}
}

func TestQueueFailures(t *testing.T) {
	for _, tt := range []struct {
		name          string
		spool, commit error
		want          string
	}{
		{"disk full at commit", nil, queue.ErrNoSpace, "354 452"},
		{"commit failed", nil, errors.New("broken"), "354 451"},
		{"disk full at DATA", queue.ErrNoSpace, nil, "452"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			b.queue.err, b.queue.spoolErr = tt.commit, tt.spool
			in := hello + from + to + "DATA\n"
			if tt.spool == nil {
				in += "a: b\n\n.\n"
			}
			if got, want := codes(b.run(t, crlf(in+"NOOP\nQUIT\n"))), "220 250 250 250 "+tt.want+" 250 221"; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestDecisions: what each decision of a filter does at each phase.
func TestDecisions(t *testing.T) {
	all := hello + from + to + body + "NOOP\nQUIT\n"
	verdict := func(d filterwire.Decision, param string) filter.Verdict {
		return filter.Verdict{Decision: d, Param: param, Filter: "f"}
	}
	no, later, bye := verdict(filterwire.Reject, "550 5.7.1 no"), verdict(filterwire.Reject, "451 later"), verdict(filterwire.Disconnect, "550 bye")
	tests := []struct {
		name  string
		phase filterwire.Phase
		v     filter.Verdict
		want  string
	}{
		{"reject at connect closes", filterwire.Connect, no, "550"},
		{"reject at ehlo", filterwire.Ehlo, no, "220 550 503 503 503 500 500 500 500 250 221"},
		{"reject at mail-from", filterwire.MailFrom, later, "220 250 451 503 503 500 500 500 500 250 221"},
		{"reject at rcpt-to", filterwire.RcptTo, no, "220 250 250 550 503 500 500 500 500 250 221"},
		{"reject at data", filterwire.Data, no, "220 250 250 250 550 500 500 500 500 250 221"},
		{"reject at commit", filterwire.Commit, no, "220 250 250 250 354 550 250 221"},
		{"reject at noop", filterwire.Noop, no, "220 250 250 250 354 250 550 221"},
		{"reject at quit goes on", filterwire.Quit, no, "220 250 250 250 354 250 250 550"},
		{"reject with 421 closes", filterwire.MailFrom, verdict(filterwire.Reject, "421 go"), "220 250 421"},
		{"disconnect", filterwire.RcptTo, bye, "220 250 250 550"},
		{"disconnect at commit", filterwire.Commit, bye, "220 250 250 250 354 550"},
		{"text that is no reply", filterwire.RcptTo, verdict(filterwire.Reject, "no code"), "220 250 250 451 503 500 500 500 500 250 221"},
		{"rewrite of a recipient", filterwire.RcptTo, verdict(filterwire.Rewrite, "<bob@example.test>"), "220 250 250 250 354 250 250 221"},
		{"rewrite that is no path", filterwire.RcptTo, verdict(filterwire.Rewrite, "bob@example.test"), "220 250 250 501 503 500 500 500 500 250 221"},
		{"rewrite of nothing is proceed", filterwire.Data, verdict(filterwire.Rewrite, "x"), "220 250 250 250 354 250 250 221"},
		{"rewrite at commit is proceed", filterwire.Commit, verdict(filterwire.Rewrite, "x"), "220 250 250 250 354 250 250 221"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench()
			b.filters.answers[tt.phase] = tt.v
			if got := codes(b.run(t, crlf(all))); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if b.filters.closed != 1 {
				t.Errorf("filters closed %d times", b.filters.closed)
			}
		})
	}
}

func TestRewritesCount(t *testing.T) {
	b := newBench()
	b.filters.answers[filterwire.Ehlo] = filter.Verdict{Decision: filterwire.Rewrite, Param: "other.example"}
	b.filters.answers[filterwire.MailFrom] = filter.Verdict{Decision: filterwire.Rewrite, Param: "<new@example.net> BODY=8BITMIME"}
	b.filters.answers[filterwire.RcptTo] = filter.Verdict{Decision: filterwire.Rewrite, Param: "<bob@example.test>"}
	out := b.run(t, crlf(hello+from+to+body+"QUIT\n"))
	m := b.queue.messages[0]
	if !strings.Contains(out, "Hello other.example [") || m.Helo != "other.example" {
		t.Errorf("EHLO name: %q, stored %q", out, m.Helo)
	}
	if m.Sender.String() != "new@example.net" || !m.EightBit || m.envelopes[0].Rcpt.String() != "bob@example.test" {
		t.Errorf("message %+v, envelopes %+v", m.Message, m.envelopes)
	}
	if !slices.Contains(b.filters.events, "tx-mail|ok|sender@example.net") {
		t.Errorf("reports show something else than the client wrote: %q", b.filters.events)
	}
}

func TestJunk(t *testing.T) {
	two := crlf(hello + from + to + body + from + to + body + "QUIT\n")
	for _, tt := range []struct {
		phase filterwire.Phase
		top   [2]bool // "X-Spam: Yes" on top
		late  [2]bool // put there by the queue
	}{
		{filterwire.Connect, [2]bool{true, true}, [2]bool{}},
		{filterwire.MailFrom, [2]bool{true, true}, [2]bool{}},
		{filterwire.RcptTo, [2]bool{true, true}, [2]bool{}},
		{filterwire.Commit, [2]bool{}, [2]bool{true, true}},
		{filterwire.Quit, [2]bool{}, [2]bool{}},
	} {
		t.Run(tt.phase.String(), func(t *testing.T) {
			b := newBench()
			b.filters.answers[tt.phase] = filter.Verdict{Decision: filterwire.Junk}
			b.run(t, two)
			for i, m := range b.queue.messages {
				if got := strings.HasPrefix(m.body, "X-Spam: Yes\n"); got != tt.top[i] || m.Junk != tt.late[i] {
					t.Errorf("message %d: on top %v, late %v; want %v, %v", i, got, m.Junk, tt.top[i], tt.late[i])
				}
			}
		})
	}
}

// TestEventOrder is the order that filters rely on (docs/differences.md, golden
// case ehlo-message).
func TestEventOrder(t *testing.T) {
	b := newBench()
	b.filters.bodies = true
	b.run(t, crlf("HELO c.example\n"+from+to+body+"QUIT\n"))
	want := []string{
		"link-connect|pass", // the fields of a report are tested with its encoder
		"filter-response|connected|proceed", "S|220 mx.example.test ESMTP weir", "link-greeting|mx.example.test",
		"C|HELO c.example", "filter-response|helo|proceed", "link-identify|HELO|c.example", "S|250 mx.example.test Hello c.example [192.0.2.7], pleased to meet you",
		"C|MAIL FROM:<sender@example.net>", "filter-response|mail-from|proceed", "S|250 2.0.0 Ok", "tx-begin", "tx-mail|ok|sender@example.net",
		"C|RCPT TO:<alice@example.test>", "filter-response|rcpt-to|proceed", "tx-envelope", "S|250 2.1.5 Destination address valid: Recipient ok", "tx-rcpt|ok|alice@example.test",
		"C|DATA", "filter-response|data|proceed", `S|354 Enter mail, end with "." on a line by itself`, "tx-data|ok",
		"C|.", "filter-response|commit|proceed", "accepted", "S|250 2.0.0 00000001 Message accepted for delivery", "tx-commit", "tx-reset",
		"C|QUIT", "filter-response|quit|proceed", "S|221 2.0.0 Bye", "link-disconnect",
	}
	got := slices.Clone(b.filters.events)
	got[0] = strings.Replace(got[0], "link-connect", "link-connect|pass", 1)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.HasPrefix(b.filters.lines.String(), "Received: ") || !strings.HasSuffix(b.filters.lines.String(), "\nSubject: hi\n\ntext\n") {
		t.Errorf("lines to the filter: %q", b.filters.lines.String())
	}
}

// TestFiltersGetWhatFits: lines up to the size limit reach the filters, however
// many come in one read; the limit itself is within.
func TestFiltersGetWhatFits(t *testing.T) {
	const line = "X: 4567\n" // 8 octets, LF counted
	for _, tt := range []struct {
		limit int64
		pass  int
		want  string
	}{{80, 10, "250"}, {79, 9, "554"}, {72, 9, "554"}, {7, 0, "554"}} {
		b := newBench()
		b.filters.bodies = true
		b.opt.Limits.MaxMessageSize = tt.limit
		out := b.run(t, crlf(hello+from+to+"DATA\n"+strings.Repeat(line, 10)+".\nQUIT\n"))
		if got, want := codes(out), "220 250 250 250 354 "+tt.want+" 221"; got != want {
			t.Errorf("limit %d: got %s, want %s", tt.limit, got, want)
		}
		if got := strings.Count(b.filters.lines.String(), line); got != tt.pass {
			t.Errorf("limit %d: %d lines reached the filter, want %d", tt.limit, got, tt.pass)
		}
	}
}

func TestBodyFilterFails(t *testing.T) {
	b := newBench()
	b.filters.bodies = true
	b.filters.body = filter.Verdict{Decision: filterwire.Reject, Param: "451 4.7.1 Filter f failed", Filter: "f", Err: errors.New("died")}
	out := b.run(t, crlf(hello+from+to+body+"NOOP\nQUIT\n"))
	if got, want := codes(out), "220 250 250 250 354 451 250 221"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(b.queue.messages) != 0 || b.queue.discarded != 1 {
		t.Errorf("%d messages, %d discarded", len(b.queue.messages), b.queue.discarded)
	}
}

// pipe is a session at the other end of conn.
func (b *bench) pipe(ctx context.Context) (conn net.Conn, s *Session, done chan struct{}) {
	client, server := net.Pipe()
	s, done = New(server, &b.opt, Peer{}), make(chan struct{})
	go func() { defer close(done); s.Serve(ctx) }()
	return client, s, done
}

// hear reads until the session has nothing more to say.
func hear(conn net.Conn) string {
	var out strings.Builder
	buf := make([]byte, 4096)
	for {
		conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, err := conn.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			return out.String()
		}
	}
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		conn, _, done := b.pipe(t.Context())
		hear(conn)
		conn.Write([]byte(crlf(hello)))
		hear(conn)
		time.Sleep(b.opt.Limits.Timeout - time.Second)
		if got := hear(conn); got != "" {
			t.Errorf("before the time is over: %q", got)
		}
		time.Sleep(2 * time.Second)
		if got := hear(conn); codes(got) != "421" {
			t.Errorf("after it: %q", got)
		}
		<-done
		if e := b.filters.events; e[len(e)-1] != "link-disconnect" || !slices.Contains(e, "timeout") {
			t.Errorf("events %q", e)
		}
	})
}

// TestSlowLine: a client that sends a byte now and then does not keep the
// session for longer than one that sends nothing.
func TestSlowLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		conn, _, done := b.pipe(t.Context())
		hear(conn)
		for range 8 {
			time.Sleep(b.opt.Limits.Timeout / 10)
			conn.Write([]byte("N"))
		}
		time.Sleep(b.opt.Limits.Timeout / 4)
		if got := hear(conn); codes(got) != "421" {
			t.Errorf("heard %q, want 421", got)
		}
		<-done
	})
}

func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		idle, s1, done1 := b.pipe(t.Context())
		hear(idle)
		busy, s2, done2 := b.pipe(t.Context())
		hear(busy)
		for _, line := range []string{hello, from, to} {
			busy.Write([]byte(crlf(line)))
			hear(busy)
		}
		s1.Interrupt()
		s2.Interrupt()
		if got := hear(idle); codes(got) != "421" {
			t.Errorf("idle session heard %q, want 421", got)
		}
		<-done1
		busy.Write([]byte("DATA\r\n"))
		hear(busy)
		busy.Write([]byte("a: b\r\n\r\n.\r\n"))
		if got := hear(busy); codes(got) != "250 421" {
			t.Errorf("busy session heard %q, want its 250 and then 421", got)
		}
		<-done2
		if len(b.queue.messages) != 1 {
			t.Errorf("%d messages", len(b.queue.messages))
		}
	})
}

// TestDeparture: a client that leaves while a filter is asked ends the wait,
// and nothing of its message stays.
func TestDeparture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench()
		conn, s, done := b.pipe(t.Context())
		hear(conn)
		for _, line := range []string{hello, from, to, "DATA\n"} {
			conn.Write([]byte(crlf(line)))
			hear(conn)
		}
		b.filters.ask = func(ctx context.Context) { <-ctx.Done() }
		conn.Write([]byte("a: b\r\n\r\n.\r\n"))
		time.Sleep(time.Minute)
		if s.Waiting(time.Now()) < time.Minute {
			t.Errorf("waiting for %v", s.Waiting(time.Now()))
		}
		s.Departed()
		<-done
		if len(b.queue.messages) != 0 || b.queue.discarded != 1 {
			t.Errorf("%d messages, %d discarded", len(b.queue.messages), b.queue.discarded)
		}
	})
}

// FuzzSession feeds a client's bytes to sessions that begin in each state. No
// input may end the process, leave a spool behind or bring out a reply that is
// none.
func FuzzSession(f *testing.F) {
	starts := []string{"", hello, hello + from, hello + from + to, hello + from + to + "DATA\n", hello + from + to + "BDAT 9\n123456789"}
	f.Add(uint8(0), "EHLO a\r\nNOOP\r\nQUIT\r\n")
	f.Add(uint8(2), "RCPT TO:<alice@example.test> NOTIFY=NEVER\r\nDATA\r\na: b\r\n\r\n.\r\n")
	f.Add(uint8(4), "a\n.\nb\r\n.\r\nQUIT\r\n")
	f.Add(uint8(5), "BDAT 3 LAST\r\n\r\n\r\n")
	f.Fuzz(func(t *testing.T, start uint8, in string) {
		b := newBench()
		b.filters.bodies = start&1 == 1
		out := b.run(t, crlf(starts[int(start)%len(starts)])+in)
		for _, line := range strings.SplitAfter(out, "\r\n") {
			if line == "" {
				continue
			}
			if len(line) < 6 || !strings.HasSuffix(line, "\r\n") || line[0] < '2' || line[0] > '5' || (line[3] != ' ' && line[3] != '-') {
				t.Fatalf("not a reply: %q", line)
			}
		}
		if n := len(b.events); n == 0 || b.events[n-1] != "link-disconnect" {
			t.Fatalf("last event of %d is not link-disconnect", n)
		}
	})
}

// TestFactsWhenAsked: conditions of filters see what the question is about, and
// what is refused is taken back.
func TestFactsWhenAsked(t *testing.T) {
	b := newBench()
	var facts *routing.Facts
	b.opt.Open = func(_ mail.SessionID, f *routing.Facts) Filters { facts = f; return b.filters }
	var seen []string
	b.filters.ask = func(context.Context) {
		last := b.filters.asked[len(b.filters.asked)-1]
		seen = append(seen, fmt.Sprintf("%s helo=%s mail=%v:%s rcpt=%v:%s accepted=%v",
			last[:strings.IndexByte(last, '(')], facts.Helo, facts.HasMail, facts.MailFrom, facts.HasRcpt, facts.RcptTo, facts.Accepted))
	}
	b.run(t, crlf("EHLO a.example\nMAIL FROM:<s@x.test> FOO=bar\nNOOP\nMAIL FROM:<s@x.test>\nRCPT TO:<nosuch@example.test>\n"+
		"RCPT TO:<bob@example.test>\nDATA\na: b\n\n.\nNOOP\nQUIT\n"))
	want := []string{
		"connect helo= mail=false: rcpt=false: accepted=[]",
		"ehlo helo=a.example mail=false: rcpt=false: accepted=[]",
		"mail-from helo=a.example mail=true:s@x.test rcpt=false: accepted=[]",
		"noop helo=a.example mail=false: rcpt=false: accepted=[]",
		"mail-from helo=a.example mail=true:s@x.test rcpt=false: accepted=[]",
		"rcpt-to helo=a.example mail=true:s@x.test rcpt=true:nosuch@example.test accepted=[]",
		"rcpt-to helo=a.example mail=true:s@x.test rcpt=true:bob@example.test accepted=[]",
		"data helo=a.example mail=true:s@x.test rcpt=false: accepted=[bob@example.test]",
		"commit helo=a.example mail=true:s@x.test rcpt=false: accepted=[bob@example.test]",
		"noop helo=a.example mail=false: rcpt=false: accepted=[]",
		"quit helo=a.example mail=false: rcpt=false: accepted=[]",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}

	b = newBench()
	b.opt.Open = func(_ mail.SessionID, f *routing.Facts) Filters { facts = f; return b.filters }
	b.filters.answers[filterwire.Helo] = filter.Verdict{Decision: filterwire.Reject, Param: "550 no"}
	b.filters.ask = func(context.Context) { seen = append(seen, facts.Helo) }
	seen = nil
	b.run(t, crlf("HELO bad.example\nNOOP\nEHLO good.example\nHELO bad.example\nNOOP\nQUIT\n"))
	if want := []string{"", "bad.example", "", "good.example", "bad.example", "good.example", "good.example"}; !slices.Equal(seen, want) {
		t.Errorf("names seen: %q, want %q", seen, want)
	}
}
