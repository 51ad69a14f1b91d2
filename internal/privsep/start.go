package privsep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/config"
)

// startTimeout bounds the time from fork to the filter's program.
const startTimeout = 20 * time.Second

// Start runs argv as a process of c, with stdio as its standard input, output
// and error, and returns when it runs the program, or cannot. The process is
// the leader of a session and a process group of its own, and is killed when
// the thread that called Start ends: that must be kept until it has ended.
// After its end, and before it is waited for, that thread calls End. It is of
// no use for anything else then: the caller locks it and never unlocks it.
func (l *Launcher) Start(c *config.Proc, argv []string, stdio [3]*os.File) (*exec.Cmd, error) {
	sp, notes, err := l.spec(c, argv)
	if err != nil {
		return nil, err
	}
	scope := 0
	if enterScope() {
		scope = unix.Gettid()
	}
	cmd, rep, err := l.start(sp, stdio)
	if err != nil {
		return nil, err
	}
	notes = append(notes, rep.Notes...)
	l.note(c.Name, notes)
	l.mu.Lock()
	p := l.running[cmd.Process.Pid]
	p.notes, p.abi, p.scope = notes, rep.Landlock, scope
	l.mu.Unlock()
	return cmd, nil
}

// start starts the process that sp is for. As an ordinary user it gets a user
// namespace, in which it may make the other ones.
func (l *Launcher) start(sp *spec, stdio [3]*os.File) (*exec.Cmd, reply, error) {
	if !called {
		return nil, reply{}, errors.New("this program cannot start filters: it does not call privsep.Main")
	}
	l.mu.Lock()
	userNS := os.Geteuid() != 0 && !l.noUserNS
	l.mu.Unlock()
	if userNS {
		sp.OwnMounts, sp.OwnNetwork = true, sp.NetworkOff
		cmd, rep, err := l.launch(sp, stdio, userNamespace(sp.NetworkOff))
		if err == nil || !isRefused(err) {
			return cmd, rep, err
		}
		l.mu.Lock()
		l.noUserNS = true
		l.mu.Unlock()
		sp.OwnMounts, sp.OwnNetwork = false, false
	}
	return l.launch(sp, stdio, &syscall.SysProcAttr{})
}

// userNamespace makes a process that may mount and drop rights, over itself
// alone, as the user that it was. What it may do it would lose by exec, which
// ambient capabilities survive; become gives them up.
func userNamespace(network bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP},
	}
	if network {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	return attr
}

// isRefused reports whether err is that of a system without user namespaces,
// or with too many of them.
func isRefused(err error) bool {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSYS, unix.ENOSPC, unix.EUSERS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// launch forks, sends the spec and waits for what becomes of it.
func (l *Launcher) launch(sp *spec, stdio [3]*os.File, attr *syscall.SysProcAttr) (cmd *exec.Cmd, rep reply, err error) {
	tmp, known := l.makeTmp(sp), false
	defer func() {
		if !known {
			removeTmp(tmp)
		}
	}()
	message, err := json.Marshal(sp)
	if err != nil {
		return nil, reply{}, err
	}
	ask, tell, err := os.Pipe()
	if err != nil {
		return nil, reply{}, err
	}
	defer tell.Close()
	hear, answer, err := os.Pipe()
	if err != nil {
		ask.Close()
		return nil, reply{}, err
	}
	defer hear.Close()

	// The link, not the file's name: the file may have been replaced since we
	// were started, and by a program that speaks another version of spec.
	cmd = &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{role, sp.Name}, Dir: "/", Env: []string{"GOGC=off"},
		Stdin: stdio[0], Stdout: stdio[1], Stderr: stdio[2], ExtraFiles: []*os.File{ask, answer},
		SysProcAttr: attr,
	}
	attr.Setsid, attr.Pdeathsig = true, syscall.SIGKILL
	err = cmd.Start()
	ask.Close()
	answer.Close()
	if err != nil {
		return nil, reply{}, err
	}
	known = true
	notes := l.know(cmd.Process.Pid, sp, tmp)
	rep, err = converse(tell, hear, message)
	if err == nil {
		rep.Notes = append(rep.Notes, notes...)
		return cmd, rep, nil
	}
	cmd.Process.Kill()
	l.forget(cmd.Process.Pid)
	if e := cmd.Wait(); rep.Error == "" && e != nil {
		err = fmt.Errorf("%w (%v)", err, e)
	}
	return nil, rep, err
}

// know makes a process known before it runs the filter's program, so that Guard
// and the reaper know it from its first moment.
func (l *Launcher) know(pid int, sp *spec, tmp *os.File) (notes []string) {
	p := &launched{name: sp.Name, spec: sp, tmp: tmp}
	st, err := readStat(pid)
	p.start = st.start
	l.mu.Lock()
	l.running[pid] = p
	l.mu.Unlock()
	if sp.Probe {
		return nil
	}
	if err == nil {
		err = l.entrust(pid)
	}
	if err != nil {
		notes = append(notes, fmt.Sprintf("what filters have started is not ended when the server is killed: %v", err))
	}
	return notes
}

// converse sends the spec and reads the reply. The pipe's end is the program's
// beginning.
func converse(tell, hear *os.File, message []byte) (rep reply, err error) {
	deadline := time.Now().Add(startTimeout)
	tell.SetWriteDeadline(deadline)
	hear.SetReadDeadline(deadline)
	if _, err = tell.Write(message); err == nil {
		err = tell.Close()
	}
	if err != nil {
		return rep, fmt.Errorf("cannot tell it what to do: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(hear, maxSpec))
	if err != nil {
		return rep, fmt.Errorf("not started within %v: %w", startTimeout, err)
	}
	// Two at most: what could not be done, and the error after that.
	for rest := text; len(rest) > 0 && rep.Error == ""; {
		i := 0
		for i < len(rest) && rest[i] != '\n' {
			i++
		}
		if err := json.Unmarshal(rest[:i], &rep); err != nil {
			return rep, fmt.Errorf("strange reply %.100q: %w", rest[:i], err)
		}
		rest = rest[min(i+1, len(rest)):]
	}
	switch {
	case rep.Error != "":
		return rep, errors.New(rep.Error)
	case len(text) == 0:
		return rep, errors.New("it ended before it had done anything")
	}
	return rep, nil
}

// Check goes through the start of each filter but for its program, and tells
// what would be refused or could not be done, in lines that begin with the
// place in the configuration. It holds for the user who calls it.
func (l *Launcher) Check() []string {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return []string{err.Error()}
	}
	defer null.Close()
	runtime.LockOSThread() // the processes end with it
	defer runtime.UnlockOSThread()
	var lines []string
	for _, c := range l.procs {
		notes, err := l.check(c, [3]*os.File{null, null, null})
		if err != nil {
			notes = append(notes, "would not start: "+err.Error())
		}
		for _, n := range notes {
			lines = append(lines, fmt.Sprintf("%v: filter %q: %s", c.Pos, c.Name, n))
		}
	}
	return lines
}

func (l *Launcher) check(c *config.Proc, stdio [3]*os.File) ([]string, error) {
	argv := []string{"/bin/sh", "-c", c.Command}
	if c.Command == "" {
		argv = []string{"/bin/sh", c.Python + c.Perl} // in the bridge's place
	}
	sp, notes, err := l.spec(c, argv)
	if err != nil {
		return nil, err
	}
	sp.Probe = true
	cmd, rep, err := l.start(sp, stdio)
	if err != nil {
		return notes, err
	}
	pid := cmd.Process.Pid
	if err := cmd.Wait(); err != nil {
		return notes, err
	}
	l.forget(pid)
	return append(notes, rep.Notes...), nil
}

// endLimit bounds the hunt for the processes of a session.
const endLimit = 5 * time.Second

// End kills what the process pid, which has ended and was not waited for, has
// left behind: all of its session. Since pid is still taken, the session is not
// somebody else's.
func (l *Launcher) End(pid int) {
	l.mu.Lock()
	p := l.running[pid]
	l.mu.Unlock()
	scoped := p != nil && p.scope != 0 && p.scope == unix.Gettid()
	if scoped {
		killScope()
	}
	endSessions(map[int]uint64{pid: 0}, scoped, endLimit)
	l.forget(pid)
}

func (l *Launcher) forget(pid int) {
	l.mu.Lock()
	p := l.running[pid]
	delete(l.running, pid)
	if l.reaper != nil {
		l.reaper.say(fmt.Sprintf("-%d\n", pid))
	}
	l.mu.Unlock()
	if p != nil {
		removeTmp(p.tmp)
	}
}
