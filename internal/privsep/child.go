package privsep

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// Role is what a process of the server's own program can be started as.
type Role struct {
	Name string // argv[0], as ps shows it
	Run  func() error
}

// play plays the role that the process was started for, if it is one of roles.
func play(roles []Role) {
	for _, r := range roles {
		if os.Args[0] != r.Name {
			continue
		}
		if err := r.Run(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", r.Name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// ChannelFD is the descriptor at which a Child finds the first of its Files.
const ChannelFD = 3

// Identity is a user with the groups.
type Identity struct {
	UID, GID uint32
	Groups   []uint32
}

// Child is a process of the server in a role.
type Child struct {
	Role  string
	Args  []string
	Env   []string
	Files []*os.File // its descriptors from 3 on

	Identity Identity

	// Confined takes away what a change of user leaves: the process gets
	// no_new_privs, an empty bounding set and a Landlock domain with what is in
	// Read and Write besides libraries, and a session of its own.
	Confined bool
	Read     []string
	Write    []string

	// Reaps leaves to a Confined child what it needs to end processes of other
	// users, and to outlive this one.
	Reaps bool
}

// Running is a process that was started.
type Running struct {
	PID   int
	Notes []string      // what could not be taken away
	Done  chan struct{} // closed when it has ended
	State string        // how; once Done is closed

	cmd *exec.Cmd
}

// Start runs the child. A Confined one is killed when this process ends, unless
// it Reaps; others see that from their descriptors.
//
// Rights belong to threads, and children get those of the thread that starts
// them: so the thread takes away from itself what the child is not to have,
// and ends with it. The child has not one instruction with more.
func (c *Child) Start() (*Running, error) {
	type result struct {
		r   *Running
		err error
	}
	started := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		r, err := c.start()
		started <- result{r, err}
		if err != nil {
			return
		}
		r.cmd.Wait()
		r.State = r.cmd.ProcessState.String()
		close(r.Done)
	}()
	res := <-started
	return res.r, res.err
}

func (c *Child) start() (*Running, error) {
	r := &Running{Done: make(chan struct{})}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0) // while that is allowed
	if err != nil {
		return nil, err
	}
	defer null.Close()
	// What whoever started us has left open is nobody's.
	unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
	if c.Confined {
		if err := c.confine(r); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Role, err)
		}
	}
	r.cmd = &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{c.Role}, c.Args...), Dir: "/",
		Env:   append([]string{"PATH=" + os.Getenv("PATH"), "GOMAXPROCS=" + strconv.Itoa(runtime.GOMAXPROCS(0))}, c.Env...),
		Stdin: null, Stdout: null, Stderr: os.Stderr, ExtraFiles: c.Files,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if c.Confined && !c.Reaps {
		r.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if os.Geteuid() == 0 {
		r.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.Identity.UID, Gid: c.Identity.GID, Groups: c.Identity.Groups}
	}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Role, err)
	}
	r.PID = r.cmd.Process.Pid
	return r, nil
}

// Signal sends s, unless the process has ended.
func (r *Running) Signal(s os.Signal) { r.cmd.Process.Signal(s) }

// confine takes rights from the calling thread.
func (c *Child) confine(r *Running) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	for n := uintptr(0); n <= unix.CAP_LAST_CAP; n++ {
		if n == unix.CAP_KILL && c.Reaps {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, n, 0, 0, 0); err == unix.EPERM {
			break
		}
	}
	return c.restrictThread(r)
}

// libraries are what a program needs to be run at all; engineFiles what the
// server's own reads of the system.
var (
	libraries = []string{
		"/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/local/lib",
		"/nix/store", "/gnu/store", "/etc/ld.so.cache", "/etc/ld.so.preload",
	}
	engineFiles = []string{
		"/etc/hosts", "/etc/host.conf", "/etc/gai.conf", "/etc/resolv.conf", "/run/systemd/resolve", "/etc/nsswitch.conf",
		"/etc/services", "/etc/protocols", "/etc/localtime", "/usr/share/zoneinfo", "/etc/ssl/certs", "/usr/share/ca-certificates",
		"/etc/pki/tls/certs", "/etc/pki/ca-trust", "/sys/kernel/mm/transparent_hugepage", "/proc/sys", "/dev/null", "/dev/urandom",
	}
)

// EngineFiles gives the files of the system that an engine reads.
func EngineFiles() []string { return engineFiles }

// restrictThread puts the calling thread into a Landlock domain; go-landlock
// itself can do that for whole processes only.
func (c *Child) restrictThread(r *Running) error {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi <= 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("the kernel has no Landlock, so the process %q is kept from files by its user alone", c.Role))
		return nil
	}
	handled := mayRead | mayExecute | mayChange | mayDevices
	if abi < abiTruncate {
		handled &^= ll.AccessFSTruncate
	}
	if abi < abiRefer {
		handled &^= ll.AccessFSRefer
	}
	attr := ll.RulesetAttr{HandledAccessFS: handled}
	if abi >= abiScopes && !c.Reaps {
		attr.Scoped = ll.ScopeSignal | ll.ScopeAbstractUnixSocket
	}
	set, err := ll.LandlockCreateRuleset(&attr, 0)
	if err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	defer unix.Close(set)
	for _, x := range []struct {
		paths  []string
		access uint64
	}{
		{[]string{"/proc/self/exe"}, mayRead | mayExecute}, {libraries, mayRead | mayExecute},
		{c.Read, mayRead}, {c.Write, mayRead | mayChange},
	} {
		for _, path := range x.paths {
			if err := allow(set, x.access&handled, path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("landlock: %w", err)
			}
		}
	}
	if err := ll.LandlockRestrictSelf(set, 0); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return nil
}
