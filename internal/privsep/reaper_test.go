package privsep

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/config"
)

// serveFamily is a server with a filter that has children: beside it, in a group
// of their own, and one whose parent is gone, or with another filter, that its
// arguments name. It tells the filter's process id.
func serveFamily(args []string) {
	called = true
	l := New(&config.Config{Queue: config.Queue{Path: args[1]}}, discard)
	l.noUserNS = os.Getenv(noUserNS) == "no"
	done := make(chan struct{})
	go onThread(done, func() {
		r, w, _ := os.Pipe()
		c := &config.Proc{Name: "x", Command: args[0]}
		if os.Geteuid() == 0 {
			c.User = "nobody"
		}
		argv := []string{args[0], hostileRole, "family", args[0]}
		if len(args) > 2 {
			argv = args[2:]
		}
		cmd, err := l.Start(c, argv, [3]*os.File{r, w, os.Stderr})
		if err != nil {
			fmt.Println(0, err)
			return
		}
		for in := bufio.NewScanner(r); in.Scan() && in.Text() != "all"; {
		}
		fmt.Println(cmd.Process.Pid)
	})
	time.Sleep(time.Hour)
}

// TestHostileChildrenOutliveServer kills the server of a filter with children,
// and its reaper before it.
func TestHostileChildrenOutliveServer(t *testing.T) {
	for _, reaper := range []string{"first", "second"} {
		t.Run(reaper, func(t *testing.T) {
			h := hostileHouse(t)
			self := program(t)
			server := exec.Command(self, hostileRole, "serve family", self, h.dir)
			server.Env = append(os.Environ(), noUserNS+"="+os.Getenv(noUserNS))
			out, err := server.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			server.Stderr = os.Stderr
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			var sid int
			if _, err := fmt.Fscanln(out, &sid); err != nil || sid <= 1 {
				server.Process.Kill()
				t.Fatalf("no filter: %v", err)
			}
			if reaper == "second" {
				old := awaitReaper(t, server.Process.Pid, nil)
				unix.Kill(old, unix.SIGKILL)
				awaitReaper(t, server.Process.Pid, []int{old})
			}
			left := sessionOf(sid)
			if len(left) < 5 {
				t.Errorf("%d children are there, want 5", len(left))
			}
			server.Process.Kill()
			server.Wait()
			began := time.Now()
			for _, p := range append(left, stat{pid: sid}) {
				awaitGone(t, p.pid)
			}
			t.Logf("all gone after %v", time.Since(began))
		})
	}
}

// reapers gives the reapers of a server.
func reapers(server int) (all []int) {
	for _, p := range processes() {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline")
		if p.parent == server && strings.HasPrefix(string(b), reaperRole) {
			all = append(all, p.pid)
		}
	}
	return all
}

// awaitReaper gives a reaper of a server that is not among old.
func awaitReaper(t *testing.T, server int, old []int) int {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, pid := range reapers(server) {
			if !slices.Contains(old, pid) {
				return pid
			}
		}
	}
	t.Fatal("there is no reaper")
	return 0
}

// awaitSealed waits until a reaper has done with its start.
func awaitSealed(t *testing.T, pid int) (st status) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); st["Seccomp"] != "2" && time.Now().Before(end); time.Sleep(time.Millisecond) {
		var err error
		if st, err = readStatus(pid); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

// awaitGone waits for the end of a process.
func awaitGone(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		st, err := readStat(n)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || err == nil && st.over() {
			return
		}
		if time.Now().After(end) {
			unix.Kill(n, unix.SIGKILL)
			t.Fatalf("process %d lives on: %c, %v", n, st.state, err)
		}
	}
}

// TestReaper: it ends the sessions that it was told of and nothing else, and is
// not to be ended by what ends the server.
func TestReaper(t *testing.T) {
	start := func() *exec.Cmd {
		cmd := exec.Command("/bin/sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return cmd
	}
	ours, gone, other, unknown := start(), start(), start(), start()
	l := New(&config.Config{}, discard)
	for _, cmd := range []*exec.Cmd{ours, gone, other} {
		st, err := readStat(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		l.running[cmd.Process.Pid] = &launched{start: st.start}
	}
	l.running[other.Process.Pid].start-- // the number was another process's
	before := reapers(os.Getpid())       // of other tests
	if err := l.entrust(ours.Process.Pid); err != nil {
		t.Fatal(err)
	}
	l.forget(gone.Process.Pid)
	reaper := awaitReaper(t, os.Getpid(), before)
	awaitSealed(t, reaper)
	unix.Kill(reaper, unix.SIGTERM)
	l.mu.Lock()
	l.reaper.say("+" + strconv.Itoa(unknown.Process.Pid)) // a line that was cut
	l.running = nil
	l.reaper.tell.Close()
	l.mu.Unlock()
	awaitGone(t, ours.Process.Pid)
	awaitGone(t, reaper)
	for what, cmd := range map[string]*exec.Cmd{"that has ended for the server": gone, "of another": other, "unknown": unknown} {
		if st, err := readStat(cmd.Process.Pid); err != nil || st.state == 'Z' {
			t.Errorf("the process %s was ended: %c, %v", what, st.state, err)
		}
	}
}

// TestReaperRights reads what a reaper may do.
func TestReaperRights(t *testing.T) {
	l := New(&config.Config{}, discard)
	before := reapers(os.Getpid())
	l.mu.Lock()
	err := l.startReaper()
	l.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pid := awaitReaper(t, os.Getpid(), before)
	const kill = "0000000000000020"
	st := awaitSealed(t, pid)
	if st["NoNewPrivs"] != "1" || st["Seccomp"] != "2" || os.Geteuid() == 0 && (st["CapEff"] != kill || st["CapBnd"] != kill) {
		t.Errorf("no_new_privs %s, seccomp %s, capabilities %s of %s", st["NoNewPrivs"], st["Seccomp"], st["CapEff"], st["CapBnd"])
	}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to != "/dev/null" && !strings.HasPrefix(to, "pipe:") && !strings.HasPrefix(to, "anon_inode:") &&
			!strings.Contains(to, "/cgroup") && filepath.Base(link) > "2" {
			t.Errorf("it has %s open", to)
		}
	}
	t.Logf("memory: %s, of which its own %s", st["VmRSS"], st["RssAnon"])
}
