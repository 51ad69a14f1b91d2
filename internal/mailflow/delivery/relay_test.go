package delivery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/table"
)

func TestRelay(t *testing.T) {
	f := newFake(t, "tcp", nil)
	a := testAgent(t, f.action("smtp"))
	j := job("Subject: x\n\n.\n..\n.dot\nend", "alice@example.org", "carol@example.org")
	for _, o := range deliver(t, a, j) {
		want(t, o, Delivered, "2.0.0", "250 2.0.0 queued as 42")
		if o.Remote != "127.0.0.1" || !o.DSN {
			t.Errorf("remote %q, DSN %t", o.Remote, o.DSN)
		}
	}
	a.Close() // waits for QUIT
	wantLog := "EHLO mx.example.org|MAIL FROM:<bob@example.net> SIZE=32|RCPT TO:<alice@example.org>|RCPT TO:<carol@example.org>|DATA|QUIT"
	if f.log() != wantLog {
		t.Errorf("commands\n%s\nwant\n%s", f.log(), wantLog)
	}
	if wantMsg := "Subject: x\r\n\r\n..\r\n...\r\n..dot\r\nend\r\n"; f.got(0) != wantMsg {
		t.Errorf("message %q, want %q", f.got(0), wantMsg)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := strings.Join(f.batches, ","); !strings.Contains(got, "mail rcpt rcpt data") {
		t.Errorf("with PIPELINING the commands came as %q", got)
	}
}

// The server goes wrong at each step in each way; nothing is ever lost or said
// to be delivered that was not.
func TestRelayFaults(t *testing.T) {
	const plain = "250-fake\r\n250 8BITMIME" // no PIPELINING
	type result struct {
		status   Status
		enhanced string
		text     string
	}
	ok := result{Delivered, "2.0.0", "queued"}
	tests := []struct {
		name   string
		script map[string]string
		first  result // for the first recipient
		second result // for the second; zero: as the first
	}{
		{"greet 4xx", map[string]string{"greet": "421 4.3.2 busy"}, result{Deferred, "4.3.2", "busy"}, result{}},
		{"greet 5xx", map[string]string{"greet": "554 5.7.1 go away"}, result{Deferred, "4.7.1", "go away"}, result{}},
		{"greet 5xx bare", map[string]string{"greet": "554 no"}, result{Deferred, "4.3.2", "554 no"}, result{}},
		{"greet close", map[string]string{"greet": doClose}, result{Deferred, "4.4.2", "EOF"}, result{}},
		{"greet garbage", map[string]string{"greet": "HTTP/1.1 400 Bad Request"}, result{Deferred, "4.4.2", "SMTP"}, result{}},
		{"greet stall", map[string]string{"greet": doStall}, result{Deferred, "4.4.2", "timeout"}, result{}},
		{"greet lines", map[string]string{"greet": "220-one\r\n220 two"}, ok, result{}},
		{"ehlo 4xx", map[string]string{"ehlo": "450 4.3.0 later"}, result{Deferred, "4.3.0", "later"}, result{}},
		{"ehlo 5xx", map[string]string{"ehlo": "502 no EHLO here"}, ok, result{}},
		{"helo 5xx too", map[string]string{"ehlo": "502 no", "helo": "550 5.5.2 who"}, result{Deferred, "4.5.2", "who"}, result{}},
		{"ehlo close", map[string]string{"ehlo": doClose}, result{Deferred, "4.4.2", "EOF"}, result{}},
		{"mail 4xx", map[string]string{"mail": "451 4.7.0 greylisted"}, result{Deferred, "4.7.0", "451 4.7.0 greylisted"}, result{}},
		{"mail 5xx", map[string]string{"mail": "550 5.7.1 no"}, result{Failed, "5.7.1", "no"}, result{}},
		{"mail 5xx, no pipelining", map[string]string{"ehlo": plain, "mail": "550 no"}, result{Failed, "5.0.0", "550 no"}, result{}},
		{"mail 421", map[string]string{"mail": "421 4.3.2 going down"}, result{Deferred, "4.3.2", "going down"}, result{}},
		{"mail close", map[string]string{"mail": doClose}, result{Deferred, "4.4.2", "MAIL"}, result{}},
		{"mail stall", map[string]string{"mail": doStall}, result{Deferred, "4.4.2", "MAIL"}, result{}},
		{"mail garbage", map[string]string{"mail": "what?"}, result{Deferred, "4.5.0", "SMTP"}, result{}},
		{"one rcpt 4xx", map[string]string{"rcpt1": "450 4.2.1 busy"}, result{Deferred, "4.2.1", "busy"}, ok},
		{"one rcpt 5xx", map[string]string{"rcpt2": "550-5.1.1 no\r\n550 5.1.1 such user"}, ok, result{Failed, "5.1.1", "550 5.1.1 no such user"}},
		{"one rcpt 5xx, no pipelining", map[string]string{"ehlo": plain, "rcpt1": "550 5.1.1 no"}, result{Failed, "5.1.1", "no"}, ok},
		{"both rcpt 5xx", map[string]string{"rcpt": "550 5.1.1 no", "data": "503 no rcpt"}, result{Failed, "5.1.1", "no"}, result{}},
		{"both rcpt 5xx, 354", map[string]string{"rcpt": "550 5.1.1 no"}, result{Failed, "5.1.1", "no"}, result{}},
		{"both rcpt 5xx, no pipelining", map[string]string{"ehlo": plain, "rcpt": "550 5.1.1 no"}, result{Failed, "5.1.1", "no"}, result{}},
		{"too many rcpt, old way", map[string]string{"rcpt2": "552 too many recipients"}, ok, result{Deferred, "4.5.3", "too many"}},
		{"rcpt 552 full", map[string]string{"rcpt2": "552 5.2.2 full"}, ok, result{Failed, "5.2.2", "full"}},
		{"rcpt 251", map[string]string{"rcpt1": "251 will forward"}, ok, result{}},
		{"rcpt 354", map[string]string{"rcpt2": "354 what"}, ok, result{Deferred, "4.5.0", "354 what"}},
		{"rcpt close", map[string]string{"rcpt2": doClose}, result{Deferred, "4.4.2", "RCPT"}, result{}},
		{"rcpt refused, then close", map[string]string{"rcpt1": "550 5.1.1 no", "rcpt2": doClose}, result{Failed, "5.1.1", "no"}, result{Deferred, "4.4.2", "RCPT"}},
		{"data 4xx", map[string]string{"data": "451 4.3.0 no"}, result{Deferred, "4.3.0", "no"}, result{}},
		{"data 5xx", map[string]string{"data": "554 5.7.1 no"}, result{Failed, "5.7.1", "no"}, result{}},
		{"data 250", map[string]string{"data": "250 ok"}, result{Deferred, "4.5.0", "250"}, result{}},
		{"data close", map[string]string{"data": doClose}, result{Deferred, "4.4.2", "DATA"}, result{}},
		{"body close", map[string]string{"body": doClose}, result{Deferred, "4.4.2", ""}, result{}},
		{"dot 4xx", map[string]string{"dot": "452 4.3.1 full"}, result{Deferred, "4.3.1", "full"}, result{}},
		{"dot 5xx", map[string]string{"dot": "550 5.7.1 spam"}, result{Failed, "5.7.1", "spam"}, result{}},
		{"dot 421", map[string]string{"dot": "421 4.3.0 crashed"}, result{Deferred, "4.3.0", "crashed"}, result{}},
		{"dot close", map[string]string{"dot": doClose}, result{Deferred, "4.4.2", "may have arrived"}, result{}},
		{"dot stall", map[string]string{"dot": doStall}, result{Deferred, "4.4.2", "may have arrived"}, result{}},
		{"dot garbage", map[string]string{"dot": "2x0 ok"}, result{Deferred, "4.5.0", "may have arrived"}, result{}},
		{"wrong class", map[string]string{"dot": "550 4.2.2 full"}, result{Failed, "5.0.0", "4.2.2 full"}, result{}},
		{"control bytes", map[string]string{"dot": "550 5.7.1 a\x1b[31mb\xff"}, result{Failed, "5.7.1", "a?[31mb?"}, result{}},
		{"long text", map[string]string{"dot": "550 5.7.1 " + strings.Repeat("x", 3000)}, result{Failed, "5.7.1", "xxx"}, result{}},
		{"reply too long", map[string]string{"dot": "550 " + strings.Repeat("x", 9000)}, result{Deferred, "4.5.0", "octets"}, result{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, "tcp", tt.script)
			a := testAgent(t, f.action("smtp"))
			for step, wait := range map[string]*time.Duration{"greet": &a.times.greeting, "mail": &a.times.mail, "dot": &a.times.end} {
				if tt.script[step] == doStall {
					*wait = 300 * time.Millisecond
				}
			}
			if tt.second == (result{}) {
				tt.second = tt.first
			}
			out := deliver(t, a, job(testMessage, "alice@example.org", "carol@example.org"))
			want(t, out[0], tt.first.status, tt.first.enhanced, tt.first.text)
			want(t, out[1], tt.second.status, tt.second.enhanced, tt.second.text)
			for _, o := range out {
				if len(o.Text) > maxText || strings.ContainsAny(o.Text, "\r\n") {
					t.Errorf("text %q is not one bounded line", o.Text)
				}
			}
		})
	}
}

func TestRelayReuse(t *testing.T) {
	f := newFake(t, "tcp", nil)
	a := testAgent(t, f.action("smtp"))
	for range maxMessages + 1 {
		want(t, deliver(t, a, job(testMessage, "alice@example.org"))[0], Delivered, "", "")
	}
	a.Close()
	if conns, messages := f.counts(); conns != 2 || messages != maxMessages+1 {
		t.Errorf("%d messages over %d connections, want %d over 2", messages, conns, maxMessages+1)
	}
	if n := strings.Count(f.log(), "QUIT"); n != 2 {
		t.Errorf("%d QUIT, want 2", n)
	}
}

// A connection that the server has closed meanwhile, or that it closes with
// 421 instead of an answer to MAIL, is replaced; the message goes once.
func TestRelayStale(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		f := newFake(t, "tcp", nil)
		a := testAgent(t, f.action("smtp"))
		deliver(t, a, job(testMessage, "alice@example.org"))
		for _, list := range a.pool.idle {
			list[0].conn.raw.(*net.TCPConn).CloseWrite() // the server sees the end and closes
			io.Copy(io.Discard, list[0].conn.raw)
		}
		want(t, deliver(t, a, job(testMessage, "alice@example.org"))[0], Delivered, "", "")
		if conns, messages := f.counts(); conns != 2 || messages != 2 {
			t.Errorf("%d messages over %d connections, want 2 over 2", messages, conns)
		}
	})
	t.Run("421", func(t *testing.T) {
		f := newFake(t, "tcp", nil)
		a := testAgent(t, f.action("smtp"))
		deliver(t, a, job(testMessage, "alice@example.org"))
		f.follow(map[string]string{"mail@1": "421 4.4.2 idle too long"})
		want(t, deliver(t, a, job(testMessage, "alice@example.org"))[0], Delivered, "", "")
		if conns, messages := f.counts(); conns != 2 || messages != 2 {
			t.Errorf("%d messages over %d connections, want 2 over 2", messages, conns)
		}
	})
	t.Run("once only", func(t *testing.T) {
		f := newFake(t, "tcp", nil)
		a := testAgent(t, f.action("smtp"))
		deliver(t, a, job(testMessage, "alice@example.org"))
		f.follow(map[string]string{"mail": doClose})
		want(t, deliver(t, a, job(testMessage, "alice@example.org"))[0], Deferred, "4.4.2", "MAIL")
		if conns, _ := f.counts(); conns != 2 {
			t.Errorf("%d connections, want 2", conns)
		}
	})
	t.Run("not after the message", func(t *testing.T) {
		f := newFake(t, "tcp", nil)
		a := testAgent(t, f.action("smtp"))
		deliver(t, a, job(testMessage, "alice@example.org"))
		f.follow(map[string]string{"dot": doClose})
		want(t, deliver(t, a, job(testMessage, "alice@example.org"))[0], Deferred, "4.4.2", "may have arrived")
		if conns, messages := f.counts(); conns != 1 || messages != 2 {
			t.Errorf("%d messages over %d connections, want 2 over 1", messages, conns)
		}
	})
}

func TestRelayParameters(t *testing.T) {
	f := newFake(t, "tcp", nil)
	act := f.action("smtp")
	act.Helo, act.MailFrom = "out.example.org", "relay@example.org"
	act.SourceIPs = table.NewList("src", []string{"127.0.0.1", "::1"})
	a := testAgent(t, act)
	j := job("Subject: caf\xc3\xa9\n\nx\n", "\xc3\xa4@example.org", "carol@example.org")
	j.Message.EightBit, j.Message.UTF8, j.Message.Ret, j.Message.EnvID = true, true, mail.RetHdrs, "id+2B"
	j.Envelopes[0].Notify = mail.NotifySuccess | mail.NotifyDelay
	j.Envelopes[0].ORcpt = "rfc822;a+2Bb@example.org"
	j.Envelopes[1].Notify = mail.NotifyNever
	for _, o := range deliver(t, a, j) {
		want(t, o, Delivered, "", "")
	}
	wantLog := "EHLO out.example.org|MAIL FROM:<relay@example.org> SIZE=21 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+2B|" +
		"RCPT TO:<\xc3\xa4@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@example.org|RCPT TO:<carol@example.org> NOTIFY=NEVER|DATA"
	if f.log() != wantLog {
		t.Errorf("commands\n%s\nwant\n%s", f.log(), wantLog)
	}

	// A bounce keeps the null reverse-path, whatever mail-from says.
	j = job(testMessage, "carol@example.org")
	j.Message.Sender = mail.Address{}
	deliver(t, a, j)
	if !strings.Contains(f.log(), "MAIL FROM:<> ") {
		t.Errorf("commands %s", f.log())
	}
}

// Nothing offered: no parameters, one command at a time; what cannot be said
// fails.
func TestRelayWithoutExtensions(t *testing.T) {
	f := newFake(t, "tcp", map[string]string{"ehlo": "250 fake"})
	a := testAgent(t, f.action("smtp"))
	j := job("Subject: x\n\ncaf\xc3\xa9\n", "\xc3\xa4@example.org", "carol@example.org")
	j.Message.EightBit, j.Message.UTF8, j.Message.Ret = true, true, mail.RetFull
	j.Envelopes[1].Notify = mail.NotifyNever
	out := deliver(t, a, j)
	want(t, out[0], Failed, "5.6.7", "SMTPUTF8")
	want(t, out[1], Delivered, "", "")
	if out[1].DSN {
		t.Error("DSN is said to be handed on to a server without DSN")
	}
	if wantLog := "EHLO mx.example.org|MAIL FROM:<bob@example.net>|RCPT TO:<carol@example.org>|DATA"; f.log() != wantLog {
		t.Errorf("commands\n%s\nwant\n%s", f.log(), wantLog)
	}
	if f.got(0) != "Subject: x\r\n\r\ncaf\xc3\xa9\r\n" {
		t.Errorf("message %q", f.got(0))
	}
	j.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("Subject: caf\xc3\xa9\n\n\n")), nil
	}
	want(t, deliver(t, a, j)[1], Failed, "5.6.7", "SMTPUTF8") // UTF-8 in the header
}

func TestRelayRefusedHere(t *testing.T) {
	f := newFake(t, "tcp", nil)
	a := testAgent(t, f.action("smtp"))
	j := job(testMessage, "a@example.org")
	j.Message.Size = 1000001
	want(t, deliver(t, a, j)[0], Failed, "5.3.4", "1000001 bytes")
	j.Message.Size = 1000000
	want(t, deliver(t, a, j)[0], Delivered, "", "")
	for _, bad := range []string{"a\r\nRSET@x", "a b@x", "a>@x", "a\x00@x", `"a@x`, strings.Repeat("a", 300) + "@x"} {
		j := job(testMessage, "a@example.org", bad)
		out := deliver(t, a, j)
		want(t, out[0], Delivered, "", "")
		want(t, out[1], Failed, "5.1.3", "forward-path")
	}
	j = job(testMessage, `"a >\" b"@example.org`)
	want(t, deliver(t, a, j)[0], Delivered, "", "")
	_, n := f.counts()
	want(t, deliver(t, a, job("Subject: x\n\na\r\n.\r\nb\n", "a@example.org"))[0], Failed, "5.6.0", "CR")
	if _, m := f.counts(); m != n {
		t.Error("a message with bare CR was sent")
	}
}

// A body that cannot be read to its end is never ended with a dot.
func TestRelayBodyFault(t *testing.T) {
	f := newFake(t, "tcp", nil)
	a := testAgent(t, f.action("smtp"))
	big := "Subject: x\n\n" + strings.Repeat("line\n", chunkSize)
	j := job(big, "a@example.org")
	j.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader(big), errReader{})), nil
	}
	want(t, deliver(t, a, j)[0], Deferred, "4.3.0", "cannot read the message: disk on fire")
	a.Close()
	if _, n := f.counts(); n != 0 {
		t.Error("half a message was sent")
	}
	j.Open = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	want(t, deliver(t, a, j)[0], Deferred, "4.3.0", "gone")
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func TestRelayBig(t *testing.T) {
	f := newFake(t, "tcp", map[string]string{"ehlo": "250-fake\r\n250 PIPELINING"})
	a := testAgent(t, f.action("smtp"))
	big := "Subject: x\n\n" + strings.Repeat(".\n..line\n\n", chunkSize/4)
	want(t, deliver(t, a, job(big, "a@example.org"))[0], Delivered, "", "")
	got := strings.ReplaceAll(strings.ReplaceAll(f.got(0), "\r\n.", "\r\n"), "\r\n", "\n")
	if got != big {
		t.Error("a message of several chunks did not arrive as it was")
	}
}

func TestRelayManyRecipients(t *testing.T) {
	f := newFake(t, "tcp", nil)
	a := testAgent(t, f.action("smtp"))
	var rcpts []string
	for i := range 2*maxTransaction + 1 {
		rcpts = append(rcpts, fmt.Sprintf("u%d@example.org", i))
	}
	for _, o := range deliver(t, a, job(testMessage, rcpts...)) {
		want(t, o, Delivered, "", "")
	}
	if _, n := f.counts(); n != 3 || strings.Count(f.log(), "RCPT") != len(rcpts) {
		t.Errorf("%d messages, %d RCPT", n, strings.Count(f.log(), "RCPT"))
	}
}

func TestRelayNobodyThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	a := testAgent(t, &config.Action{Method: config.Relay, Host: &config.RelayHost{Host: "127.0.0.1", Port: port}})
	want(t, deliver(t, a, job(testMessage, "a@example.org"))[0], Deferred, "4.4.1", "refused")
	a.dial = func(context.Context, string, string, net.Addr) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "relay.example", IsNotFound: true}
	}
	want(t, deliver(t, a, job(testMessage, "a@example.org"))[0], Deferred, "4.4.3", "no such host")
}

func TestRelayCancelled(t *testing.T) {
	for _, step := range []string{"greet", "mail", "dot"} {
		f := newFake(t, "tcp", map[string]string{step: doStall})
		a := testAgent(t, f.action("smtp"))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		out := a.Deliver(ctx, job(testMessage, "a@example.org"))
		cancel()
		want(t, out[0], Deferred, "4.4.7", "deadline")
	}
}

func TestLMTP(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			f := newFake(t, network, map[string]string{"rcpt2": "550 5.1.1 no", "dot2": "452 4.2.2 full"})
			f.lmtp = true
			act := &config.Action{Method: config.LMTP, LMTPDest: f.ln.Addr().String()}
			a := testAgent(t, act)
			j := job(testMessage, "a@example.org", "b@example.org", "c@example.org", "d@example.org")
			for i, u := range []string{"ua", "ub", "uc", ""} {
				j.Envelopes[i].Local.User = u
			}
			out := deliver(t, a, j)
			want(t, out[0], Delivered, "2.0.0", "stored 1")
			want(t, out[1], Failed, "5.1.1", "no")
			want(t, out[2], Deferred, "4.2.2", "full") // the second reply after the dot
			want(t, out[3], Delivered, "2.0.0", "stored")
			if !strings.Contains(f.log(), "LHLO mx.example.org|") || !strings.Contains(f.log(), "RCPT TO:<ua>|") ||
				!strings.Contains(f.log(), "RCPT TO:<d@example.org>") {
				t.Errorf("commands %s", f.log())
			}
			act.LMTPRcpt = true
			deliver(t, a, j)
			if !strings.Contains(f.log(), "RCPT TO:<a@example.org>|") {
				t.Errorf("commands with rcpt-to %s", f.log())
			}
			if conns, _ := f.counts(); conns != 1 {
				t.Errorf("%d connections, want 1", conns)
			}
		})
	}
}

// The server answers for the first recipient only.
func TestLMTPHalfAnswered(t *testing.T) {
	f := newFake(t, "tcp", map[string]string{"dot2": doClose})
	f.lmtp = true
	out := deliver(t, testAgent(t, f.action("lmtp")), job(testMessage, "a@example.org", "b@example.org"))
	want(t, out[0], Delivered, "2.0.0", "stored 1")
	want(t, out[1], Deferred, "4.4.2", "may have arrived")
}

func TestPoolLimits(t *testing.T) {
	f := newFake(t, "tcp", nil)
	a := testAgent(t, f.action("smtp"))
	var wg sync.WaitGroup
	for range 3 * maxIdleHost {
		wg.Go(func() { want(t, deliver(t, a, job(testMessage, "a@example.org"))[0], Delivered, "", "") })
	}
	wg.Wait()
	a.pool.mu.Lock()
	n := a.pool.count
	a.pool.mu.Unlock()
	if n == 0 || n > maxIdleHost {
		t.Errorf("%d idle connections, want 1 to %d", n, maxIdleHost)
	}
	a.Close()
	want(t, deliver(t, a, job(testMessage, "a@example.org"))[0], Delivered, "", "")
	if a.pool.count != 0 {
		t.Error("a closed pool took a connection")
	}
}

func TestPoolExpire(t *testing.T) {
	f := newFake(t, "tcp", nil)
	a := testAgent(t, f.action("smtp"))
	deliver(t, a, job(testMessage, "a@example.org"))
	for key, list := range a.pool.idle {
		a.pool.expire(key, list[0])
		break
	}
	a.pool.quits.Wait()
	if !strings.HasSuffix(f.log(), "|QUIT") || a.pool.count != 0 {
		t.Errorf("commands %s, %d idle", f.log(), a.pool.count)
	}
}

func TestTargetSource(t *testing.T) {
	act := &config.Action{Method: config.Relay, Host: &config.RelayHost{Host: "127.0.0.1", Port: 25}, SourceIPs: table.NewList("src", nil)}
	a := testAgent(t, act)
	want(t, deliver(t, a, job(testMessage, "a@example.org"))[0], Deferred, "4.3.5", "no source address")
	tgt := target{network: "tcp", addr: "127.0.0.1:25", src: []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.2")}}
	a.dial = func(_ context.Context, _, _ string, local net.Addr) (net.Conn, error) {
		if local.String() == "127.0.0.2:0" {
			c, _ := net.Pipe()
			return c, nil
		}
		return nil, errors.New("wrong family")
	}
	nc, err := a.dialFrom(t.Context(), &tgt)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestRelaySTARTTLS(t *testing.T) {
	const plain = "EHLO mx.example.org|MAIL FROM:<bob@example.net>|RCPT TO:<a@example.org>|DATA|QUIT"
	tests := []struct {
		name     string
		proto    string
		starttls string // reply, "" for 220
		broken   bool   // the server has no certificate
		want     string
		conns    int
	}{
		{"works", "smtp", "", false, "EHLO mx.example.org|STARTTLS|" + plain, 1},
		{"not wanted", "smtp+notls", "", false, plain, 1},
		{"refused", "smtp", "454 4.7.0 not now", false, "EHLO mx.example.org|STARTTLS|" + strings.TrimPrefix(plain, "EHLO mx.example.org|"), 1},
		{"broken", "smtp", "", true, "EHLO mx.example.org|STARTTLS|" + plain, 2},
		{"data in the clear", "smtp", "220 go\r\n250 injected", false, "EHLO mx.example.org|STARTTLS|" + plain, 2},
	}
	ts := httptest.NewTLSServer(nil) // for its certificate
	defer ts.Close()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			script := map[string]string{"ehlo": "250-fake\r\n250 STARTTLS"}
			if tt.starttls != "" {
				script["starttls"] = tt.starttls
			}
			f := newFake(t, "tcp", script)
			f.mu.Lock()
			switch {
			case tt.broken:
				f.tls = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }}
			case !strings.HasPrefix(tt.starttls, "4"):
				f.tls = &tls.Config{Certificates: ts.TLS.Certificates}
			}
			f.mu.Unlock()
			a := testAgent(t, f.action(tt.proto))
			want(t, deliver(t, a, job(testMessage, "a@example.org"))[0], Delivered, "2.0.0", "queued")
			a.Close()
			if conns, messages := f.counts(); f.log() != tt.want || conns != tt.conns || messages != 1 {
				t.Errorf("%d connections, %d messages, commands\n%s\nwant\n%s", conns, messages, f.log(), tt.want)
			}
		})
	}
}
