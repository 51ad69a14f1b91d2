package privsep

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// endSessions kills all processes of the sessions, which are its keys.
//
// A process can leave its group, but not its session: seccomp sees to that.
// One signal to a group leaves no time to fork, so each round ends all groups
// that it finds, and a session that has n groups is gone after a few. What is
// faster than that is followed, unless it is known to be dead.
func endSessions(sessions map[int]uint64, dead bool, limit time.Duration) {
	for sid := range sessions {
		unix.Kill(-sid, unix.SIGKILL)
	}
	h := hunt{sessions: sessions}
	for end := time.Now().Add(limit); ; {
		before := newestProcess()
		found := false
		for _, p := range processes() {
			if _, ok := sessions[p.session]; !ok || p.over() || p.group <= 1 {
				continue
			}
			found = true
			unix.Kill(-p.group, unix.SIGKILL) // the groups of a session are its own
		}
		found = !dead && h.follow(before) || found
		if !found || time.Now().After(end) {
			return
		}
		time.Sleep(time.Millisecond) // nothing tells when another's child has ended
	}
}

// hunt follows processes that fork and end faster than /proc can be read: each
// lives for some microseconds, in a group of its own, and its child is another.
// But their numbers are given out in order.
type hunt struct{ sessions map[int]uint64 }

const (
	huntLooks = 300 // in vain, at the newest numbers, before nobody is there; some milliseconds
	huntBack  = 64  // numbers before the newest that are looked at again
	huntAhead = 8   // and after it
)

// follow looks at the processes that came after the one that was the newest,
// for as long as there are new ones and one of the sessions may be among them.
// It reports whether one was.
func (h *hunt) follow(from int) (found bool) {
	for looks := 0; looks < huntLooks; looks++ {
		newest := newestProcess()
		if newest == from && looks == 0 || newest == 0 {
			return false // nothing was forked meanwhile
		}
		if from > newest || from < newest-1<<10 {
			from = newest - huntBack // they begin anew, or are too many
		}
		for pid := max(from-huntBack, 2); pid <= newest+huntAhead; pid++ {
			if h.kill(pid) {
				found, looks = true, 0
			}
		}
		from = newest
	}
	return found
}

// kill kills the group of the process pid if it is one of the sessions. It
// reports whether it was, and lived.
func (h *hunt) kill(pid int) bool {
	sid, err := unix.Getsid(pid)
	if _, ok := h.sessions[sid]; err != nil || !ok {
		return false
	}
	group, err := unix.Getpgid(pid)
	if err != nil || group <= 1 {
		return false
	}
	unix.Kill(-group, unix.SIGKILL)
	st, err := readStat(pid)
	return err != nil || !st.over()
}

// newestProcess gives the process id, or that of a thread, that was given out
// last, 0 if that cannot be known.
func newestProcess() int {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(text[bytes.LastIndexByte(text, ' ')+1:])))
	if err != nil {
		return 0
	}
	return n
}
