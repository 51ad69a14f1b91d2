package privsep

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// reaperRole is the process that outlives a server to end what its filters
// leave behind: they die with the server, but their children would not know.
// One is enough for all filters. It reads from a pipe which sessions there are,
// and the end of the pipe is the end of the server, however that came.
const reaperRole = "weir: reaper"

const (
	reapLimit   = time.Minute     // for what does not die, a disk that hangs or so
	reaperPause = time.Second     // before another one is started
	tellTimeout = 5 * time.Second // for a reaper that does not read
	closeLimit  = 2 * time.Second // for one that does not end
)

// reaper is the server's side of it.
type reaper struct {
	*Running
	tell *os.File
}

// entrust has the reaper know of a filter's process, which has not run anything
// of the filter's yet. The process must be in l.running.
func (l *Launcher) entrust(pid int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reaper == nil {
		return l.startReaper()
	}
	return l.reaper.say(l.running[pid].entry(pid))
}

// entry is the line that tells the reaper of a process.
func (p *launched) entry(pid int) string { return fmt.Sprintf("+%d %d\n", pid, p.start) }

// startReaper starts a reaper and tells it of all that runs; l.mu is held.
func (s *state) startReaper() error {
	hear, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer hear.Close()
	c := Child{
		Role: reaperRole, Files: []*os.File{hear}, Env: []string{"GOMAXPROCS=1", "GOGC=off"},
		Identity: Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())},
		Confined: true, Reaps: true, Read: []string{"/proc"},
	}
	// What fits into the pipe it finds there, should we be killed meanwhile.
	next := &reaper{tell: tell}
	var rest strings.Builder
	said := 0
	for pid, p := range s.running {
		line := p.entry(pid)
		if said += len(line); said > pipeRoom || next.say(line) != nil {
			rest.WriteString(line)
		}
	}
	if next.Running, err = c.Start(); err != nil {
		tell.Close()
		return err
	}
	s.reaper = next
	go s.mourn(next)
	return next.say(rest.String())
}

// pipeRoom is what a pipe takes for sure, in bytes.
const pipeRoom = 4096

// say writes lines to the reaper; l.mu is held.
func (r *reaper) say(lines string) error {
	r.tell.SetWriteDeadline(time.Now().Add(tellTimeout))
	_, err := r.tell.WriteString(lines)
	return err
}

// mourn sees to another reaper when one has ended, which it does not by itself.
func (s *state) mourn(r *reaper) {
	<-r.Done
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return
	}
	time.Sleep(reaperPause)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.tell.Close()
	s.reaper = nil
	if len(s.running) > 0 && !s.closed {
		s.startReaper() // else, or if that fails, with the next filter
	}
}

// Close ends the Launchers of all configurations, when the processes that they
// have started have ended. No more are started.
func (l *Launcher) Close() {
	l.mu.Lock()
	r := l.reaper
	l.closed, l.reaper = true, nil
	if r != nil {
		r.tell.Close()
	}
	l.mu.Unlock()
	if r == nil {
		return
	}
	select {
	case <-r.Done:
	case <-time.After(closeLimit):
		r.Signal(syscall.SIGKILL)
	}
}

// reaps is the reaper.
func reaps() error {
	// Who ends the server by a signal to all of its processes lets it end first.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	if err := Seal(true); err != nil {
		return err
	}
	left := make(map[int]uint64)
	for in := bufio.NewScanner(os.NewFile(ChannelFD, "server")); in.Scan(); {
		var pid int
		var start uint64
		switch n, _ := fmt.Sscanf(in.Text(), "+%d %d", &pid, &start); {
		case n == 2 && pid > 1:
			left[pid] = start
		case strings.HasPrefix(in.Text(), "-"):
			fmt.Sscanf(in.Text(), "-%d", &pid)
			delete(left, pid)
		} // anything else is a line that the server did not come to the end of
	}
	for pid, start := range left {
		// A number is free for another when the last of its session has ended.
		if st, err := readStat(pid); err == nil && st.start != start {
			delete(left, pid)
		}
	}
	endSessions(left, false, reapLimit)
	syscall.Exit(0) // at once, with nothing that a runtime may do: who reads the server's output reads ours
	return nil
}
