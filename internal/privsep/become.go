package privsep

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// role is the name under which a process of ours knows that it is to become a
// filter. The pipes that it gets are the two descriptors after standard error.
const role = "weir: becomes a filter"

const (
	specFD  = 3
	replyFD = 4
)

// called is whether Main was.
var called bool

// Main becomes a filter, or the signer, or plays one of roles, if that is what
// the process was started for, and does not return then. Programs and tests
// that start filters call it before anything else.
func Main(roles ...Role) {
	called = true
	if len(os.Args) == 0 {
		return
	}
	play(append(roles, Role{signerRole, signs}, Role{reaperRole, reaps}))
	if os.Args[0] != role {
		return
	}
	// Rights belong to a thread. The one that has them set runs the program.
	runtime.LockOSThread()
	answer := os.NewFile(replyFD, "reply")
	err := become(answer)
	json.NewEncoder(answer).Encode(reply{Error: err.Error()})
	os.Exit(1)
}

// change is what has been done so far.
type change struct {
	*spec
	notes     []string
	mounts    bool // in a mount namespace of its own
	netns     bool // in a network namespace of its own
	ipc       bool // in one of its own for shared memory and queues
	tmp       bool // /tmp is its own
	shm       bool // and /dev/shm
	readOnly  bool // what is mounted is read-only but for what the view has in Write
	landlock  int
	processes uint64 // RLIMIT_NPROC, 0: leave it
}

func (c *change) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// become does what the spec says and runs the program, so if it returns, it is
// an error. The order matters: each step needs rights that a later one takes
// away.
func become(answer *os.File) error {
	in := os.NewFile(specFD, "spec")
	sp, err := decodeSpec(in)
	in.Close()
	if err != nil {
		return fmt.Errorf("what to do: %w", err)
	}
	c := &change{spec: sp}
	if err := c.namespaces(); err != nil {
		return err
	}
	beExpendable()
	if err := c.protect(); err != nil {
		return err
	}
	if err := c.hide(); err != nil {
		return err
	}
	c.processes = c.processLimit()
	if err := c.identity(); err != nil {
		return err
	}
	if err := c.endWithServer(); err != nil {
		return err
	}
	if err := newBeginning(); err != nil {
		return err
	}
	if err := c.restrictFiles(); err != nil {
		return err
	}
	filter, err := c.systemCalls()
	if err != nil {
		return err
	}
	if err := c.closeAll(); err != nil {
		return err
	}
	if err := json.NewEncoder(answer).Encode(reply{Notes: c.notes, Landlock: c.landlock}); err != nil {
		return err
	}
	// From here on nothing may need memory, a thread or a descriptor.
	if err := c.limits(); err != nil {
		return err
	}
	if filter != nil {
		if err := installFilter(filter); err != nil {
			return fmt.Errorf("seccomp: %w", err)
		}
	}
	if c.Probe {
		syscall.Exit(0)
	}
	return fmt.Errorf("%s: %w", c.Argv[0], syscall.Exec(c.Argv[0], c.Argv, c.Env))
}

// newBeginning ends what is inherited: the rights of files that are executed,
// and what whoever started the server has blocked.
func newBeginning() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil); err != nil {
		return fmt.Errorf("signal mask: %w", err)
	}
	return nil
}

// endWithServer has the kernel kill the process when the server ends, which a
// change of user forgets.
func (c *change) endWithServer() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_PDEATHSIG: %w", err)
	}
	if os.Getppid() != c.Parent {
		return errors.New("the server has ended")
	}
	return nil
}

// oomScore has the kernel end filters before others when memory is short: one
// that takes it all is not to be the server's end. It is half of the range.
const oomScore = 500

// beExpendable raises the score, before the file is read-only or another user's.
func beExpendable() {
	const file = "/proc/self/oom_score_adj"
	var now int
	text, err := os.ReadFile(file)
	if _, e := fmt.Sscan(string(text), &now); err == nil && e == nil && now < oomScore {
		os.WriteFile(file, fmt.Append(nil, oomScore), 0) // best effort
	}
}

// namespaces enters those that the process was not started in.
func (c *change) namespaces() error {
	c.mounts, c.netns = c.OwnMounts, c.OwnNetwork
	if !c.mounts {
		err := unix.Unshare(unix.CLONE_NEWNS)
		c.mounts = err == nil
	}
	if c.NetworkOff && !c.netns {
		err := unix.Unshare(unix.CLONE_NEWNET)
		c.netns = err == nil
	}
	c.ipc = unix.Unshare(unix.CLONE_NEWIPC) == nil // else seccomp refuses what is in it
	if c.mounts {
		// What is mounted later is seen, what we mount is not seen elsewhere.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			if !isRefused(err) {
				return fmt.Errorf("own mounts: %w", err)
			}
			c.mounts = false
		}
	}
	return nil
}

// identity changes root directory, user and group, and gives up capabilities.
func (c *change) identity() error {
	if c.Chroot != "" {
		if err := unix.Chroot(c.Chroot); err != nil {
			return fmt.Errorf("chroot %s: %w", c.Chroot, err)
		}
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if c.KeepCaps {
		return nil
	}
	// The bounding set first, which needs a capability itself. It is denied to
	// ordinary users, who have none.
	for n := uintptr(0); n <= unix.CAP_LAST_CAP; n++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, n, 0, 0, 0); err == unix.EPERM {
			break
		}
	}
	if c.ChangeIDs {
		if err := c.changeIDs(); err != nil {
			return err
		}
	}
	unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) // none since Linux 4.3
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// changeIDs does for this thread alone what package syscall does for all.
func (c *change) changeIDs() error {
	groups := []uint32{uint32(c.GID)}
	for _, g := range c.Groups {
		if g != c.GID {
			groups = append(groups, uint32(g))
		}
	}
	if err := setgroups(groups); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESGID, uintptr(c.GID), uintptr(c.GID), uintptr(c.GID)); e != 0 {
		return fmt.Errorf("setresgid %d: %w", c.GID, e)
	}
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(c.UID), uintptr(c.UID), uintptr(c.UID)); e != 0 {
		return fmt.Errorf("setresuid %d: %w", c.UID, e)
	}
	return nil
}

// How many processes and threads a filter has at once if nobody says, and how
// many all of its user together, where that is another one than the server's:
// to count what runs takes longer than all the rest of a start. A server that
// cannot start a thread any more ends, and there are so many in a machine, or
// for the user that both may be.
const (
	defaultProcesses     = 1024
	defaultUserProcesses = 8192
)

// processLimit gives RLIMIT_NPROC. The system counts the tasks of a user, in a
// user namespace those in it; elsewhere others of the same user count, too.
func (c *change) processLimit() uint64 {
	n, given := uint64(c.Processes), c.Processes > 0
	most := unix.Rlimit{Cur: unix.RLIM_INFINITY}
	unix.Getrlimit(unix.RLIMIT_NPROC, &most)
	if !given {
		n = min(defaultProcesses, most.Cur/2) // the rest is ours, if it is our user
	}
	switch {
	case c.OwnMounts: // came with a user namespace
		return n
	case c.UID == 0 && given:
		c.note("limit processes does not bind root")
		return 0
	case c.UID == 0:
		return 0
	case c.ChangeIDs && !given:
		return min(defaultUserProcesses, most.Cur)
	}
	n += uint64(tasksOf(c.UID, os.Getpid()))
	if !given {
		n = min(n, most.Cur)
	}
	return n
}

// tasksOf counts processes and threads of a user, without those of process but.
func tasksOf(uid, but int) int {
	n := 0
	for _, p := range processes() {
		if p.pid == but {
			continue
		}
		st, err := readStatus(p.pid)
		if err == nil && st.uid() == uid {
			n += st.number("Threads")
		}
	}
	return n
}

// limits sets what limit says.
func (c *change) limits() error {
	for _, l := range [...]struct {
		what     string
		resource int
		n        uint64
		set      bool
	}{
		{"core", unix.RLIMIT_CORE, 0, true}, // a core has mail in it
		{"memory", unix.RLIMIT_DATA, uint64(c.Memory), c.Memory > 0},
		{"cpu", unix.RLIMIT_CPU, uint64(c.CPU), c.CPU > 0},
		{"files", unix.RLIMIT_NOFILE, uint64(c.Files), c.Files > 0},
		{"processes", unix.RLIMIT_NPROC, c.processes, c.processes > 0},
	} {
		if !l.set {
			continue
		}
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: l.n, Max: l.n}); err != nil {
			return fmt.Errorf("limit %s %d: %w", l.what, l.n, err)
		}
	}
	return nil
}

// closeAll makes all descriptors above standard error go with the exec.
func (c *change) closeAll() error {
	err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	names, err := os.ReadDir("/proc/self/fd") // Linux before 5.11
	if err != nil {
		return fmt.Errorf("open descriptors: %w", err)
	}
	for _, f := range names {
		var fd int
		if _, err := fmt.Sscan(f.Name(), &fd); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// setgroups is setgroups(2) for the calling thread.
func setgroups(groups []uint32) error {
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
		return e
	}
	return nil
}
