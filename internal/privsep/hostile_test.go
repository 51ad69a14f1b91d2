package privsep

import (
	"errors"
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
	"unsafe"

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
	case "neighbour":
		neighbour(args[0], say)
	case "shared":
		sharing(args[0], say)
	case "modes":
		modes(args, say)
	case "root":
		demoted(args, say)
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

// neighbour makes another process of the same user slower, or worse.
func neighbour(other string, say func(string, error, ...any)) {
	n, _ := strconv.Atoi(other)
	say("limit", unix.Prlimit(n, unix.RLIMIT_CORE, &unix.Rlimit{}, nil))
	var cpus unix.CPUSet
	unix.SchedGetaffinity(0, &cpus)
	say("processors", unix.SchedSetaffinity(n, &cpus))
	var zero int32
	_, _, e := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(n), 3 /* SCHED_BATCH */, uintptr(unsafe.Pointer(&zero)))
	say("scheduler", errOf(e))
	say("priority", unix.Setpriority(unix.PRIO_PROCESS, n, 1))
	say("priority of the user", unix.Setpriority(unix.PRIO_USER, 0, 1))
	_, _, e = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(n), 3<<13)
	say("priority of files", errOf(e))
	for _, file := range []string{"oom_score_adj", "coredump_filter", "sched"} {
		say(file, os.WriteFile("/proc/"+other+"/"+file, []byte("600"), 0))
	}
	say("own limit", unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 100, Max: 100}))
	say("own priority", unix.Setpriority(unix.PRIO_PROCESS, 0, 1))
}

// sharing leaves something where other filters may find it, or finds it.
func sharing(what string, say func(string, error, ...any)) {
	const key = 0x77656972
	flags := uintptr(0)
	if what == "leave" {
		flags = unix.IPC_CREAT | 0o600
	}
	_, _, e := unix.Syscall(unix.SYS_SHMGET, key, 4096, flags)
	say("memory", errOf(e))
	_, _, e = unix.Syscall(unix.SYS_MSGGET, key, flags, 0)
	say("queue", errOf(e))
	f, err := os.OpenFile("/dev/shm/privsep-shared", os.O_RDWR|int(flags&unix.IPC_CREAT)>>9*os.O_CREATE, 0o600)
	say("file of memory", err)
	f.Close()
	if what == "leave" {
		time.Sleep(time.Hour)
	}
}

// modes changes what is about each file, and not in it.
func modes(paths []string, say func(string, error, ...any)) {
	for _, path := range paths {
		say("mode", os.Chmod(path, 0o777))
		say("owner", os.Chown(path, os.Getuid(), -1))
		say("times", os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)))
		say("attribute", unix.Setxattr(path, "user.privsep", []byte("x"), 0))
	}
}

// demoted does what root may, also without capabilities.
func demoted(paths []string, say func(string, error, ...any)) {
	for _, path := range []string{"/etc/passwd", "/proc/sys/kernel/core_pattern", "/dev/kmsg", "/dev/console", "/dev/loop-control"} {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		say("write", err)
		f.Close()
	}
	for _, dir := range []string{"/etc", "/usr/bin", "/root", "/dev", "/var/spool/cron"} {
		say("make", os.WriteFile(dir+"/privsep-hostile", nil, 0o600))
	}
	say("chmod", os.Chmod("/etc/passwd", 0o666))
	say("chmod", os.Chmod(paths[0], 0o600))
	b, err := os.ReadFile("/etc/shadow")
	if err == nil && len(b) == 0 {
		err = errors.New("empty")
	}
	say("read", err)
	for _, path := range append([]string{"/dev/null"}, paths[1:]...) {
		say("write", os.WriteFile(path, []byte("x"), 0o600))
	}
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
