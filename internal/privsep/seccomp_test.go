package privsep

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// evaluate runs a program over a system call in a virtual machine.
func evaluate(t *testing.T, p bpfProgram, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	raw := make([]bpf.RawInstruction, len(p))
	for i, f := range p {
		raw[i] = bpf.RawInstruction{Op: f.Code, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	program, all := bpf.Disassemble(raw)
	if !all {
		t.Fatal("the program has instructions that do not exist")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	// struct seccomp_data, words in the machine's order. The virtual machine
	// reads words of the network's, so each is turned around for it.
	data := make([]byte, offArgs+8*6)
	binary.BigEndian.PutUint32(data[offNumber:], nr)
	binary.BigEndian.PutUint32(data[offArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[offArgs+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[offArgs+8*i+4:], uint32(a>>32))
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func TestFilterProgram(t *testing.T) {
	const arch, allow = 0xc000003e, unix.SECCOMP_RET_ALLOW
	eperm, enomem, af := errno(unix.EPERM), errno(unix.ENOMEM), errno(unix.EAFNOSUPPORT)
	plain := buildFilter(arch, rules{})
	strict := buildFilter(arch, rules{networkOff: true, countMemory: true, sharedIPC: true, keepModes: true, keepTimes: true})
	for _, tt := range []struct {
		name          string
		nr            uint32
		args          []uint64
		plain, strict uint32
	}{
		{"read", unix.SYS_READ, nil, allow, allow},
		{"execve", unix.SYS_EXECVE, nil, allow, allow},
		{"the last number", 0x3fffffff, nil, allow, allow},
		{"ptrace", unix.SYS_PTRACE, nil, eperm, eperm},
		{"mount", unix.SYS_MOUNT, nil, eperm, eperm},
		{"keyctl", unix.SYS_KEYCTL, nil, eperm, eperm},
		{"last of the list", denied[len(denied)-1], nil, eperm, eperm},
		{"setsid", unix.SYS_SETSID, nil, errno(0), errno(0)},
		{"prctl other", unix.SYS_PRCTL, []uint64{unix.PR_SET_NAME, 0}, allow, allow},
		{"prctl pdeathsig off", unix.SYS_PRCTL, []uint64{unix.PR_SET_PDEATHSIG, 0}, errno(0), errno(0)},
		{"prctl pdeathsig term", unix.SYS_PRCTL, []uint64{unix.PR_SET_PDEATHSIG, 15}, errno(0), errno(0)},
		{"prctl pdeathsig kill", unix.SYS_PRCTL, []uint64{unix.PR_SET_PDEATHSIG, 9}, allow, allow},
		{"clone3", unix.SYS_CLONE3, nil, errno(unix.ENOSYS), errno(unix.ENOSYS)},
		{"clone thread", unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, allow, allow},
		{"clone fork", unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}, allow, allow},
		{"clone user", unix.SYS_CLONE, []uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, eperm, eperm},
		{"clone net", unix.SYS_CLONE, []uint64{unix.CLONE_NEWNET}, eperm, eperm},
		{"ioctl size", unix.SYS_IOCTL, []uint64{0, unix.TIOCGWINSZ}, allow, allow},
		{"ioctl type into a terminal", unix.SYS_IOCTL, []uint64{0, unix.TIOCSTI}, eperm, eperm},
		{"ioctl with upper half", unix.SYS_IOCTL, []uint64{0, unix.TIOCSTI | 1<<32}, eperm, eperm},
		{"socket inet", unix.SYS_SOCKET, []uint64{unix.AF_INET}, allow, af},
		{"socket netlink", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK}, allow, af},
		{"socket unix", unix.SYS_SOCKET, []uint64{unix.AF_UNIX}, allow, allow},
		{"mmap private", unix.SYS_MMAP, []uint64{0, 1, 3, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS}, allow, allow},
		{"mmap of a file", unix.SYS_MMAP, []uint64{0, 1, 3, unix.MAP_SHARED}, allow, allow},
		{"mmap shared", unix.SYS_MMAP, []uint64{0, 1, 3, unix.MAP_SHARED | unix.MAP_ANONYMOUS}, allow, enomem},
		{"mmap shared checked", unix.SYS_MMAP, []uint64{0, 1, 3, unix.MAP_SHARED_VALIDATE | unix.MAP_ANONYMOUS}, allow, enomem},
		{"memfd", unix.SYS_MEMFD_CREATE, nil, allow, enomem},
		{"shmget", unix.SYS_SHMGET, nil, allow, eperm},
		{"shmat", unix.SYS_SHMAT, nil, allow, eperm},
		{"utimensat", unix.SYS_UTIMENSAT, nil, allow, eperm},
		{"fchmodat", unix.SYS_FCHMODAT, nil, allow, eperm},
		{"own limits", unix.SYS_PRLIMIT64, []uint64{0, unix.RLIMIT_CORE}, allow, allow},
		{"another's limits", unix.SYS_PRLIMIT64, []uint64{12, unix.RLIMIT_CORE}, eperm, eperm},
		{"own processors", unix.SYS_SCHED_SETAFFINITY, []uint64{0}, allow, allow},
		{"another's processors", unix.SYS_SCHED_SETAFFINITY, []uint64{12}, eperm, eperm},
		{"own priority", unix.SYS_SETPRIORITY, []uint64{unix.PRIO_PROCESS, 0, 19}, allow, allow},
		{"another's priority", unix.SYS_SETPRIORITY, []uint64{unix.PRIO_PROCESS, 12, 19}, eperm, eperm},
		{"a user's priority", unix.SYS_SETPRIORITY, []uint64{unix.PRIO_USER, 0, 19}, eperm, eperm},
		{"own priority of files", unix.SYS_IOPRIO_SET, []uint64{ioprioWhoProcess, 0}, allow, allow},
		{"a group's priority of files", unix.SYS_IOPRIO_SET, []uint64{2, 0}, eperm, eperm},
	} {
		if got := evaluate(t, plain, arch, tt.nr, tt.args...); got != tt.plain {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.plain)
		}
		if got := evaluate(t, strict, arch, tt.nr, tt.args...); got != tt.strict {
			t.Errorf("%s, all off: %#x, want %#x", tt.name, got, tt.strict)
		}
		if got := evaluate(t, plain, arch^1, tt.nr, tt.args...); got != errno(unix.ENOSYS) {
			t.Errorf("%s on another machine: %#x", tt.name, got)
		}
		if x32Bit != 0 {
			if got := evaluate(t, plain, arch, tt.nr|x32Bit, tt.args...); got != errno(unix.ENOSYS) {
				t.Errorf("%s of x32: %#x", tt.name, got)
			}
		}
	}
}

// TestDeniedOnce keeps the list without doubles, which would hide a denyIf.
func TestDeniedOnce(t *testing.T) {
	seen := make(map[uint32]bool)
	for _, nr := range denied {
		if seen[nr] {
			t.Errorf("system call %d is on the list twice", nr)
		}
		seen[nr] = true
	}
}
