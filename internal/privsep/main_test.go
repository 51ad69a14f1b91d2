package privsep

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/config"
)

// The test binary is also the hostile filter of the tests: with hostileRole
// as its first argument it tries what follows.
const hostileRole = "hostile"

func TestMain(m *testing.M) {
	Main(sealedRole)
	if len(os.Args) > 2 && os.Args[1] == hostileRole {
		hostile(os.Args[2], os.Args[3:])
		syscall.Exit(0)
	}
	os.Exit(m.Run())
}

// house is a server's place with things that filters must not see.
type house struct {
	*Launcher
	cfg               *config.Config
	dir               string
	secret, key, sock string // in the queue, of a certificate, that everybody may use
	theirs            string // a file of another filter, in what it may write
	log               *bytes.Buffer
}

var discard = slog.New(slog.DiscardHandler)

const secretText = "a secret"

func newHouse(t testing.TB) *house {
	t.Helper()
	dir := t.TempDir()
	// Filters of another user get there, as they do in /var.
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h := &house{
		dir: dir, secret: filepath.Join(dir, "queue", "body"), key: filepath.Join(dir, "key.pem"),
		sock: filepath.Join(dir, "queue", "smtp.sock"), theirs: filepath.Join(dir, "theirs", "data"), log: &bytes.Buffer{},
	}
	for _, f := range []string{h.secret, h.key, h.theirs} {
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		// For everybody, so that nothing but what is tested protects it.
		if err := os.WriteFile(f, []byte(secretText), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("unix", h.sock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	if err := os.Chmod(h.sock, 0o777); err != nil {
		t.Fatal(err)
	}
	h.cfg = &config.Config{
		Queue: config.Queue{Path: filepath.Join(dir, "queue")},
		PKI:   map[string]*config.PKI{"x": {Key: h.key}},
		Procs: []*config.Proc{
			{Name: "hostile", Command: "x"},
			{Name: "other", Command: "x", Sandbox: config.Sandbox{Write: []string{filepath.Dir(h.theirs)}}},
		},
	}
	h.Launcher = New(h.cfg, slog.New(slog.NewTextHandler(h.log, nil)), h.sock)
	t.Cleanup(h.Launcher.Close)
	return h
}

// proc is the filter that tries things. As root it runs as an ordinary user.
func (h *house) proc(s config.Sandbox) *config.Proc {
	c := &config.Proc{Name: "hostile", Command: "x", Sandbox: s}
	if os.Geteuid() == 0 {
		c.User = "nobody"
	}
	return c
}

// program is a copy of the test binary that every user can reach, at a place
// that no test hides.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "privsep-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hostile")
	if err := os.Link(self, path); err != nil {
		b, err := os.ReadFile(self)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// running is a filter that was started.
type running struct {
	*exec.Cmd
	h     *house
	out   *os.File
	in    *os.File
	ended bool
	calls chan func() // for the thread that started it
}

// begin starts argv as c, on a thread that is kept: it is the parent.
func (h *house) begin(t testing.TB, c *config.Proc, argv ...string) *running {
	t.Helper()
	r, err := h.tryBegin(t, c, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (h *house) tryBegin(t testing.TB, c *config.Proc, argv ...string) (*running, error) {
	t.Helper()
	stdin, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{h: h, out: out, in: in, calls: make(chan func())}
	type result struct {
		cmd *exec.Cmd
		err error
	}
	started := make(chan result)
	go func() {
		runtime.LockOSThread() // for good
		cmd, err := h.Start(c, argv, [3]*os.File{stdin, stdout, stdout})
		started <- result{cmd, err}
		for f := range r.calls {
			f()
		}
	}()
	res := <-started
	stdin.Close()
	stdout.Close()
	r.Cmd = res.cmd
	if res.err != nil {
		close(r.calls)
		in.Close()
		out.Close()
		return nil, res.err
	}
	t.Cleanup(func() {
		r.Process.Kill()
		r.finish()
		close(r.calls)
		in.Close()
		out.Close()
	})
	return r, nil
}

// finish waits for the end as the host of filters does, and gives the status.
func (r *running) finish() string {
	if !r.ended {
		r.ended = true
		r.awaitEnd()
		done := make(chan struct{})
		r.calls <- func() { r.h.End(r.Process.Pid); close(done) }
		<-done
		r.Wait()
	}
	return r.ProcessState.String()
}

// awaitEnd waits for the end of the leader, and leaves all else as it is.
func (r *running) awaitEnd() {
	for unix.Waitid(unix.P_PID, r.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// text gives what the filter writes until its end.
func (r *running) text(t *testing.T) string {
	t.Helper()
	r.out.SetReadDeadline(time.Now().Add(20 * time.Second))
	b, err := io.ReadAll(r.out)
	if err != nil {
		t.Fatalf("output %q: %v", b, err)
	}
	r.finish()
	return string(b)
}

// line reads one line of output.
func (r *running) line(t *testing.T) string {
	t.Helper()
	r.out.SetReadDeadline(time.Now().Add(20 * time.Second))
	var b [1]byte
	var line []byte
	for {
		if _, err := r.out.Read(b[:]); err != nil {
			t.Fatalf("after %q: %v", line, err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

// try runs the hostile role with args and gives its output.
func (h *house) try(t *testing.T, s config.Sandbox, args ...string) string {
	t.Helper()
	self := program(t)
	c := h.proc(s)
	c.Command = self
	return h.begin(t, c, shell(append([]string{self, hostileRole}, args...)...)...).text(t)
}

// shell gives a command as the host of filters starts it.
func shell(words ...string) []string {
	return []string{"/bin/sh", "-c", "exec '" + strings.Join(words, "' '") + "'"}
}

// want checks that each line of out begins with its prefix.
func want(t *testing.T, out string, prefixes ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(prefixes) {
		t.Errorf("got %d lines, want %d:\n%s", len(lines), len(prefixes), out)
		return
	}
	for i, p := range prefixes {
		if !strings.HasPrefix(lines[i], p) {
			t.Errorf("got %q, want %q...", lines[i], p)
		}
	}
}

func pid(n int) string { return fmt.Sprint(n) }
