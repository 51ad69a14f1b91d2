package filter

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/weirmail/weir/internal/config"
)

// Launcher starts the processes of filters with the rights that they are to
// have. It is safe for concurrent use.
type Launcher interface {
	// Start runs argv for c, with stdio as its standard input, output and
	// error, and returns when the program runs or could not be started. The
	// process leads a session and a process group of its own, and dies when the
	// calling thread ends: that is kept for as long as the process lives.
	Start(c *config.Proc, argv []string, stdio [3]*os.File) (*exec.Cmd, error)

	// End kills what a process of Start, which has ended and was not waited
	// for, has left behind.
	End(pid int)

	// Hidden gives what the processes of c do not get to see because of the
	// rest of the configuration, sorted. A reload in which it changes starts
	// them anew.
	Hidden(c *config.Proc) []string
}

// plain starts filters with all the rights of our own process, for hosts whose
// filters are trusted. It honours no user, group, chroot or sandbox.
type plain struct{}

func (plain) Start(_ *config.Proc, argv []string, stdio [3]*os.File) (*exec.Cmd, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdio[0], stdio[1], stdio[2]
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	return cmd, cmd.Start()
}

func (plain) End(pid int) { syscall.Kill(-pid, syscall.SIGKILL) }

func (plain) Hidden(*config.Proc) []string { return nil }
