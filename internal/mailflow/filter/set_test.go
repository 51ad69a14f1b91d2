package filter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/trace"
)

// confOf makes a configuration of those filters and a chain "all" of them.
func confOf(procs ...*config.Proc) *config.Config {
	cfg := &config.Config{ADMD: "mx.example.test", Filters: map[string]*config.Filter{}}
	all := &config.Filter{Name: "all"}
	for _, p := range procs {
		f := &config.Filter{Name: p.Name, Proc: p}
		cfg.Procs, cfg.Filters[p.Name] = append(cfg.Procs, p), f
		all.Chain = append(all.Chain, config.Link{Filter: f})
	}
	cfg.Filters["all"] = all
	return cfg
}

func procOf(name, cmd string) *config.Proc { return &config.Proc{Name: name, Command: cmd, Workers: 1} }

// follow puts cfg into use.
func follow(t *testing.T, h *Host, cfg *config.Config) *Set {
	t.Helper()
	s, err := h.Prepare(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Use(s)
	return s
}

// pidOf gives the process of a filter of s.
func (s *Set) pidOf(name string) int { return s.procs[name].workers[0].latest.Load().pid }

// await waits for a file that a filter makes.
func await(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func over(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d runs", pid)
		}
	}
}

// TestAdopt: a definition that is the same keeps its process, any other does
// not.
func TestAdopt(t *testing.T) {
	h, _ := hostOf(t, Options{}, confOf(procOf("a", command("proceed"))))
	first := h.Set()
	pid := first.pidOf("a")
	same := procOf("a", command("proceed"))
	same.Pos = config.Pos{File: "other", Line: 7}
	if s := follow(t, h, confOf(procOf("b", command("proceed")), same)); s.pidOf("a") != pid || s.Kept(first) != 1 || s.Len() != 2 {
		t.Errorf("process %d, was %d; %d kept", s.pidOf("a"), pid, s.Kept(first))
	}
	changes := map[string]func(p *config.Proc, cfg *config.Config){
		"command":  func(p *config.Proc, _ *config.Config) { p.Command += " x" },
		"user":     func(p *config.Proc, _ *config.Config) { p.User = "x" },
		"workers":  func(p *config.Proc, _ *config.Config) { p.Workers = 2 },
		"protocol": func(p *config.Proc, _ *config.Config) { p.Protocol = "0.6" },
		"timeout":  func(p *config.Proc, _ *config.Config) { p.Timeout = time.Second },
		"policy":   func(p *config.Proc, _ *config.Config) { p.OnFailure = config.Accept },
		"sandbox":  func(p *config.Proc, _ *config.Config) { p.Sandbox.Env = []string{"A=b"} },
		"admd":     func(_ *config.Proc, cfg *config.Config) { cfg.ADMD = "other.example.test" },
		"silence":  func(_ *config.Proc, cfg *config.Config) { cfg.SMTP.Timeout = time.Second },
	}
	for name, change := range changes {
		p := procOf("a", command("proceed"))
		cfg := confOf(p)
		change(p, cfg)
		s, err := h.Prepare(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.Kept(h.Set()); n != 0 {
			t.Errorf("%s: another definition has the same process", name)
		}
		s.Release()
	}
	if h.Set().pidOf("a") != pid {
		t.Error("to prepare has changed something")
	}
}

// narrower is a Launcher that hides a path.
type narrower struct{ plain }

func (narrower) Hidden(*config.Proc) []string { return []string{"/new"} }

// TestAdoptHidden: a process that would see what it is not to see any more is
// not kept.
func TestAdoptHidden(t *testing.T) {
	cfg := confOf(procOf("a", command("proceed")))
	h, _ := hostOf(t, Options{}, cfg)
	s, err := h.Prepare(cfg, narrower{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	if s.Kept(h.Set()) != 0 {
		t.Error("the process is kept")
	}
}

// tenant is a Launcher that works as long as its configuration is known.
type tenant struct {
	plain
	gone atomic.Bool
}

func (l *tenant) Start(c *config.Proc, argv []string, stdio [3]*os.File) (Process, error) {
	if l.gone.Load() {
		return nil, errors.New("nobody knows that configuration any more")
	}
	return l.plain.Start(c, argv, stdio)
}

// TestLauncherFollows: a process that outlived its configuration is started
// again by what belongs to one that is in use, and not by what belonged to one
// that was refused.
func TestLauncherFollows(t *testing.T) {
	cfg := confOf(procOf("a", command("proceed")))
	var first, second, refused tenant
	h, _ := hostOf(t, Options{Launcher: &first}, cfg)
	s, err := h.Prepare(cfg, &second)
	if err != nil {
		t.Fatal(err)
	}
	h.Set().AtEnd(func() { first.gone.Store(true) })
	h.Use(s)
	r, err := h.Prepare(cfg, &refused)
	if err != nil {
		t.Fatal(err)
	}
	r.Release()
	refused.gone.Store(true)
	if !first.gone.Load() {
		t.Fatal("the first configuration is still held")
	}
	if err := h.Restart(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	second.gone.Store(true) // so it was that one
	if err := h.Restart(t.Context(), "a"); err == nil {
		t.Error("a process was started by nobody")
	}
}

// TestRestartFollows: a filter that a reload replaces while an operator has it
// restarted is restarted as the new configuration has it.
func TestRestartFollows(t *testing.T) {
	dir := t.TempDir()
	once := script(t, dir, "once", "#!/bin/sh\n[ -e "+dir+"/1 ] && { >"+dir+"/2; exec sleep 1000; }\n>"+dir+"/1\nexec "+command("proceed")+"\n")
	h, _ := hostOf(t, Options{AnswerTimeout: time.Hour}, confOf(procOf("a", once)))
	done := make(chan error, 1)
	go func() { done <- h.Restart(t.Context(), "a") }()
	await(t, dir+"/2")
	follow(t, h, confOf(procOf("a", command("proceed"))))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRestartLosesBoth: when the old process ends while the new one is not ready
// questions wait as they do for any start, not for as long as that may take.
func TestRestartLosesBoth(t *testing.T) {
	dir := t.TempDir()
	once := script(t, dir, "once", "#!/bin/sh\n[ -e "+dir+"/1 ] && { >"+dir+"/2; exec sleep 1000; }\n>"+dir+"/1\nexec "+command("proceed")+"\n")
	h, _ := hostOf(t, Options{AnswerTimeout: time.Hour}, confOf(procOf("a", once)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); h.Restart(ctx, "a") }()
	await(t, dir+"/2")
	old := h.Set().procs["a"].workers[0].latest.Load()
	if err := syscall.Kill(old.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-old.over
	s := open(h)
	defer s.Close()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		s.Ask(t.Context(), filterwire.MailFrom, "a@example.net")
	}()
	select {
	case <-asked:
	case <-time.After(30 * time.Second):
		t.Error("a question waits for a process that does not come")
	}
	cancel()
	<-done
}

// TestSetEnds: the processes of a Set end with the last session that has it,
// hear of that session's end first, and are not started again.
func TestSetEnds(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	h, ev := hostOf(t, Options{}, confOf(procOf("a", command("record", log)), procOf("b", command("proceed"))))
	first := h.Set()
	if !first.Hold() {
		t.Fatal("the Set in use is not to be held")
	}
	pid, stays := first.pidOf("a"), first.pidOf("b")
	s := first.Chain("all").Open(1, &routing.Facts{})
	s.connect()
	second := follow(t, h, confOf(procOf("b", command("proceed"))))
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || second.pidOf("b") != stays {
		t.Fatal("processes have changed")
	}
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net"))
	if _, err := h.find("a"); err == nil {
		t.Error("commands see the filter that is gone")
	}
	s.told(trace.LinkDisconnect, nil)
	s.Close()
	first.Release()
	over(t, pid)
	ev.wait(t, "exited", kind(trace.FilterState, "exited"))
	if first.Hold() {
		t.Error("a Set that is over can be held")
	}
	if b, _ := os.ReadFile(log); !strings.Contains(string(b), "|link-disconnect|0000000000000001\n") {
		t.Errorf("it heard %q", b)
	}
	if errors.Is(syscall.Kill(stays, 0), syscall.ESRCH) {
		t.Error("the process of the next Set has ended too")
	}
	for _, e := range ev.all {
		if e.Kind == trace.FilterFailed {
			t.Errorf("its end counts as a fault: %v", e.Cause)
		}
	}
}

// TestStopAll: Stop ends the processes of earlier Sets and of one that is being
// started.
func TestStopAll(t *testing.T) {
	h, _ := hostOf(t, Options{}, confOf(procOf("a", command("proceed"))))
	first := h.Set()
	if !first.Hold() {
		t.Fatal("not held")
	}
	pids := []int{first.pidOf("a")}
	follow(t, h, confOf(procOf("a", command("proceed", "x"))))
	pids = append(pids, h.Set().pidOf("a"))
	starting, err := h.Prepare(confOf(procOf("c", command("never-ready"))), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := starting.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start: %v", err)
	}
	hurry, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	h.Stop(hurry)
	for _, pid := range pids {
		if !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			t.Errorf("process %d runs after Stop", pid)
		}
	}
	first.Release()
	starting.Release()
	late, err := h.Prepare(confOf(procOf("d", command("proceed"))), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := late.Start(t.Context()); !errors.Is(err, errStopped) {
		t.Errorf("Start after Stop: %v", err)
	}
}

// TestAdoptPaused: a pause outlives a change of everything else.
func TestAdoptPaused(t *testing.T) {
	h, _ := hostOf(t, Options{}, confOf(procOf("a", command("proceed"))))
	if err := h.Pause("a"); err != nil {
		t.Fatal(err)
	}
	follow(t, h, confOf(procOf("a", command("proceed")), procOf("b", command("proceed"))))
	if v := ask(t, open(h), filterwire.MailFrom, "a@example.net"); !errors.Is(v.Err, ErrPaused) {
		t.Errorf("verdict %+v", v)
	}
}
