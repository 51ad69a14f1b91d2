package delivery

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asUser calls f with the rights of u, in a goroutine of its own, and waits
// for it. Without root, or for root itself, it just calls f.
//
// Linux keeps credentials for each thread; that all threads of a process have
// the same is a habit of the C library, which raw system calls do not share.
// So one thread, locked to one goroutine, takes the groups and the effective
// ids of the user (the file system ids follow), and the others stay root.
//
// Why this is safe:
//   - The effective ids, not only those for files: with a user's effective id
//     a thread has no effective capabilities, so that neither permissions nor
//     quotas nor reserved blocks are passed by.
//   - Real and saved ids stay root's: the user's other processes can neither
//     signal nor trace the thread, and going back always is permitted.
//   - The runtime does not clone new threads from a locked one; it has a
//     template thread for that. No other goroutine runs on it meanwhile.
//   - If going back fails the goroutine ends without unlocking: the runtime
//     then ends the thread instead of using it again.
//   - f starts no process, opens nothing that is not the user's, and f does
//     not read the message: how the queue gets at it is not the user's affair.
//
// Isolation will move deliveries into a process that the privileged parent
// starts as the user; this file goes then.
func (a *Agent) asUser(u *account, f func() error) error {
	if !a.root || u.uid == 0 {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		finished := false
		var err error
		defer func() {
			if !finished {
				// f panicked. The thread's ids are not known to be
				// root's again: it ends with this goroutine.
				err = fmt.Errorf("internal error during a delivery as user %s: %v", u.name, recover())
			}
			done <- err
		}()
		saved, serr := takeRights(u)
		if serr == nil {
			serr = f()
		}
		rerr := saved.restore()
		err, finished = serr, true
		if rerr == nil {
			runtime.UnlockOSThread()
		} else {
			a.log.Error("cannot take root's rights back; a thread ends", "user", u.name, "err", rerr)
		}
	}()
	return <-done
}

// rights are what restore goes back to.
type rights struct {
	egid   int
	groups []uint32
}

// keep is the argument of setresuid(2) that leaves an id as it is.
const keep = ^uintptr(0)

// takeRights gives the calling thread, which is root's, the rights of u. What
// it gives must be restored even if it failed half-way.
func takeRights(u *account) (rights, error) {
	saved := rights{egid: unix.Getegid()}
	groups, err := unix.Getgroups()
	if err != nil {
		return saved, fmt.Errorf("getgroups: %w", err)
	}
	for _, g := range groups {
		saved.groups = append(saved.groups, uint32(g))
	}
	// The user id last: without root the others could not be changed.
	if err := setGroups(u.groups); err != nil {
		return saved, fmt.Errorf("take the groups of user %s: %w", u.name, err)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, keep, uintptr(u.gid), keep); e != 0 {
		return saved, fmt.Errorf("take group %d of user %s: %w", u.gid, u.name, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(u.uid), keep); e != 0 {
		return saved, fmt.Errorf("take the rights of user %s: %w", u.name, e)
	}
	return saved, nil
}

// restore makes the calling thread root's again.
func (r rights) restore() error {
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, keep, 0, keep); e != 0 {
		return fmt.Errorf("setresuid: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, keep, uintptr(r.egid), keep); e != 0 {
		return fmt.Errorf("setresgid: %w", e)
	}
	if err := setGroups(r.groups); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	return nil
}

// setGroups is setgroups(2) for the calling thread alone; unix.Setgroups would
// change all threads.
func setGroups(groups []uint32) error {
	var p unsafe.Pointer
	if len(groups) > 0 {
		p = unsafe.Pointer(&groups[0])
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(p), 0); e != 0 {
		return e
	}
	return nil
}
