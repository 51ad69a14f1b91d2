package server

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/test/weirtest"
)

// TestGracefulStop: an idle client hears 421 at once, one in a transaction
// ends that first, nobody else comes in, and nothing is left. What was accepted
// meanwhile is delivered after the next start, once.
func TestGracefulStop(t *testing.T) {
	dir := t.TempDir()
	weirtest.Certificate(t, dir, "mx.example.test")
	f := script(t, dir, "echo.sh", echo, "mail-from", "data-line", "commit")
	conf := fmt.Sprintf(`
pki mx.example.test cert "@DIR@/cert.pem"
pki mx.example.test key "@DIR@/key.pem"
filter echo proc-exec %q
listen on 127.0.0.1 port 0 tag in filter echo
listen on 127.0.0.1 port 0 tag tlsin smtps pki mx.example.test filter echo
`, f) + boxes(dir)
	s := start(t, dir, conf, Options{})
	addr := s.addr(t, "in")

	idle := dial(t, addr)
	socket := dial(t, filepath.Join(s.config().Queue.Path, SMTPSocket))
	secure := connect(t, s.addr(t, "tlsin"))
	secure.secure()
	secure.want("220")
	secure.do("EHLO client.example.net", "250")
	busy := dial(t, addr)
	busy.do("EHLO client.example.net", "250")
	busy.do("MAIL FROM:<s@example.net>", "250")
	busy.do("RCPT TO:<alice@example.test>", "250")
	body := connect(t, s.addr(t, "tlsin"))
	body.secure()
	body.want("220")
	body.do("EHLO client.example.net", "250")
	body.do("MAIL FROM:<s@example.net>", "250")
	body.do("RCPT TO:<bob@example.test>", "250")
	body.do("DATA", "354")
	body.say("Subject: in the middle\n")
	pids := s.pids()

	s.stop()
	for _, c := range []*client{idle, socket, secure} {
		c.want("421 4.3.2")
		c.over()
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("a new connection is taken")
	}
	busy.do("RCPT TO:<bob@example.test>", "250")
	busy.do("DATA", "354")
	busy.do(fmt.Sprintf(text, "busy")+".", "250")
	busy.want("421 4.3.2")
	busy.over()
	body.do("\nthe rest\n.", "250")
	body.want("421 4.3.2")
	body.over()
	s.end(t)
	nothingLeft(t, pids)
	if n := weirtest.Mails(t, filepath.Join(dir, "mail")); len(n) != 0 {
		t.Errorf("deliveries while stopping: %q", n)
	}

	start(t, dir, conf, Options{})
	for _, m := range mails(t, filepath.Join(dir, "mail"), 3) {
		if !strings.Contains(m, ", filtered\n") || !strings.HasSuffix(m, ".second\n") && !strings.HasSuffix(m, "\nthe rest\n") {
			t.Errorf("delivered %q", m)
		}
	}
}

// TestCutOff: who does not come to an end within the grace is cut off, whatever
// it waits for, and nothing of its message stays.
func TestCutOff(t *testing.T) {
	dir := t.TempDir()
	f := script(t, dir, "mute.sh", `[ "$phase" = commit ] && echo asked >&2`, "commit")
	s := start(t, dir, fmt.Sprintf("filter mute proc-exec %q\nlisten on 127.0.0.1 port 0 tag in filter mute\n", f)+boxes(dir),
		Options{Grace: 100 * time.Millisecond})
	silent := dial(t, s.addr(t, "in"))
	silent.do("EHLO client.example.net", "250")
	silent.do("MAIL FROM:<s@example.net>", "250")
	writing := dial(t, s.addr(t, "in"))
	asked := dial(t, s.addr(t, "in"))
	for _, c := range []*client{writing, asked} {
		c.do("EHLO client.example.net", "250")
		c.do("MAIL FROM:<s@example.net>", "250")
		c.do("RCPT TO:<alice@example.test>", "250")
		c.do("DATA", "354")
		c.say("Subject: never\n")
	}
	asked.say("\n.\n")
	eventually(t, "the filter is asked", func() error {
		if !strings.Contains(s.log.String(), "asked") {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	pids := s.pids()
	s.end(t)
	for _, c := range []*client{silent, writing, asked} {
		c.over()
	}
	nothingLeft(t, pids)
	if !strings.Contains(s.log.String(), `msg="sessions cut off" sessions=3`) {
		t.Error("the log does not tell of the sessions cut off")
	}

	again := start(t, dir, boxes(dir), Options{})
	var n struct{ Messages int }
	if err := again.control(t).Call(t.Context(), "queue.count", nil, &n); err != nil || n.Messages != 0 {
		t.Errorf("%d messages in the queue, %v", n.Messages, err)
	}
}

// TestStopWhileStarting: a filter that never registers does not keep a server
// that is told to end, and that is no fault.
func TestStopWhileStarting(t *testing.T) {
	dir := t.TempDir()
	never := filepath.Join(dir, "never.sh")
	if err := os.WriteFile(never, []byte("#!/bin/sh\ncat >/dev/null\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir, "filter never proc-exec \"@DIR@/never.sh\"\nlisten on 127.0.0.1 port 0 tag in filter never\n"+boxes(dir), Options{})
	eventually(t, "the filter runs", func() error {
		if len(s.pids()) != 1 {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	pids := s.pids()
	s.end(t)
	nothingLeft(t, pids)
}
