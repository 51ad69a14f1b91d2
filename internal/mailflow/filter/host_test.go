package filter

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/trace"
)

type traceEvent = trace.Event

// lockedBuffer is a log for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func logger(l *lockedBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// script writes an executable file.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStderr(t *testing.T) {
	var log lockedBuffer
	sh := script(t, t.TempDir(), "f", `#!/bin/sh
echo 'one line' >&2
echo 'warn: look at this' >&2
printf 'x%.0s' $(seq 5000) >&2
echo >&2
printf unfinished >&2
`)
	_, ev := host(t, Options{Log: logger(&log)}, sh)
	ev.wait(t, "exited", kind(trace.FilterState, "exited"))
	ev.wait(t, "the last line", func(*trace.Event) bool { return strings.Contains(log.String(), "unfinished") })
	got := log.String()
	for _, want := range []string{`level=INFO msg="one line" filter=a`, `level=WARN msg="look at this" filter=a`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if n := strings.Count(got, "x"); n < maxLogLine || n > maxLogLine+50 {
		t.Errorf("%d bytes of the long line, want %d", n, maxLogLine)
	}
}

func TestStderrFlood(t *testing.T) {
	var log lockedBuffer
	sh := script(t, t.TempDir(), "f", "#!/bin/sh\nseq 1 20000 >&2\n")
	_, ev := host(t, Options{Log: logger(&log)}, sh)
	ev.wait(t, "exited", kind(trace.FilterState, "exited"))
	ev.wait(t, "count of dropped lines", func(*trace.Event) bool { return strings.Contains(log.String(), "dropped") })
	if n := strings.Count(log.String(), "\n"); n < logBurst || n > logBurst+10*logPerSecond {
		t.Errorf("%d lines logged", n)
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	script(t, dir, "it's", "#!/bin/sh\n")
	if err := os.WriteFile(filepath.Join(dir, "plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	dirs := []string{"/nonexistent", dir}
	for in, want := range map[string]string{
		"/bin/x -a 'b c'": "/bin/x -a 'b c'",
		"it's -a 'b c'":   "'" + dir + `/it'\''s' -a 'b c'`,
		"  it's":          "'" + dir + `/it'\''s'`,
	} {
		if got, err := Resolve(in, dirs); err != nil || got != want {
			t.Errorf("%q gives %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "  ", "plain", "folder", "missing -x"} {
		if got, err := Resolve(in, dirs); err == nil {
			t.Errorf("%q gives %q", in, got)
		}
	}
}

func TestProgramsCheck(t *testing.T) {
	dir := t.TempDir()
	there := script(t, dir, "there", "#!/bin/sh\n")
	plain := filepath.Join(dir, "plain.py")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p := Programs{LibexecDirs: []string{dir}, PythonBridge: there}
	for _, c := range []config.Proc{
		{Command: there + " -x"}, {Command: "there"}, {Python: plain},
		{Command: "/nonexistent/$X"},                        // a shell's affair
		{Command: "/nonexistent/x", Chroot: "/nonexistent"}, // it is there that it counts
	} {
		if err := p.Check(&c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range []config.Proc{
		{Command: dir + "/missing -x"}, {Command: "missing"}, {Command: plain}, {Command: dir},
		{Python: dir + "/missing.py"}, {Python: dir}, {Perl: plain},
	} {
		if err := p.Check(&c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

// TestNotFound: the exit status of a shell is told in words, and before anybody
// who waits for the filter goes on.
func TestNotFound(t *testing.T) {
	h, _ := hostOf(t, Options{}, confOf(procOf("a", "/nonexistent/filter")))
	states := h.List()
	if why, failing := states[0].Failing(); !failing || !strings.HasSuffix(why, "exit status 127 (its program was not found)") {
		t.Errorf("failing %v: %q", failing, why)
	}
	if err := h.Restart(t.Context(), "a"); err == nil || strings.Contains(err.Error(), "goes on") {
		t.Errorf("restart: %v", err)
	}
}

// The environment is ours, no descriptor is inherited, and a command beside
// our program is found.
func TestEnvironment(t *testing.T) {
	t.Setenv("WEIR_SECRET", "x")
	out := filepath.Join(t.TempDir(), "out")
	sh := script(t, t.TempDir(), "f", "#!/bin/sh\n{ env; ls /proc/self/fd; pwd; ps -o pgid= -p $$; echo $$; } >"+out+"\nexit 1\n")
	_, ev := host(t, Options{LibexecDirs: []string{filepath.Dir(sh)}}, "f")
	ev.wait(t, "exited", kind(trace.FilterState, "exited"))
	b, _ := os.ReadFile(out)
	text := string(b)
	if strings.Contains(text, "WEIR_SECRET") || !strings.Contains(text, "LANG=C.UTF-8") || !strings.Contains(text, "HOME=/") || !strings.Contains(text, "\n/\n") {
		t.Errorf("environment %s", text)
	}
	for _, fd := range []string{"\n4\n", "\n5\n", "\n6\n"} { // 3 is ls's own
		if strings.Contains(text, fd) {
			t.Errorf("descriptor %q inherited: %s", fd, text)
		}
	}
	f := strings.Fields(text)
	if len(f) > 2 && f[len(f)-1] != f[len(f)-2] {
		t.Errorf("process group %s of process %s", f[len(f)-2], f[len(f)-1])
	}
}

// A child that a filter has left behind ends with it.
func TestNoGrandchildLeft(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	sh := script(t, t.TempDir(), "f", "#!/bin/sh\nsleep 600 </dev/null >/dev/null 2>&1 &\necho $! >"+out+"\nexit 1\n")
	_, ev := host(t, Options{}, sh)
	ev.wait(t, "exited", kind(trace.FilterState, "exited"))
	b, _ := os.ReadFile(out)
	ev.wait(t, "end of the grandchild", func(*trace.Event) bool {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

func TestPauses(t *testing.T) {
	_, ev := host(t, Options{}, command("exit-after-ready"))
	for _, pause := range []string{"in 100ms", "in 200ms", "in 400ms"} {
		ev.wait(t, pause, func(e *trace.Event) bool { return e.Kind == trace.FilterState && e.Text == pause })
	}
}

func TestBridges(t *testing.T) {
	dir := t.TempDir()
	bridge := script(t, dir, "bridge", "#!/bin/sh\nexec "+os.Args[0]+" "+testRole+" answer noop \"reject|550 $1\"\n")
	cfg := builtins("")
	for _, p := range []*config.Proc{{Name: "py", Python: "/x/script.py"}, {Name: "pl", Perl: "/x/script.pl"}} {
		cfg.Procs = append(cfg.Procs, p)
		cfg.Filters[p.Name] = &config.Filter{Name: p.Name, Proc: p}
	}
	h, ev := hostOf(t, Options{PythonBridge: bridge}, cfg)
	s := h.Chain("py").Open(1, nil)
	defer s.Close()
	if v := ask(t, s, filterwire.Noop, ""); v.Param != "550 /x/script.py" {
		t.Errorf("got %q, %v", v.Param, v.Err)
	}
	e := ev.wait(t, "no filter-perl", kind(trace.FilterFailed, ""))
	if e.Filter != "pl" || !strings.Contains(e.Cause.Error(), "filter-perl") {
		t.Errorf("%s: %v", e.Filter, e.Cause)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]*config.Config{
		"protocol":   {Procs: []*config.Proc{{Name: "a", Protocol: "0.8"}}},
		"undeclared": {Filters: map[string]*config.Filter{"a": {Proc: &config.Proc{Name: "a"}}}},
		"phase":      {Filters: map[string]*config.Filter{"a": {Builtin: &config.Builtin{Phase: "x"}}}},
		"nested": {Filters: map[string]*config.Filter{"a": {Chain: []config.Link{{
			Filter: &config.Filter{Chain: []config.Link{{}}}}}}}},
	} {
		if _, err := New(cfg, Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A filter as its author writes it first: a reader of lines and a print.
func TestPythonFilter(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	py := script(t, t.TempDir(), "f.py", `import sys
for line in sys.stdin:
    line = line.rstrip("\n")
    f = line.split("|", 7)
    if line == "config|ready":
        for p in ("mail-from", "data-line"):
            print("register|filter|smtp-in|" + p)
        print("register|ready", flush=True)
    elif f[0] == "filter" and f[4] == "data-line":
        print("filter-dataline|%s|%s|%s" % (f[5], f[6], f[7].upper()), flush=True)
    elif f[0] == "filter":
        print("filter-result|%s|%s|reject|550 no %s here" % (f[5], f[6], f[7]), flush=True)
`)
	h, _ := host(t, Options{}, fmt.Sprintf("%s %s", python, py))
	s := open(h)
	defer s.Close()
	if v := ask(t, s, filterwire.MailFrom, "a|b@example.net"); v.Decision != filterwire.Reject || v.Param != "550 no a|b@example.net here" {
		t.Errorf("got %v %q, %v", v.Decision, v.Param, v.Err)
	}
	out, v := send(t, s, "Subject: x", "", "body")
	wantProceed(t, v)
	if out != "SUBJECT: X\n\nBODY\n" {
		t.Errorf("message %q", out)
	}
}
