package privsep

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sealed are the system calls that a process of the server that was sealed
// does not make, besides those that filters are denied: it becomes nothing
// else, and nobody else.
var sealed = append([]uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_MKNODAT,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
	unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_SETGROUPS, unix.SYS_CAPSET, unix.SYS_PERSONALITY,
	unix.SYS_SETNS, unix.SYS_SETSID, unix.SYS_SETPGID, unix.SYS_SHMGET, unix.SYS_MSGGET, unix.SYS_SEMGET,
}, archSealed...)

// Seal makes a process of the server what it stays: no file is executed, no
// process started, nobody traced, no right gained, by any of its threads. With
// offline it opens no socket either. It is called first of all by a process
// whose Child was Confined.
func Seal(offline bool) error {
	// What it has in memory, its user's other processes cannot look at.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_DUMPABLE: %w", err)
	}
	if auditArch == 0 {
		fmt.Fprintf(os.Stderr, "weir has no list of system calls for %s: seccomp is not used\n", runtime.GOARCH)
		return nil
	}
	p := buildSeal(auditArch, offline)
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	r, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(p)
	switch {
	case e == unix.ENOSYS || e == unix.EINVAL:
		fmt.Fprintln(os.Stderr, "the kernel has no seccomp: it is not used")
		return nil
	case e != 0:
		return fmt.Errorf("seccomp: %w", e)
	case r != 0:
		return fmt.Errorf("seccomp: thread %d has rules of its own", r)
	}
	return nil
}

// buildSeal makes the program.
func buildSeal(arch uint32, offline bool) bpfProgram {
	var p bpfProgram
	p.load(offArch)
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, arch, 1, 0)
	p.ret(errno(unix.ENOSYS))
	p.load(offNumber)
	if x32Bit != 0 {
		p.add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, x32Bit, 0, 1)
		p.ret(errno(unix.ENOSYS))
	}
	for _, list := range [][]uint32{denied, sealed} {
		for _, nr := range list {
			p.deny(nr, errno(unix.EPERM))
		}
	}
	if offline {
		for _, nr := range []uint32{unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN} {
			p.deny(nr, errno(unix.EPERM))
		}
	}
	p.denyOthers()
	p.deny(unix.SYS_CLONE3, errno(unix.ENOSYS)) // its flags are where we cannot look
	// Threads, and nothing else.
	p.denyIf(unix.SYS_CLONE, errno(unix.EPERM), test{0, unix.BPF_JSET, unix.CLONE_THREAD, false})
	p.denyIf(unix.SYS_IOCTL, errno(unix.EPERM), test{1, unix.BPF_JEQ, unix.TIOCSTI, true})
	p.ret(unix.SECCOMP_RET_ALLOW)
	return p
}
