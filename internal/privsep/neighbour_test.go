package privsep

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/config"
)

// TestHostileModes changes what is about files outside of a view, which belong
// to the filter's user, and within.
func TestHostileModes(t *testing.T) {
	h := hostileHouse(t)
	own := filepath.Join(h.dir, "own")
	for _, path := range []string{own, h.dir + "/outside", own + "/inside"} {
		var err error
		if path == own {
			err = os.Mkdir(path, 0o755)
		} else {
			err = os.WriteFile(path, nil, 0o644)
		}
		if err == nil && os.Geteuid() == 0 {
			err = os.Chown(path, 65534, 65534)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s := config.Sandbox{Write: []string{own}}
	out := h.try(t, s, "modes", h.dir+"/outside", own+"/inside")
	no, yes := strings.Join(strings.SplitN(out, "\n", 5)[:4], "\n"), out
	if strings.Contains(no, "ok") {
		t.Errorf("it changed a file outside of its view:\n%s", out)
	}
	if want := map[bool]int{false: 4}[h.noUserNS]; strings.Count(yes, "ok") != want {
		t.Errorf("%d changes of a file of its own, want %d:\n%s", strings.Count(yes, "ok"), want, out)
	}
}

// TestHostileOwnProgram has the program beside the queue.
func TestHostileOwnProgram(t *testing.T) {
	h := hostileHouse(t)
	self := filepath.Join(h.dir, "hostile")
	b, err := os.ReadFile(program(t))
	if err == nil {
		err = os.WriteFile(self, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := h.proc(config.Sandbox{Read: []string{"/usr/share"}})
	c.Command = self
	out := h.begin(t, c, shell(self, hostileRole, "read", h.secret, h.key, h.theirs)...).text(t)
	if strings.Contains(out, secretText) || strings.Count(out, "\n") != 3 {
		t.Errorf("it read:\n%s", out)
	}
}

// TestHostileNeighbours tries what a user may do to processes and memory of the
// same user, without a signal and without a look into them.
func TestHostileNeighbours(t *testing.T) {
	h := hostileHouse(t)
	self := program(t)
	c := h.proc(config.Sandbox{})
	c.Command, c.Name = self, "other"
	other := h.begin(t, c, self, hostileRole, "shared", "leave")
	for range 3 {
		other.line(t)
	}
	for name, s := range sandboxes(h) {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{other.Process.Pid, os.Getpid()} {
				want := 2 // what is its own
				if h.noUserNS && name == "no words" {
					if n == os.Getpid() {
						continue // these tests go on
					}
					want += 3 // files of its user, in /proc, of which weir.conf(5) tells
				}
				out := h.try(t, s, "neighbour", pid(n))
				if strings.Count(out, "ok") != want || strings.Count(out, "\n") != 11 {
					t.Errorf("it did to %d:\n%s", n, out)
				}
			}
			out := h.try(t, s, "shared", "find")
			if n := strings.Count(out, "ok"); n != 0 && !(h.noUserNS && n == 1) || strings.Count(out, "\n") != 3 {
				t.Errorf("it found:\n%s", out)
			}
		})
	}
}

// TestHostileRoot is a filter that is root, since there is nobody else.
func TestHostileRoot(t *testing.T) {
	h := hostileHouse(t)
	_, err := user.Lookup(DefaultUser)
	if os.Geteuid() != 0 || err == nil {
		t.Skip("needs root, and that there is no user " + DefaultUser)
	}
	c := h.proc(config.Sandbox{})
	c.User, c.Command = "", program(t)
	out := h.begin(t, c, shell(c.Command, hostileRole, "root", h.key, h.dir+"/log")...).text(t)
	if lines := strings.Split(out, "\n"); len(lines) != 16 || strings.Contains(strings.Join(lines[:len(lines)-3], "\n"), "ok") {
		t.Errorf("it could:\n%s", out)
	}
	if !strings.HasSuffix(out, "write: ok\nwrite: ok\n") {
		t.Errorf("it cannot write to /dev/null and where nobody forbids it:\n%s", out)
	}
	if fi, err := os.Stat("/dev/null"); err != nil || fi.Mode().Perm() != 0o666 {
		t.Errorf("/dev/null is %v, %v", fi.Mode(), err)
	}
}
