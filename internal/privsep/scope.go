package privsep

import (
	"os"

	"github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// enterScope keeps the signals of the calling thread, for good, to processes
// that it starts from now on and what they start. The thread that starts a
// filter does that to itself, so that it can end all of the filter at once,
// whatever groups and sessions its processes are in: see killScope. It reports
// whether that is so.
func enterScope() bool {
	abi, err := syscall.LandlockGetABIVersion()
	if err != nil || abi < abiScopes {
		return false
	}
	set, err := syscall.LandlockCreateRuleset(&syscall.RulesetAttr{Scoped: syscall.ScopeSignal}, 0)
	if err != nil {
		return false
	}
	defer unix.Close(set)
	if os.Geteuid() != 0 && unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != nil {
		return false // needs that or a capability
	}
	if syscall.LandlockRestrictSelf(set, 0) != nil {
		return false
	}
	// Seeing is better than trusting, before everybody is sent a signal.
	parent := os.Getppid()
	return parent == 0 || unix.Kill(parent, 0) == unix.EPERM
}

// killScope kills what the calling thread may signal besides its own process,
// which in a scope is what was started from it. No process can be between two
// of the kernel's looks: each is seen, or is not forked any more.
func killScope() { unix.Kill(-1, unix.SIGKILL) }
