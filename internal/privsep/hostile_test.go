package privsep

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// onThread runs f on a thread that lives until done is closed.
func onThread(done <-chan struct{}, f func()) {
	runtime.LockOSThread() // for good
	f()
	<-done
}

// hostile tries something and says what came of it, a line for each try:
// "what: error", or "what: ok" and what was got.
func hostile(what string, args []string) {
	say := func(what string, err error, got ...any) {
		if err != nil {
			fmt.Printf("%s: %v\n", what, err)
			return
		}
		fmt.Println(append([]any{what + ": ok"}, got...)...)
	}
	switch what {
	case "read":
		for _, path := range args {
			b, err := os.ReadFile(path)
			say(filepath.Base(path), err, string(b))
		}
	case "list":
		names, err := os.ReadDir(args[0])
		say("list", err, names)
	case "write":
		for _, path := range args {
			say(filepath.Base(path), os.WriteFile(path, []byte("hostile"), 0o644))
		}
	case "connect":
		c, err := net.Dial("unix", args[0])
		say("connect", err)
		if err == nil {
			_, err := c.Read(make([]byte, 1))
			say("answer", err)
		}
	case "pry":
		pry(args[0], say)
	case "sockets":
		for _, domain := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET, unix.AF_VSOCK, unix.AF_UNIX} {
			_, err := unix.Socket(domain, unix.SOCK_DGRAM, 0)
			say(fmt.Sprint("socket ", domain), err)
		}
	case "interfaces":
		b, err := os.ReadFile("/proc/self/net/dev")
		say("interfaces", err, strings.Count(string(b), "\n")-2)
	case "signal":
		for _, arg := range args {
			n, _ := strconv.Atoi(arg)
			say("signal", unix.Kill(n, unix.SIGWINCH))
		}
	case "escape":
		escape(args, say)
	case "orphans":
		orphans(args[0])
	case "immortal":
		say("disarm", unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0))
		ignoreAll()
		time.Sleep(time.Hour)
	case "files":
		n := 0
		for ; n < 10000; n++ {
			if _, err := unix.Dup(0); err != nil {
				break
			}
		}
		say("files", nil, n+3 < 100, n > 3)
	case "spin":
		for time.Now().Year() > 0 {
		}
	case "self":
		self()
	case "wait":
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "family": // an immortal filter with children like it
		orphans(args[0])
		ignoreAll()
		fmt.Println("all")
		time.Sleep(time.Hour)
	case "serve": // a server that is killed
		serve(args)
	case "serve family":
		serveFamily(args)
	}
}

// pry looks into another process.
func pry(other string, say func(string, error, ...any)) {
	n, _ := strconv.Atoi(other)
	for _, file := range []string{"mem", "environ", "maps", "root/etc/passwd", "cwd/etc/passwd", "fd/0"} {
		f, err := os.Open("/proc/" + other + "/" + file)
		say(file, err)
		f.Close()
	}
	runtime.LockOSThread()
	say("ptrace", unix.PtraceAttach(n))
	buf := make([]byte, 8)
	local, remote := []unix.Iovec{{Base: &buf[0], Len: 8}}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}
	_, err := unix.ProcessVMReadv(n, local, remote, 0)
	say("process_vm_readv", err)
	fd, err := unix.PidfdOpen(n, 0)
	if err == nil {
		_, err = unix.PidfdGetfd(fd, 0, 0)
	}
	say("pidfd_getfd", err)
}

// escape undoes what hides the paths of args.
func escape(args []string, say func(string, error, ...any)) {
	for _, path := range args {
		say("umount", unix.Unmount(path, unix.MNT_DETACH))
	}
	say("mount", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	say("user namespace", unix.Unshare(unix.CLONE_NEWUSER))
	say("namespace by clone", (&exec.Cmd{Path: "/bin/true", SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}}).Run())
	fd, err := unix.Open("/proc/1/ns/mnt", unix.O_RDONLY, 0)
	if err == nil {
		err = unix.Setns(fd, 0)
	}
	say("setns", err)
	say("chroot", unix.Chroot("/"))
	say("device", unix.Mknod("/tmp/privsep-device", unix.S_IFBLK, 1))
	_, _, e := unix.Syscall(unix.SYS_BPF, 0, 0, 0)
	say("bpf", errOf(e))
	_, _, e = unix.Syscall(unix.SYS_KEYCTL, 0, 0, 0)
	say("keyctl", errOf(e))
	_, _, e = unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	say("io_uring", errOf(e))
	say("setuid", syscall.Setuid(0))
	var rlim unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_CORE, &rlim)
	rlim.Max = 1 << 20
	say("raise a limit", unix.Setrlimit(unix.RLIMIT_CORE, &rlim))
}

func errOf(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// masked is a child in a group of its own that looks as if it had ended: its
// first thread has.
const masked = `import ctypes, os, threading, time
os.setpgid(0, 0)
threading.Thread(target=time.sleep, args=(3600,)).start()
ctypes.CDLL(None).syscall(%d, 0)`

// orphans leaves children behind: a masked one, in the group, in a group of
// their own, and in what should be a session of its own, whose parent is gone.
func orphans(self string) {
	cmd := exec.Command("/usr/bin/python3", "-c", fmt.Sprintf(masked, unix.SYS_EXIT))
	if err := cmd.Start(); err != nil {
		fmt.Println("start:", err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if st, err := readStat(cmd.Process.Pid); err == nil && st.state == 'Z' {
			break
		}
	}

	for _, attr := range []*syscall.SysProcAttr{{}, {Setpgid: true}, {Setsid: true}} {
		cmd := &exec.Cmd{Path: self, Args: []string{self, hostileRole, "immortal"}, SysProcAttr: attr}
		if err := cmd.Start(); err != nil {
			fmt.Println("start:", err)
			continue
		}
		fmt.Println(cmd.Process.Pid)
	}
	// By a shell that ends: its child is nobody's.
	exec.Command("/bin/sh", "-c", "setsid "+self+" "+hostileRole+" immortal </dev/null >/dev/null 2>&1 & echo $!").Run()
}

func ignoreAll() {
	for s := syscall.Signal(1); s < 32; s++ {
		if s != syscall.SIGKILL && s != syscall.SIGSTOP && s != syscall.SIGURG {
			signal.Ignore(s)
		}
	}
}

// self tells of the process itself.
func self() {
	fds, err := os.ReadDir("/proc/self/fd")
	var names []string
	for _, f := range fds {
		to, e := os.Readlink("/proc/self/fd/" + f.Name())
		if e == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.Contains(to, "/cgroup") && to != "/proc" {
			names = append(names, f.Name())
		}
	}
	sort.Strings(names)
	fmt.Println("fds:", names, err)
	fmt.Println("env:", os.Environ())
	dir, _ := os.Getwd()
	fmt.Println("dir:", dir)
	sid, _ := unix.Getsid(0)
	fmt.Println("leads:", sid == os.Getpid(), unix.Getpgrp() == os.Getpid())
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	fmt.Printf("oom: %s %v\n", strings.TrimSpace(string(score)), err)
}
