package privsep

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/config"
)

// sandboxes are a filter without words, and one with a view.
func sandboxes(h *house) map[string]config.Sandbox {
	return map[string]config.Sandbox{
		"no words": {},
		"view":     {Read: []string{"/usr/share"}},
	}
}

// TestAsUser runs the tests of this file again without root.
func TestAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the tests run as an ordinary user already")
	}
	self := program(t)
	for _, userNS := range []string{"", "no"} {
		cmd := exec.Command(self, "-test.run=^TestHostile", "-test.v")
		cmd.Dir = "/"
		cmd.Env = []string{"PATH=/usr/bin:/bin", noUserNS + "=" + userNS}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("without user namespaces %q: %v\n%s", userNS, err, out)
		}
		if n := strings.Count(string(out), "\n--- PASS: TestHostile"); n < 10 {
			t.Errorf("%d tests ran:\n%s", n, out)
		}
	}
}

// noUserNS is a variable that makes the system one without user namespaces.
const noUserNS = "PRIVSEP_TEST_NO_USERNS"

func hostileHouse(t *testing.T) *house {
	h := newHouse(t)
	h.noUserNS = os.Getenv(noUserNS) == "no"
	return h
}

// TestHostileReads tries to read what is the server's and another filter's.
func TestHostileReads(t *testing.T) {
	h := hostileHouse(t)
	for name, s := range sandboxes(h) {
		t.Run(name, func(t *testing.T) {
			out := h.try(t, s, "read", h.secret, h.key, h.theirs)
			if h.noUserNS && name == "no words" {
				// Only a view helps here, and the log says so.
				if !strings.Contains(h.log.String(), "can read the queue and the keys") {
					t.Errorf("the log does not say that the queue can be read: %s", h.log)
				}
				return
			}
			if strings.Contains(out, secretText) || strings.Count(out, "\n") != 3 {
				t.Errorf("it read:\n%s", out)
			}
		})
	}
}

func TestHostileQueueKeepsSocket(t *testing.T) {
	h := hostileHouse(t)
	if h.noUserNS {
		t.Skip("nothing is hidden without mounts")
	}
	want(t, h.try(t, config.Sandbox{}, "list", filepath.Dir(h.secret)), "list: ok [- smtp.sock")
	want(t, h.try(t, config.Sandbox{}, "write", filepath.Dir(h.secret)+"/new"), "new: open")
	ln, err := net.Listen("unix", filepath.Join(h.dir, "daemon.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	os.Chmod(ln.Addr().String(), 0o777)
	go func() {
		if c, err := ln.Accept(); err == nil {
			c.Write([]byte("x"))
			c.Close()
		}
	}()
	want(t, h.try(t, config.Sandbox{}, "connect", ln.Addr().String()), "connect: ok", "answer: ok")
}

// TestHostileWrites tries to write outside of a view, within, and into /tmp.
func TestHostileWrites(t *testing.T) {
	h := hostileHouse(t)
	own := filepath.Join(h.dir, "own")
	os.Mkdir(own, 0o777)
	os.Chmod(own, 0o777)
	os.Chmod(h.dir, 0o777) // so that only the view forbids it
	s := config.Sandbox{Write: []string{own}, Read: []string{"/usr/share"}}
	out := h.try(t, s, "write", h.secret, h.key, h.theirs, h.dir+"/beside", "/tmp/privsep-test", own+"/file")
	// In the key's place there may be /dev/null, which anything can be written to.
	want(t, out, "body: open", "key.pem:", "data: open", "beside: open", "privsep-test: open", "file: ok")
	for _, path := range []string{h.secret, h.key, h.theirs} {
		if b, err := os.ReadFile(path); string(b) != secretText {
			t.Errorf("%s is now %q, %v", path, b, err)
		}
	}
	// Without words, a filter writes where its user may: logs of existing ones.
	want(t, h.try(t, config.Sandbox{}, "write", h.dir+"/log"), "log: ok")
}

// TestHostileTmp shows that two filters have two /tmp.
func TestHostileTmp(t *testing.T) {
	h := hostileHouse(t)
	if h.noUserNS {
		t.Skip("needs mounts")
	}
	c := h.proc(config.Sandbox{Read: []string{"/usr/share"}})
	c.Command = "/bin/sh"
	script := "cat /tmp/privsep-own; echo mine > /tmp/privsep-own && cat /tmp/privsep-own"
	for range 2 {
		want(t, h.begin(t, c, "/bin/sh", "-c", script).text(t), "cat: /tmp/privsep-own: No such file", "mine")
	}
	if _, err := os.Stat("/tmp/privsep-own"); err == nil {
		t.Error("it is in the /tmp of all")
	}
}

// TestHostileLooks looks into the server and another filter of the same user.
func TestHostileLooks(t *testing.T) {
	h := hostileHouse(t)
	self := program(t)
	c := h.proc(config.Sandbox{})
	c.Command, c.Name = self, "other"
	other := h.begin(t, c, self, hostileRole, "wait")
	other.line(t)
	for name, s := range sandboxes(h) {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{os.Getpid(), other.Process.Pid} {
				out := h.try(t, s, "pry", pid(n))
				if strings.Contains(out, "ok") || strings.Count(out, "\n") != 9 {
					t.Errorf("it looked into %d:\n%s", n, out)
				}
			}
		})
	}
}

func TestHostileSignals(t *testing.T) {
	h := hostileHouse(t)
	self := program(t)
	c := h.proc(config.Sandbox{})
	c.Command = self
	other := h.begin(t, c, self, hostileRole, "wait")
	other.line(t)
	want(t, h.try(t, config.Sandbox{}, "signal", pid(os.Getpid()), pid(other.Process.Pid), pid(-other.Process.Pid)),
		"signal: operation not permitted", "signal: operation not permitted", "signal: operation not permitted")
}

func TestHostileSockets(t *testing.T) {
	h := hostileHouse(t)
	const no = "address family not supported by protocol"
	want(t, h.try(t, config.Sandbox{NetworkOff: true}, "sockets"), "socket 2: "+no, "socket 10: "+no, "socket 16: "+no,
		"socket 17: "+no, "socket 40: "+no, "socket 1: ok")
	if !h.noUserNS {
		want(t, h.try(t, config.Sandbox{NetworkOff: true}, "interfaces"), "interfaces: ok 1") // lo, which is down
	}
	out := h.try(t, config.Sandbox{}, "sockets")
	if !strings.HasPrefix(out, "socket 2: ok\nsocket 10: ok\n") {
		t.Errorf("without network off:\n%s", out)
	}
}

// TestHostileEscapes tries to undo the sandbox.
func TestHostileEscapes(t *testing.T) {
	h := hostileHouse(t)
	out := h.try(t, config.Sandbox{}, "escape", filepath.Dir(h.secret), h.key)
	if strings.Contains(out, "ok") || strings.Count(out, "\n") != 13 {
		t.Errorf("it escaped:\n%s", out)
	}
}

// TestHostileOrphans leaves children behind that want to stay.
func TestHostileOrphans(t *testing.T) {
	h := hostileHouse(t)
	self := program(t)
	c := h.proc(config.Sandbox{})
	c.Command = self
	r := h.begin(t, c, self, hostileRole, "orphans", self)
	for range 3 {
		if n, err := strconv.Atoi(r.line(t)); err != nil || n <= 1 {
			t.Fatalf("child %d: %v", n, err)
		}
	}
	r.awaitEnd()
	left := sessionOf(r.Process.Pid)
	if len(left) < 5 {
		t.Fatalf("%d children are there, want 5", len(left))
	}
	r.finish()
	if left := sessionOf(r.Process.Pid); len(left) > 0 {
		t.Errorf("still there: %+v", left)
	}
	for _, p := range left {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/exe", p.pid)); err == nil {
			t.Errorf("process %d is still there", p.pid)
		}
	}
}

// sessionOf lists what lives of a session, besides its leader.
func sessionOf(sid int) []stat {
	var all []stat
	for _, p := range processes() {
		if p.session == sid && p.pid != sid && !p.over() {
			all = append(all, p)
		}
	}
	return all
}

// TestHostileOutlivesServer kills the server.
func TestHostileOutlivesServer(t *testing.T) {
	h := hostileHouse(t)
	self := program(t)
	server := exec.Command(self, hostileRole, "serve", self, h.dir)
	server.Env = append(os.Environ(), noUserNS+"="+os.Getenv(noUserNS))
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	var n int
	_, err = fmt.Fscanln(out, &n)
	server.Process.Kill()
	io.Copy(io.Discard, out)
	server.Wait()
	if err != nil || n == 0 {
		t.Fatalf("no filter: %v", err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		st, err := readStat(n)
		if err != nil || st.over() {
			return
		}
		if time.Now().After(end) {
			unix.Kill(n, unix.SIGKILL)
			t.Fatalf("the filter %d lives on: %c", n, st.state)
		}
	}
}

// serve is a server with an immortal filter.
func serve(args []string) {
	called = true
	h := New(&config.Config{Queue: config.Queue{Path: args[1]}}, discard)
	h.noUserNS = os.Getenv(noUserNS) == "no"
	done, started := make(chan struct{}), make(chan struct{})
	go onThread(done, func() {
		r, w, _ := os.Pipe()
		cmd, err := h.Start(&config.Proc{Name: "x", Command: args[0]}, []string{args[0], hostileRole, "immortal"}, [3]*os.File{r, w, w})
		if err != nil {
			fmt.Println(0, err)
			return
		}
		line := make([]byte, 11)
		io.ReadFull(r, line) // "disarm: ok\n"
		fmt.Println(cmd.Process.Pid)
		close(started)
	})
	<-started
	time.Sleep(time.Hour)
}

func TestHostileLimits(t *testing.T) {
	h := hostileHouse(t)
	t.Run("files", func(t *testing.T) {
		want(t, h.try(t, config.Sandbox{Files: 40}, "files"), "files: ok true true")
	})
	t.Run("cpu", func(t *testing.T) {
		self := program(t)
		c := h.proc(config.Sandbox{CPU: time.Second})
		c.Command = self
		if got := h.begin(t, c, self, hostileRole, "spin").finish(); !strings.Contains(got, "killed") && !strings.Contains(got, "CPU") {
			t.Errorf("it ended with %q", got)
		}
	})
	t.Run("memory", func(t *testing.T) {
		// In perl: under the race detector this program itself needs terabytes.
		const script = `my $s = shift; my $n = 3e7; my $x = "a" x $n; print length($x), "\n";
			for (1 .. 2) { print syscall($ARGV[0], 0, 1 << 20, 3, $ARGV[1], -1, 0) == -1 ? "no\n" : "yes\n"; $ARGV[1] = 0x22; }
			print syscall($ARGV[2], $s, 0) == -1 ? "no\n" : "yes\n";
			$| = 1; $n = 3e8; my $y = "a" x $n; print length($y), "\n";`
		c := h.proc(config.Sandbox{Memory: 128 << 20})
		c.Command = "/usr/bin/perl"
		r := h.begin(t, c, "/usr/bin/perl", "-e", script, "name", fmt.Sprint(unix.SYS_MMAP), "33", fmt.Sprint(unix.SYS_MEMFD_CREATE))
		want(t, r.text(t), "30000000", "no", "yes", "no", "Out of memory")
	})
	t.Run("processes", func(t *testing.T) {
		const n = 12
		c := h.proc(config.Sandbox{Processes: n})
		c.Command = "/bin/sh"
		r := h.begin(t, c, "/bin/sh", "-c", "i=0; while [ $i -lt 500 ]; do sleep 60 & i=$((i+1)); done; sleep 60")
		r.awaitEnd()
		if got := len(sessionOf(r.Process.Pid)); got >= n || got < n/2 {
			t.Errorf("%d children, want up to %d", got, n-1)
		}
		r.finish()
	})
	t.Run("processes of one without a limit", func(t *testing.T) {
		self := program(t)
		c := h.proc(config.Sandbox{})
		c.Command = self
		r := h.begin(t, c, shell(self, hostileRole, "wait")...)
		r.line(t)
		p, err := h.Show(r.Process.Pid)
		n, _ := strconv.Atoi(p.Limits["processes"])
		most := defaultProcesses + tasksOf(65534, 0) + 100 // others of the user
		if os.Geteuid() == 0 {
			most = defaultUserProcesses
		}
		if err != nil || n < 1 || n > most {
			t.Errorf("%q processes, want up to %d; %v", p.Limits["processes"], most, err)
		}
	})
}

func TestHostileSelf(t *testing.T) {
	h := hostileHouse(t)
	// A descriptor that somebody has forgotten to mark.
	var leak [2]int
	if err := unix.Pipe2(leak[:], 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak[0])
	defer unix.Close(leak[1])
	t.Setenv("PRIVSEP_SECRET", "x")
	c := h.proc(config.Sandbox{Env: []string{"MINE=1"}})
	c.Command = program(t)
	out := h.begin(t, c, c.Command, hostileRole, "self").text(t)
	home := "/"
	if os.Geteuid() == 0 {
		home = "/nonexistent"
	}
	want(t, out, "fds: [0 1 2] <nil>",
		"env: [PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME="+home+" MINE=1]",
		"dir: /", "leads: true true", "oom: 500 <nil>")
}

// TestHostileControl tries the control socket, which the server's user may use.
func TestHostileControl(t *testing.T) {
	h := hostileHouse(t)
	path := filepath.Join(h.dir, "control")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o777)
	guarded := h.Guard(ln)
	defer guarded.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := guarded.Accept(); err == nil {
			accepted <- c
		}
	}()
	want(t, h.try(t, config.Sandbox{}, "connect", path), "connect: ok", "answer: EOF")
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	select {
	case <-accepted:
	case <-time.After(10 * time.Second):
		t.Error("our own call was not accepted")
	}
	if !strings.Contains(h.log.String(), "tried the control socket") {
		t.Errorf("log: %s", h.log)
	}
}
