package privsep

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// stat is what /proc/PID/stat tells of a process.
type stat struct {
	pid, parent, group, session int
	state                       byte
	threads                     int
	start                       uint64 // when, in ticks since the system was; with pid, no other process has it
}

// over reports whether the process has ended. One that seems to, since its first
// thread has, lives on in the others.
func (s *stat) over() bool { return (s.state == 'Z' || s.state == 'X') && s.threads <= 1 }

// processes lists what runs; those that end meanwhile are left out.
func processes() []stat {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var all []stat
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if st, err := readStat(pid); err == nil {
			all = append(all, st)
		}
	}
	return all
}

var errNoStat = errors.New("/proc/PID/stat is not as expected")

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(pid, text)
}

// The places of the number of threads and of the start time behind NAME in
// /proc/PID/stat.
const (
	threadsField = 17
	startField   = 19
)

// parseStat reads "PID (NAME) STATE PARENT GROUP SESSION ...", where NAME is
// whatever the process likes.
func parseStat(pid int, text []byte) (stat, error) {
	i := bytes.LastIndexByte(text, ')')
	fields := bytes.Fields(text[i+1:])
	if i < 0 || len(fields) <= startField || len(fields[0]) != 1 || fields[0][0] < 'A' {
		return stat{}, errNoStat
	}
	st := stat{pid: pid, state: fields[0][0]}
	for j, n := range []*int{&st.parent, &st.group, &st.session} {
		var err error
		if *n, err = strconv.Atoi(string(fields[j+1])); err != nil {
			return stat{}, errNoStat
		}
	}
	var err error
	if st.threads, err = strconv.Atoi(string(fields[threadsField])); err != nil {
		return stat{}, errNoStat
	}
	if st.start, err = strconv.ParseUint(string(fields[startField]), 10, 64); err != nil {
		return stat{}, errNoStat
	}
	return st, nil
}

// Guard gives a listener on a unix socket that hangs up on filters, which
// share the server's user if it is not root.
func (l *Launcher) Guard(ln net.Listener) net.Listener { return Guard(ln, l.log, l.FilterOf) }

// Guard is the guard of a process that has filterOf tell whether a process is
// one of a filter, and of which; "" is of none.
func Guard(ln net.Listener, log *slog.Logger, filterOf func(pid int) (string, error)) net.Listener {
	return &guard{ln, log, filterOf, rate.Sometimes{First: guardLines, Interval: time.Minute}}
}

type guard struct {
	net.Listener
	log      *slog.Logger
	filterOf func(pid int) (string, error)
	told     rate.Sometimes
}

// guardLines are told of filters that call; later ones once a minute.
const guardLines = 10

// Accept waits for a caller that is no filter.
func (g *guard) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		name, err := g.caller(c)
		if err == nil && name == "" {
			return c, nil
		}
		c.Close()
		if name != "" {
			g.told.Do(func() { g.log.Warn("a filter tried the control socket", "filter", name) })
		}
	}
}

// caller gives the name of the filter that c's other end belongs to, "" if to
// none. The process that connected must still be there.
func (g *guard) caller(c net.Conn) (string, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return "", nil
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return "", err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return "", err
	}
	if credErr != nil {
		return "", credErr
	}
	return g.filterOf(int(cred.Pid))
}

// FilterOf gives the name of the filter that a process belongs to, "" if to
// none. The process must still be there.
func (l *Launcher) FilterOf(pid int) (string, error) {
	sid, err := unix.Getsid(pid)
	if err != nil {
		return "", fs.ErrNotExist
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.running[sid]; p != nil {
		return p.name, nil
	}
	return "", nil
}
