package privsep

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
)

// TestHostileShow reads back what applies: Done-when of isolation, ps and
// /proc show what the configuration says.
func TestHostileShow(t *testing.T) {
	h := hostileHouse(t)
	self := program(t)
	c := h.proc(config.Sandbox{
		NetworkOff: true, Read: []string{"/usr/share"}, Memory: 1 << 40, CPU: time.Hour, Files: 100, Processes: 1000,
	})
	c.Command = self
	r := h.begin(t, c, shell(self, hostileRole, "wait")...)
	r.line(t)
	p, err := h.Show(r.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	const nobody, none = "65534", "0000000000000000"
	if !slices.Equal(p.UIDs, []string{nobody, nobody, nobody, nobody}) || !slices.Equal(p.GIDs, p.UIDs) {
		t.Errorf("ids %v %v", p.UIDs, p.GIDs)
	}
	if p.Capabilities != none || p.Bounding != none && !h.noUserNS || !p.NoNewPrivs || !p.Seccomp || p.Landlock < 1 {
		t.Errorf("rights: %+v", p)
	}
	if p.Session != p.PID || p.Group != p.PID || p.Root != "/" {
		t.Errorf("place: %+v", p)
	}
	wantNS := []string{"ipc", "mnt", "net"}
	switch {
	case h.noUserNS:
		wantNS = nil
	case os.Geteuid() != 0:
		wantNS = append(wantNS, "user")
	}
	if !slices.Equal(p.Namespaces, wantNS) {
		t.Errorf("namespaces %v, want %v", p.Namespaces, wantNS)
	}
	for name, want := range map[string]string{"core": "0", "cpu": "3600", "files": "100", "memory": "1099511627776"} {
		if p.Limits[name] != want {
			t.Errorf("limit %s: %q, want %q", name, p.Limits[name], want)
		}
	}
	for _, d := range p.Descriptors {
		if n, what, _ := strings.Cut(d, " "); n > "2" && !strings.HasPrefix(what, "anon_inode:") && !strings.Contains(what, "cgroup") {
			t.Errorf("descriptor %q", d)
		}
	}
	if !p.View || !slices.Contains(p.Read, filepath.Dir(self)) || !slices.Contains(p.Hidden, h.key) {
		t.Errorf("view %+v", p)
	}
	if (len(p.Notes) > 0) != h.noUserNS {
		t.Errorf("notes %q", p.Notes)
	}
	r.Process.Kill()
	r.finish()
	if _, err := h.Show(p.PID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after its end: %v", err)
	}
}

func TestCheck(t *testing.T) {
	h := newHouse(t)
	h.procs = []*config.Proc{
		h.proc(config.Sandbox{}),
		h.proc(config.Sandbox{Write: []string{filepath.Join(h.dir, "missing")}, NetworkOff: true}),
	}
	h.procs[0].Name = "good"
	lines := h.Check()
	if len(lines) != 1 || !strings.Contains(lines[0], `filter "hostile": would not start: read or write: open `) {
		t.Errorf("%q", lines)
	}
	if len(h.running) != 0 {
		t.Errorf("running: %v", h.running)
	}
}

// TestStartErrors wants an error that says what is wrong, and nothing left.
func TestStartErrors(t *testing.T) {
	h := newHouse(t)
	for _, tt := range []struct {
		want string
		argv []string
		s    config.Sandbox
		c    func(*config.Proc)
	}{
		{"/nonexistent: no such file or directory", []string{"/nonexistent"}, config.Sandbox{}, nil},
		{"/etc/passwd: permission denied", []string{"/etc/passwd"}, config.Sandbox{}, nil},
		{"no absolute path", []string{"sh"}, config.Sandbox{}, nil},
		{"read or write: open /nonexistent: no such file", []string{"/bin/true"}, config.Sandbox{Read: []string{"/nonexistent"}}, nil},
		{"unknown user", []string{"/bin/true"}, config.Sandbox{}, func(c *config.Proc) { c.User = "no-such-user" }},
		{"chroot /nonexistent: no such file", []string{"/bin/true"}, config.Sandbox{}, func(c *config.Proc) { c.Chroot = "/nonexistent" }},
	} {
		c := h.proc(tt.s)
		if tt.c != nil {
			if tt.c(c); os.Geteuid() != 0 {
				continue // an ordinary user cannot, and is told so elsewhere
			}
		}
		if _, err := h.tryBegin(t, c, tt.argv...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v, want %q", tt.argv, err, tt.want)
		}
	}
	if len(h.running) != 0 {
		t.Errorf("running: %v", h.running)
	}
}

// TestChroot runs a program that has all it needs in a directory.
func TestChroot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the root directory")
	}
	h := newHouse(t)
	jail := filepath.Join(h.dir, "jail")
	libs, err := exec.Command("ldd", "/bin/sleep").Output()
	if err != nil {
		t.Skipf("ldd: %v", err)
	}
	for _, file := range append(strings.Fields(string(libs)), "/bin/sleep") {
		if !filepath.IsAbs(file) {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(jail, filepath.Dir(file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(jail, file), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, s := range sandboxes(h) {
		if s.Read != nil {
			s.Read = []string{"/bin"} // in the jail
		}
		c := h.proc(s)
		c.Chroot, c.Command = jail, "/bin/sleep"
		r := h.begin(t, c, "/bin/sleep", "1000")
		if p, err := h.Show(r.Process.Pid); err != nil || p.Root != jail {
			t.Errorf("%s: root %q, %v", name, p.Root, err)
		}
	}
}

// BenchmarkStart is what the isolation of a filter costs at its start.
func BenchmarkStart(b *testing.B) {
	l := New(&config.Config{Queue: config.Queue{Path: b.TempDir()}}, discard)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	c := &config.Proc{Name: "x", Command: "x"}
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("isolated", func(b *testing.B) {
		done := make(chan struct{})
		defer close(done)
		errs := make(chan error)
		go onThread(done, func() {
			for b.Loop() {
				cmd, err := l.Start(c, []string{"/bin/true"}, [3]*os.File{null, null, null})
				if err != nil {
					errs <- err
					return
				}
				r := &running{Cmd: cmd}
				r.awaitEnd()
				l.End(cmd.Process.Pid)
				if err := cmd.Wait(); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		})
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	})
}
