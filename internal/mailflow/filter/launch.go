package filter

import (
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/config"
)

// Launcher starts the processes of filters with the rights that they are to
// have. It is safe for concurrent use.
type Launcher interface {
	// Start runs argv for c, with stdio as its standard input, output and
	// error, and returns when the program runs or could not be started. The
	// process leads a session and a process group of its own, and may die when
	// the calling thread ends: that is locked for as long as the process lives,
	// and not unlocked after it.
	Start(c *config.Proc, argv []string, stdio [3]*os.File) (Process, error)

	// Hidden gives what the processes of c do not get to see because of the
	// rest of the configuration, sorted. A reload in which it changes starts
	// them anew.
	Hidden(c *config.Proc) []string
}

// Process is a filter's program that runs.
type Process interface {
	PID() int

	// Signal sends s to the process group, unless the program has ended.
	Signal(s syscall.Signal)

	// Wait waits for the program's end, ends what it has left behind, and gives
	// in words how the program ended. It is called once, by the goroutine that
	// called Start.
	Wait() string
}

// Child gives the Process of a command that was started, a child of ours. When
// the program has ended, and before it is waited for, end kills what it has
// left behind: until then the id of its session is its own for sure.
func Child(cmd *exec.Cmd, end func(pid int)) Process { return &child{cmd: cmd, end: end} }

type child struct {
	cmd  *exec.Cmd
	end  func(pid int)
	mu   sync.Mutex // no signal is sent after gone is set
	gone bool
}

func (c *child) PID() int { return c.cmd.Process.Pid }

func (c *child) Signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		syscall.Kill(-c.PID(), s)
	}
}

func (c *child) Wait() string {
	for unix.Waitid(unix.P_PID, c.PID(), nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	c.end(c.PID())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cmd.Wait()
	c.gone = true
	return c.cmd.ProcessState.String()
}

// plain starts filters with all the rights of our own process, for hosts whose
// filters are trusted. It honours no user, group, chroot or sandbox.
type plain struct{}

func (plain) Start(_ *config.Proc, argv []string, stdio [3]*os.File) (Process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdio[0], stdio[1], stdio[2]
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	return Child(cmd, func(pid int) { syscall.Kill(-pid, syscall.SIGKILL) }), cmd.Start()
}

func (plain) Hidden(*config.Proc) []string { return nil }
