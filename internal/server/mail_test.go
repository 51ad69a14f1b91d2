package server

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/mailflow/listener"
	"github.com/weirmail/weir/test/weirtest"
)

// echo answers everything with proceed and returns each line of a message,
// with a mark in the subject.
const echo = `case $kind:$phase in
filter:data-line)
  case $rest in Subject:*) rest="$rest, filtered";; esac
  printf 'filter-dataline|%s|%s|%s\n' "$id" "$tok" "$rest";;
filter:*) echo "filter-result|$id|$tok|proceed";;
esac`

// TestMessage: a message goes through a filter into a maildir, byte for byte,
// from a TCP socket and from the unix one.
func TestMessage(t *testing.T) {
	dir := t.TempDir()
	f := script(t, dir, "echo.sh", echo, "connect", "mail-from", "data-line", "commit")
	s := start(t, dir, fmt.Sprintf(`
filter echo proc-exec %q
listen on 127.0.0.1 port 0 tag in hostname mx.example.test filter echo
listen on socket filter echo
`, f)+boxes(dir), Options{Version: "1"})
	send(t, s.addr(t, "in"), "s@example.net", "alice@example.test", "by TCP")
	send(t, filepath.Join(s.config().Queue.Path, SMTPSocket), "s@example.net", "bob@example.test", "by socket")
	for user, subject := range map[string]string{"alice": "by TCP", "bob": "by socket"} {
		got := mails(t, filepath.Join(dir, "mail", user), 1)[0]
		want := strings.Replace(fmt.Sprintf(text, subject+", filtered"), "\n..", "\n.", 1)
		if !strings.HasSuffix(got, want) || !strings.Contains(got, "Received: from client.example.net (") {
			t.Errorf("%s got %q, want it to end in %q", user, got, want)
		}
	}
}

// TestPythonFilter runs the bridge for filters in Python.
func TestPythonFilter(t *testing.T) {
	python := weirtest.Program(t, "python3", "python3")
	bridge, err := filepath.Abs("../../sdk/python/filter-python")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := start(t, dir, fmt.Sprintf(`
filter cb proc-exec "%s %s %s"
listen on 127.0.0.1 port 0 tag in filter cb
`, python, bridge, filepath.Join(filepath.Dir(bridge), "../../filters/callbacks/callbacks.py"))+boxes(dir), Options{})
	send(t, s.addr(t, "in"), "s@example.net", "alice@example.test", "hello")
	mails(t, filepath.Join(dir, "mail", "alice"), 1)
	eventually(t, "the filter has told of the commit", func() error {
		if !strings.Contains(s.log.String(), "on_commit: ") {
			return fmt.Errorf("it has not")
		}
		return nil
	})
}

// TestBounce: a delivery that fails for good is reported to the sender.
func TestBounce(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, boxes(dir)+`
listen on 127.0.0.1 port 0 tag in
action "broken" mda "echo it is broken >&2; exit 1" userbase <users>
match from any for domain "broken.test" action "broken"
`, Options{})
	send(t, s.addr(t, "in"), "alice@example.test", "bob@broken.test", "lost")
	got := mails(t, filepath.Join(dir, "mail", "alice"), 1)[0]
	for _, want := range []string{"multipart/report", "Action: failed", "bob@broken.test", "Subject: lost", "it is broken"} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
	var n struct{ Envelopes int }
	eventually(t, "the queue is empty", func() error {
		if err := s.control(t).Call(t.Context(), "queue.count", nil, &n); err != nil || n.Envelopes != 0 {
			return fmt.Errorf("%d envelopes, %v", n.Envelopes, err)
		}
		return nil
	})
}

// TestRelay: one server hands on to another, which sends the report of success
// that the client asked for.
func TestRelay(t *testing.T) {
	far, near := t.TempDir(), t.TempDir()
	b := start(t, far, "listen on 127.0.0.1 port 0 tag in hostname b.example.test\n"+boxes(far), Options{})
	a := start(t, near, fmt.Sprintf(`
listen on 127.0.0.1 port 0 tag in hostname a.example.test
action "on" relay host "smtp+notls://%s"
match from any for any action "on"
`, b.addr(t, "in")), Options{})
	c := dial(t, a.addr(t, "in"))
	c.do("EHLO client.example.net", "250")
	c.do("MAIL FROM:<alice@example.test> RET=HDRS ENVID=env-1", "250")
	c.do("RCPT TO:<bob@example.test> NOTIFY=SUCCESS ORCPT=rfc822;robert@example.test", "250")
	c.do("DATA", "354")
	c.do(fmt.Sprintf(text, "on its way")+".", "250")

	got := mails(t, filepath.Join(far, "mail", "bob"), 1)[0]
	if !strings.HasSuffix(got, strings.Replace(fmt.Sprintf(text, "on its way"), "\n..", "\n.", 1)) || strings.Count(got, "Received: ") != 2 {
		t.Errorf("bob got %q", got)
	}
	report := mails(t, filepath.Join(far, "mail", "alice"), 1)[0]
	for _, want := range []string{"Action: delivered", "Original-Envelope-Id: env-1", "Original-Recipient: rfc822; robert@example.test", "Reporting-MTA: dns;"} {
		if !strings.Contains(report, want) {
			t.Errorf("the report lacks %q:\n%s", want, report)
		}
	}
	if strings.Contains(report, "\nfirst\n") {
		t.Error("RET=HDRS, but the report has the body (RFC 3461 s4.3)")
	}
}

// TestSessionLimits: the listener says no by itself.
func TestSessionLimits(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, "smtp limit max-sessions 2 max-sessions-per-source 1\nlisten on 127.0.0.1 port 0 tag in\n"+boxes(dir), Options{})
	first := dial(t, s.addr(t, "in"))
	second := connect(t, s.addr(t, "in"))
	second.want("421 4.7.0")
	second.over()
	dial(t, filepath.Join(s.config().Queue.Path, SMTPSocket)) // has no source
	third := connect(t, filepath.Join(s.config().Queue.Path, SMTPSocket))
	third.want("421 4.3.2")
	third.over()
	first.do("QUIT", "221")
	eventually(t, "the place is free", func() error {
		c := connect(t, s.addr(t, "in"))
		defer c.Close()
		if reply, err := c.hear(); err != nil || !strings.HasPrefix(reply, "220") {
			return fmt.Errorf("heard %q, %v", reply, err)
		}
		return nil
	})
	if !strings.Contains(s.log.String(), listener.ErrSourceFull.Error()) {
		t.Error("the log does not say why")
	}
}

// TestDeparture: clients that leave while a filter thinks about their message,
// with the farewell of TLS or without, end their sessions, and nothing of the
// messages stays. They will come again with them.
func TestDeparture(t *testing.T) {
	dir := t.TempDir()
	weirtest.Certificate(t, dir, "mx.example.test")
	f := script(t, dir, "slow.sh", `[ "$phase" = commit ] && echo asked >&2`, "commit")
	s := start(t, dir, fmt.Sprintf(`
pki mx.example.test cert "@DIR@/cert.pem"
pki mx.example.test key "@DIR@/key.pem"
filter slow proc-exec %q
listen on 127.0.0.1 port 0 tag in tls pki mx.example.test filter slow
`, f)+boxes(dir), Options{})
	clients := []*client{dial(t, s.addr(t, "in")), dial(t, s.addr(t, "in"))}
	clients[1].do("EHLO client.example.net", "250")
	clients[1].do("STARTTLS", "220")
	clients[1].secure()
	for _, c := range clients {
		c.do("EHLO client.example.net", "250")
		c.do("MAIL FROM:<s@example.net>", "250")
		c.do("RCPT TO:<alice@example.test>", "250")
		c.do("DATA", "354")
		c.say(fmt.Sprintf(text, "given up") + ".\n")
	}
	eventually(t, "the filter is asked", func() error {
		if strings.Count(s.log.String(), "msg=asked") != len(clients) {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	for _, c := range clients {
		c.Close()
	}
	eventually(t, "the session has ended", func() error {
		if n := s.sessions.count(); n != 0 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
	var n struct{ Messages int }
	if err := s.control(t).Call(t.Context(), "queue.count", nil, &n); err != nil || n.Messages != 0 {
		t.Errorf("%d messages in the queue, %v", n.Messages, err)
	}
	if left := weirtest.Mails(t, filepath.Join(dir, "q", "body")); len(left) != 0 {
		t.Errorf("files left: %q", left)
	}
}
