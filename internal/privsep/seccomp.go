package privsep

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data, which a filter program looks at. Of an
// argument the lower half: no value that we look for needs the upper one.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// denied are the system calls that administer, debug or reach around the other
// limits: EPERM, as if rights were missing.
var denied = append([]uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP,
	unix.SYS_PIDFD_GETFD, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR, unix.SYS_MOUNT_SETATTR,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_CHROOT, unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_BPF, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_SYSLOG,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_VHANGUP,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL,
}, archDenied...)

// newNamespaces are the flags of clone(2) that make namespaces: in one of its
// own a process would have the rights that we took from it.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET

// bpfProgram is a program of the kernel's packet filter language.
type bpfProgram []unix.SockFilter

func (p *bpfProgram) add(code uint16, k uint32, jt, jf uint8) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (p *bpfProgram) load(offset uint32) { p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }
func (p *bpfProgram) ret(value uint32)   { p.add(unix.BPF_RET|unix.BPF_K, value, 0, 0) }

// errno is the value of a system call that fails with e, or with 0 seems to
// succeed, without being made.
func errno(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

// deny makes the system call nr give value.
func (p *bpfProgram) deny(nr, value uint32) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, nr, 0, 1)
	p.ret(value)
}

// test is one look at an argument: true if it jumps.
type test struct {
	arg  uint32
	op   uint16 // BPF_JEQ or BPF_JSET
	k    uint32
	want bool
}

// denyIf makes the system call nr give value if all tests are true, and allows
// it otherwise: there is one denyIf for a number, the last word on it.
func (p *bpfProgram) denyIf(nr, value uint32, tests ...test) {
	p.decide(nr, value, unix.SECCOMP_RET_ALLOW, tests)
}

// denyUnless makes the system call nr give value if not all tests are true.
func (p *bpfProgram) denyUnless(nr, value uint32, tests ...test) {
	p.decide(nr, unix.SECCOMP_RET_ALLOW, value, tests)
}

// decide makes the system call nr give yes if all tests are true, or no.
func (p *bpfProgram) decide(nr, yes, no uint32, tests []test) {
	body := uint8(2*len(tests) + 2)
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, nr, 0, body)
	for i, t := range tests {
		p.load(offArgs + 8*t.arg)
		toNo := uint8(2*(len(tests)-i-1) + 1) // over the rest of the tests, and ret(yes)
		if t.want {
			p.add(unix.BPF_JMP|t.op|unix.BPF_K, t.k, 0, toNo)
		} else {
			p.add(unix.BPF_JMP|t.op|unix.BPF_K, t.k, toNo, 0)
		}
	}
	p.ret(yes)
	p.ret(no)
}

// denyOthers keeps a process from changing limits, priorities and processors of
// others of its user, which is not signalling them, so that Landlock lets it
// be. A thread that names itself by its number is refused as well.
func (p *bpfProgram) denyOthers() {
	self := test{0, unix.BPF_JEQ, 0, true}
	for _, nr := range []uint32{
		unix.SYS_PRLIMIT64, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR,
	} {
		p.denyUnless(nr, errno(unix.EPERM), self)
	}
	// Which kind, and which of that kind.
	p.denyUnless(unix.SYS_SETPRIORITY, errno(unix.EPERM), test{0, unix.BPF_JEQ, unix.PRIO_PROCESS, true}, test{1, unix.BPF_JEQ, 0, true})
	p.denyUnless(unix.SYS_IOPRIO_SET, errno(unix.EPERM), test{0, unix.BPF_JEQ, ioprioWhoProcess, true}, test{1, unix.BPF_JEQ, 0, true})
}

const ioprioWhoProcess = 1 // linux/ioprio.h

// systemCalls makes the program for the filter; nil if there is none for this
// machine.
func (c *change) systemCalls() (bpfProgram, error) {
	lacks := ""
	if auditArch == 0 {
		lacks = "weir has no list of system calls for " + runtime.GOARCH
	} else if _, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0); err != nil {
		lacks = "the kernel has no seccomp"
	}
	if lacks != "" {
		if c.NetworkOff && !c.netns {
			return nil, fmt.Errorf("network off: no network namespace is allowed, and %s", lacks)
		}
		c.note("%s, so filters can use all system calls, and leave processes behind", lacks)
		return nil, nil
	}
	return buildFilter(auditArch, rules{
		networkOff: c.NetworkOff, countMemory: c.Memory > 0, sharedIPC: !c.ipc,
		keepModes: !c.readOnly && (c.View != nil || c.Protect != nil), keepTimes: !c.readOnly && c.View != nil,
	}), nil
}

// rules are what differs from filter to filter.
type rules struct {
	networkOff  bool
	countMemory bool
	sharedIPC   bool // other filters' shared memory and queues are in reach
	keepModes   bool // modes and owners of what is not to be written to are in reach
	keepTimes   bool // times, too
}

// ofIPC are the system calls that find shared memory, semaphores and queues;
// without those the others find nothing that is not known by its number.
var ofIPC = []uint32{
	unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_SEMCTL,
	unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL, unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK,
}

// ofModes are the system calls that change what is about a file, not in it,
// and ofTimes those that change its times. Landlock lets all of them be.
var ofModes = append([]uint32{
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_SETXATTRAT,
	unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTRAT, unix.SYS_FILE_SETATTR,
}, archModes...)

var ofTimes = append([]uint32{unix.SYS_UTIMENSAT}, archTimes...)

// buildFilter makes the program. Most calls end at the last line; the kernel
// remembers which do, and does not run the program for those.
func buildFilter(arch uint32, r rules) bpfProgram {
	var p bpfProgram
	p.load(offArch)
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, arch, 1, 0)
	p.ret(errno(unix.ENOSYS)) // numbers of another machine, such as of 32 bits
	p.load(offNumber)
	if x32Bit != 0 {
		p.add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, x32Bit, 0, 1)
		p.ret(errno(unix.ENOSYS))
	}
	for _, nr := range denied {
		p.deny(nr, errno(unix.EPERM))
	}
	// A session that can be left could not be ended. What wants to leave it is
	// told that it has, since it is harmless to go on and useless to fail.
	p.deny(unix.SYS_SETSID, errno(0))
	p.denyIf(unix.SYS_PRCTL, errno(0),
		test{0, unix.BPF_JEQ, unix.PR_SET_PDEATHSIG, true}, test{1, unix.BPF_JEQ, uint32(unix.SIGKILL), false})
	// clone3 has its flags where we cannot look; libraries fall back to clone.
	p.deny(unix.SYS_CLONE3, errno(unix.ENOSYS))
	p.denyIf(unix.SYS_CLONE, errno(unix.EPERM), test{0, unix.BPF_JSET, newNamespaces, true})
	p.denyIf(unix.SYS_IOCTL, errno(unix.EPERM), test{1, unix.BPF_JEQ, unix.TIOCSTI, true})
	p.denyOthers()
	if r.networkOff {
		p.denyIf(unix.SYS_SOCKET, errno(unix.EAFNOSUPPORT), test{0, unix.BPF_JEQ, unix.AF_UNIX, false})
	}
	if r.sharedIPC {
		for _, nr := range ofIPC {
			p.deny(nr, errno(unix.EPERM))
		}
	}
	if r.keepModes {
		for _, nr := range ofModes {
			p.deny(nr, errno(unix.EPERM))
		}
	}
	if r.keepTimes {
		for _, nr := range ofTimes {
			p.deny(nr, errno(unix.EPERM))
		}
	}
	if r.countMemory {
		// RLIMIT_DATA does not count what could be shared.
		p.denyIf(unix.SYS_MMAP, errno(unix.ENOMEM),
			test{3, unix.BPF_JSET, unix.MAP_ANONYMOUS, true}, test{3, unix.BPF_JSET, unix.MAP_SHARED, true})
		for _, nr := range []uint32{unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET, unix.SYS_SHMGET} {
			p.deny(nr, errno(unix.ENOMEM))
		}
	}
	p.ret(unix.SECCOMP_RET_ALLOW)
	return p
}

// installFilter makes p the rule for this thread and all that it becomes.
func installFilter(p bpfProgram) error {
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(p)
	if e != 0 {
		return e
	}
	return nil
}
