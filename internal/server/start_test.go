package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/dns/dnstest"
	"github.com/weirmail/weir/test/weirtest"
)

// TestStartErrors: what keeps a server from starting says where and what, and
// leaves nothing behind.
func TestStartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, tt := range []struct {
		name, conf string
		want       []string
	}{
		{"port taken", fmt.Sprintf("listen on 127.0.0.1 port 0\n  listen on 127.0.0.1 port %d\n", port), []string{"weir.conf:3:3: ", fmt.Sprint(port), "address already in use"}},
		{"no such name", "listen on no.such.name.invalid port 0\n", []string{"weir.conf:2:1: listen on no.such.name.invalid: "}},
		{"address of another machine", "listen on 192.0.2.1 port 0\n", []string{"weir.conf:2:1: ", "192.0.2.1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			_, _, err := build(t, dir, tt.conf+boxes(dir), Options{})
			if err == nil {
				t.Fatal("New succeeds")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
			nothingLeft(t, nil)
			start(t, dir, "listen on 127.0.0.1 port 0 tag in\n"+boxes(dir), Options{}) // queue and sockets are free again
		})
	}
}

// TestStrict: a filter that is not ready keeps a strict server from starting,
// unless mail is accepted without it; and no other server.
func TestStrict(t *testing.T) {
	for _, tt := range []struct {
		policy        string
		strict, fails bool
	}{
		{"", true, true}, {"tempfail", true, true}, {"reject", true, true}, {"accept", true, false}, {"hold", true, false}, {"reject", false, false},
	} {
		t.Run(fmt.Sprintf("%s %v", tt.policy, tt.strict), func(t *testing.T) {
			dir := t.TempDir()
			text := "filter f proc-exec \"/nonexistent/filter\""
			if tt.policy != "" {
				text += " on-failure " + tt.policy
			}
			s, log, err := build(t, dir, text+"\nlisten on 127.0.0.1 port 0 tag in filter f\n"+boxes(dir), Options{Strict: tt.strict})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			if !tt.fails {
				eventually(t, "it serves", func() error {
					if !strings.Contains(log.String(), "msg=listening") {
						return errors.New("not yet")
					}
					return nil
				})
				cancel()
			}
			err = <-done
			if tt.fails != (err != nil) || err != nil && !strings.Contains(err.Error(), "filter f: process ended: exit status 127") {
				t.Errorf("error %v", err)
			}
			nothingLeft(t, nil)
		})
	}
}

// TestCheck: what this machine does not have is told with its place.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	cfg, err := load(dir, "filter f proc-exec \"/nonexistent/filter\"\nlisten on 192.0.2.1 filter f\n"+boxes(dir))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := Check(t.Context(), cfg)
	got := strings.Join(lines, "\n")
	if err != nil || !strings.Contains(got, "weir.conf:3:1: listen") || !strings.Contains(got, "weir.conf:2:8: filter \"f\": would not start: ") {
		t.Errorf("%v\n%s", err, got)
	}
	cfg.Queue.User = "no-such-user"
	if _, err := Check(t.Context(), cfg); (err != nil) != (os.Geteuid() == 0) {
		t.Errorf("a queue user who is not there: %v", err)
	}
}

// TestCertificateGone: one that was there when the configuration was checked.
// No socket stays bound.
func TestCertificateGone(t *testing.T) {
	dir := t.TempDir()
	weirtest.Certificate(t, dir, "mx.example.test")
	port := weirtest.FreePort(t)
	cfg, err := config.LoadBytes("weir.conf", []byte(fmt.Sprintf(`queue path "%[1]s/q"
pki mx.example.test cert "%[1]s/cert.pem"
pki mx.example.test key "%[1]s/key.pem"
listen on lo0 port %[2]d tls pki mx.example.test
`, dir, port)+strings.ReplaceAll(boxes(dir), "@DIR@", dir)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir + "/key.pem"); err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg, Options{Log: slog.New(slog.DiscardHandler), Resolver: &dnstest.Resolver{}}); err == nil || !strings.Contains(err.Error(), "weir.conf:2:5: pki mx.example.test: ") {
		t.Errorf("error %v", err)
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		if c, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port))); err == nil {
			c.Close()
			t.Errorf("%s is still listened on", host)
		}
	}
}

// TestTwoServers: the second one on a queue is refused, and the first does not
// notice.
func TestTwoServers(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, "listen on 127.0.0.1 port 0 tag in\n"+boxes(dir), Options{})
	_, _, err := build(t, dir, "listen on 127.0.0.1 port 0\n"+boxes(dir), Options{})
	if err == nil || !strings.Contains(err.Error(), "another server (process ") || !strings.Contains(err.Error(), "another queue path") {
		t.Errorf("error %v", err)
	}
	send(t, s.addr(t, "in"), "s@example.net", "alice@example.test", "still here")
	mails(t, dir+"/mail/alice", 1)
	s.control(t)
}

// TestRunAgain: what a server leaves lets the next one start at once, sockets
// included.
func TestRunAgain(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		s := start(t, dir, "listen on socket\n"+boxes(dir), Options{})
		send(t, s.config().Queue.Path+"/"+SMTPSocket, "s@example.net", "alice@example.test", "again")
		s.control(t)
		s.end(t)
	}
}

// TestNotes: without root the log says once what cannot be honoured.
func TestNotes(t *testing.T) {
	dir := t.TempDir()
	s, log, err := build(t, dir, "action \"mine\" maildir user \"nobody\"\naction \"theirs\" maildir\nmatch for local action \"theirs\"\n", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.notes(s.config(), 0)
	if log.String() != "" {
		t.Errorf("as root: %s", log)
	}
	s.notes(s.config(), 1000)
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "not root") || !strings.Contains(got, "action=mine user=nobody") {
		t.Errorf("as somebody else: %s", got)
	}
}
