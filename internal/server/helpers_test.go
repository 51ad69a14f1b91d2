package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/dns/dnstest"
	"github.com/weirmail/weir/test/weirtest"
)

// limit bounds every wait of these tests; none is that long unless something
// is wrong.
const limit = 20 * time.Second

// running is a server in this process.
type running struct {
	*Server
	stop func()        // begins the shutdown
	done chan struct{} // closed when Run has returned
	err  error         // of Run, once done is closed
	log  *logBuffer
}

// logBuffer is a bytes.Buffer for several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// build makes a server of a configuration whose queue is dir/q. In the text
// "@DIR@" stands for dir.
func build(t *testing.T, dir, text string, opt Options) (*Server, *logBuffer, error) {
	t.Helper()
	weirtest.Open(t, dir)
	cfg, err := load(dir, text)
	if err != nil {
		t.Fatal(err)
	}
	log := &logBuffer{}
	opt.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if opt.Resolver == nil {
		opt.Resolver = &dnstest.Resolver{}
	}
	s, err := New(cfg, opt)
	return s, log, err
}

// load reads a configuration as build does. Without a queue path of its own it
// gets one.
func load(dir, text string) (*config.Config, error) {
	if !strings.Contains(text, "queue path") {
		text = "queue path \"@DIR@/q\"\n" + text
	}
	return config.LoadBytes("weir.conf", []byte(strings.ReplaceAll(text, "@DIR@", dir)), nil)
}

// start builds a server and runs it until the test ends, or stop is called.
func start(t *testing.T, dir, text string, opt Options) *running {
	t.Helper()
	s, log, err := build(t, dir, text, opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Server: s, stop: cancel, done: make(chan struct{}), log: log}
	go func() { defer close(r.done); r.err = s.Run(ctx) }()
	t.Cleanup(func() {
		r.end(t)
		if t.Failed() {
			t.Logf("log:\n%s", log)
		}
	})
	return r
}

// end stops the server and waits for it.
func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	select {
	case <-r.done:
	case <-time.After(2 * limit):
		t.Fatalf("Run does not return\n%s", stacks())
	}
	if r.err != nil {
		t.Errorf("Run: %v", r.err)
	}
}

// addr gives the address of the listener with a tag.
func (s *Server) addr(t *testing.T, tag string) string {
	t.Helper()
	for _, sock := range s.now.Load().sockets {
		if sock.config.Tag == tag {
			return sock.Addr().String()
		}
	}
	t.Fatalf("no listener has the tag %q", tag)
	return ""
}

// control is a connection to the control socket.
func (r *running) control(t *testing.T) *admin.Client {
	t.Helper()
	var c *admin.Client
	eventually(t, "the control socket answers", func() (err error) {
		c, err = admin.Dial(filepath.Join(r.config().Queue.Path, admin.Socket))
		return err
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// eventually waits until f gives no error.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("waited %v until %s: %v", limit, what, err)
}

// mails waits until n messages are below dir and gives them.
func mails(t *testing.T, dir string, n int) []string {
	t.Helper()
	var paths []string
	eventually(t, fmt.Sprintf("%d messages are in %s", n, dir), func() error {
		if paths = weirtest.Mails(t, dir); len(paths) < n {
			return fmt.Errorf("there are %d", len(paths))
		}
		return nil
	})
	if len(paths) > n {
		t.Fatalf("%d messages in %s, want %d", len(paths), dir, n)
	}
	var texts []string
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	return texts
}

// client speaks SMTP.
type client struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

// dial connects, to the unix socket if addr is a path, and hears the banner.
func dial(t *testing.T, addr string) *client {
	t.Helper()
	c := connect(t, addr)
	c.want("220")
	return c
}

func connect(t *testing.T, addr string) *client {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, Conn: conn, in: bufio.NewReader(conn)}
}

// secure goes on in TLS.
func (c *client) secure() {
	c.t.Helper()
	conn := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	conn.SetDeadline(time.Now().Add(limit))
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.Conn, c.in = conn, bufio.NewReader(conn)
}

// say sends lines, given with LF.
func (c *client) say(lines string) {
	c.t.Helper()
	c.SetWriteDeadline(time.Now().Add(limit))
	if _, err := c.Write([]byte(strings.ReplaceAll(lines, "\n", "\r\n"))); err != nil {
		c.t.Fatal(err)
	}
}

// hear reads one reply of one or several lines.
func (c *client) hear() (string, error) {
	c.SetReadDeadline(time.Now().Add(limit))
	var reply strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		reply.WriteString(line)
		if err != nil || len(line) < 4 || line[3] != '-' {
			return reply.String(), err
		}
	}
}

// want hears one reply for each code and gives the last.
func (c *client) want(codes ...string) (reply string) {
	c.t.Helper()
	for _, code := range codes {
		var err error
		if reply, err = c.hear(); err != nil || !strings.HasPrefix(reply, code) {
			c.t.Fatalf("heard %q, %v; want %s", reply, err, code)
		}
	}
	return reply
}

// do sends a line and wants a reply.
func (c *client) do(line, code string) string {
	c.t.Helper()
	c.say(line + "\n")
	return c.want(code)
}

// over wants the server to have closed the connection.
func (c *client) over() {
	c.t.Helper()
	if reply, err := c.hear(); err == nil || reply != "" || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("heard %q, %v; want the end", reply, err)
	}
}

// text is a message without its dot; @ stands for its subject.
const text = "From: <s@example.net>\nSubject: %s\nDate: Mon, 02 Jan 2006 15:04:05 +0000\nMessage-ID: <x@example.net>\n\nfirst\n..second\n"

// send hands one message in, from EHLO to QUIT.
func send(t *testing.T, addr, from, to, subject string) {
	t.Helper()
	c := dial(t, addr)
	c.do("EHLO client.example.net", "250")
	c.mail(from, to, subject)
	c.do("QUIT", "221")
	c.over()
}

func (c *client) mail(from, to, subject string) string {
	c.t.Helper()
	c.do("MAIL FROM:<"+from+">", "250")
	c.do("RCPT TO:<"+to+">", "250")
	c.do("DATA", "354")
	return c.do(fmt.Sprintf(text, subject)+".", "250")
}

// script writes a filter in sh and gives its path. It registers for the phases
// and the data lines, and does body for each line of the protocol, whose fields
// are in $kind $phase $id $tok $rest.
func script(t *testing.T, dir, name, body string, register ...string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("#!/bin/sh\nwhile read -r l; do case $l in 'config|ready') break;; esac; done\n")
	for _, r := range register {
		fmt.Fprintf(&b, "echo 'register|filter|smtp-in|%s'\n", r)
	}
	b.WriteString("echo 'register|ready'\nwhile IFS='|' read -r kind ver ts sub phase id tok rest; do\n" + body + "\ndone\n")
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(b.String()), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// boxes is the end of most configurations: maildirs for example.test.
func boxes(dir string) string {
	return fmt.Sprintf(`
table users { %s }
action "local" maildir "@DIR@/mail/%%{rcpt.user}" userbase <users>
match from any for domain "example.test" action "local"
`, weirtest.Userbase(filepath.Join(dir, "home"), "alice", "bob"))
}

// stacks gives what all goroutines are doing.
func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// nothingLeft waits until no goroutine of the server and none of the processes
// is left.
func nothingLeft(t *testing.T, pids []int) {
	t.Helper()
	eventually(t, "all goroutines have ended", func() error {
		for i, g := range strings.Split(stacks(), "\n\n") {
			// The first is this one.
			if i > 0 && strings.Contains(g, "weir/internal/") && !strings.Contains(g, "testing.(*T).Run(") {
				return errors.New(g)
			}
		}
		return nil
	})
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d of a filter is left (%v)", pid, err)
		}
	}
}

// pids gives the processes of the filters.
func (s *Server) pids() (pids []int) {
	for _, st := range s.filters.List() {
		for _, w := range st.Workers {
			if w.PID != 0 {
				pids = append(pids, w.PID)
			}
		}
	}
	return pids
}
