// Package weirtest runs the real weir for tests: it builds the program, makes
// what a configuration needs (directories, ports, certificate, credentials),
// starts the server and ends it.
//
// It is for tests of the whole binary. What such a test says to the server and
// what it expects is in the folders beside this one.
package weirtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The times that a server on a loaded machine may take; they are not reached
// unless something is wrong.
const (
	startTimeout = 30 * time.Second
	stopTimeout  = 30 * time.Second
)

var build struct {
	once sync.Once
	path string
	err  error
}

// Binary builds cmd/weir once in a test process and gives its path. The server
// has the race detector if the test has. $WEIR_BIN names one that exists
// instead.
func Binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("WEIR_BIN"); path != "" {
		return path
	}
	build.once.Do(func() {
		var dir string
		if dir, build.err = os.MkdirTemp("", "weirtest-"); build.err != nil {
			return
		}
		build.path = filepath.Join(dir, "weir")
		args := []string{"build", "-o", build.path}
		if Race {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "github.com/weirmail/weir/cmd/weir")...).CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// Clean removes what Binary built. A TestMain calls it at its end.
func Clean() {
	if build.path != "" {
		os.RemoveAll(filepath.Dir(build.path))
	}
}

// handedOut holds the ports that FreePort gave: a kernel may offer one again
// before its user has bound it.
var handedOut sync.Map

// FreePort gives a TCP port of the loopback address that nobody uses now, and
// that it has not given before.
func FreePort(t testing.TB) int {
	t.Helper()
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := ln.Addr().(*net.TCPAddr).Port
		ln.Close()
		if _, again := handedOut.LoadOrStore(port, true); !again {
			return port
		}
	}
}

// Open lets everybody into a directory of the test, and those above it: filters
// and the server itself may have users of their own.
func Open(t testing.TB, dir string) {
	t.Helper()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// Server is a weir that runs.
type Server struct {
	Config string // path of its configuration
	Spool  string // directory of its queue
	cmd    *exec.Cmd
	log    *logBuffer
	done   chan struct{}
	err    error // of the process, once done is closed
}

// Start writes text as configuration into dir, with a queue in dir/spool, runs
// weir on it and returns when all ports of loopback in ready are served: the
// banner is there. The server ends with the test; races, panics and a bad exit
// are the test's failure.
func Start(t testing.TB, dir, text string, ready ...int) *Server {
	t.Helper()
	Open(t, dir)
	s := &Server{Config: filepath.Join(dir, "weir.conf"), Spool: filepath.Join(dir, "spool")}
	text = fmt.Sprintf("queue path %q\n%s", s.Spool, text)
	if err := os.WriteFile(s.Config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Run(t, ready...)
	t.Cleanup(func() { s.Stop(t) })
	return s
}

// Run starts the server's process, again after Kill or Stop.
func (s *Server) Run(t testing.TB, ready ...int) {
	t.Helper()
	s.log, s.done = &logBuffer{}, make(chan struct{})
	s.cmd = exec.Command(Binary(t), "run", "-c", s.Config)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its filters end with it, whatever happens
	// A process that a filter left behind must not hold Wait up.
	s.cmd.WaitDelay = time.Second
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, done := s.cmd, s.done
	go func() { s.err = cmd.Wait(); close(done) }()
	for _, port := range ready {
		if err := s.awaitBanner(port); err != nil {
			s.end(syscall.SIGKILL)
			t.Fatalf("weir run: %v\n%s", err, s.Log())
		}
	}
}

// awaitBanner waits until the server greets on a port.
func (s *Server) awaitBanner(port int) error {
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		select {
		case <-s.done:
			return fmt.Errorf("it ended at once: %v", s.err)
		default:
		}
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err != nil {
			time.Sleep(5 * time.Millisecond) // nothing tells when a port opens
			continue
		}
		c.SetReadDeadline(deadline)
		_, err = c.Read(make([]byte, 512))
		c.Close()
		if err != nil {
			return fmt.Errorf("no banner on port %d: %w", port, err)
		}
		return nil
	}
	return fmt.Errorf("nobody listens on port %d", port)
}

// Alive reports whether the server's process runs.
func (s *Server) Alive() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// PID gives the server's process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log gives what the server wrote since it was started last.
func (s *Server) Log() string { return s.log.String() }

// Kill ends the server with SIGKILL, and its filters.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// end sends a signal and waits for the process.
func (s *Server) end(sig syscall.Signal) {
	if sig == syscall.SIGKILL {
		syscall.Kill(-s.cmd.Process.Pid, sig)
	} else {
		s.cmd.Process.Signal(sig)
	}
	<-s.done
}

// Stop ends the server as an operator would, and fails the test if it does not
// end well.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.Alive() {
		timer := time.AfterFunc(stopTimeout, func() {
			t.Errorf("weir run did not end within %v of SIGTERM", stopTimeout)
			syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		})
		s.end(syscall.SIGTERM)
		timer.Stop()
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // what it left behind
	if s.err != nil && !strings.Contains(s.err.Error(), "signal: killed") {
		t.Errorf("weir run: %v", s.err)
	}
	log := s.Log()
	for _, bad := range []string{"DATA RACE", "panic:", "goroutine "} {
		if strings.Contains(log, bad) {
			t.Errorf("the log has %q", bad)
		}
	}
	if t.Failed() {
		t.Logf("log of weir run -c %s:\n%s", s.Config, tail(log, 20000))
	}
}

// tail gives the last n bytes of s, from the start of a line.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	return "...\n" + s[strings.IndexByte(s, '\n')+1:]
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
