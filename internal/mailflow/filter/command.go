package filter

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
)

// pipeSize is the size asked for each pipe, in bytes; the kernel may refuse.
const pipeSize = 1 << 20

// DefaultLibexecDirs are searched for commands without a path.
var DefaultLibexecDirs = []string{
	"/usr/local/libexec/weir", "/usr/libexec/weir", "/usr/lib/weir",
	"/usr/local/libexec/smtpd", "/usr/libexec/smtpd",
	"/usr/local/libexec/opensmtpd", "/usr/libexec/opensmtpd",
	"/usr/local/lib/opensmtpd", "/usr/lib/opensmtpd",
	"/usr/lib/x86_64-linux-gnu/opensmtpd", "/usr/lib/aarch64-linux-gnu/opensmtpd",
}

// Resolve gives command with its first word made an absolute path: as it is
// if it is one, else the first executable file of that name in dirs, then
// beside our own program.
func Resolve(command string, dirs []string) (string, error) {
	word, rest := strings.TrimSpace(command), ""
	if i := strings.IndexAny(word, " \t"); i >= 0 {
		word, rest = word[:i], strings.TrimSpace(word[i:])
	}
	if word == "" {
		return "", errors.New("the command is empty")
	}
	if filepath.IsAbs(word) {
		return command, nil
	}
	if self, err := os.Executable(); err == nil {
		dirs = append(dirs[:len(dirs):len(dirs)], filepath.Dir(self))
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, word)
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			path = "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
			return strings.TrimSpace(path + " " + rest), nil
		}
	}
	return "", fmt.Errorf("no executable %q in %s: install it there or give its absolute path",
		word, strings.Join(dirs, ", "))
}

// Programs says where the programs of filters are.
type Programs struct {
	// LibexecDirs are searched for commands without a path, before the
	// directory of our own program; DefaultLibexecDirs by default.
	LibexecDirs []string

	// PythonBridge and PerlBridge are the programs filter-python and
	// filter-perl; without one, filters of its kind do not start.
	PythonBridge string
	PerlBridge   string
}

// Argv gives the program of a filter and its arguments.
func (p *Programs) Argv(c *config.Proc) ([]string, error) {
	dirs := p.LibexecDirs
	if dirs == nil {
		dirs = DefaultLibexecDirs
	}
	switch {
	case c.Python != "":
		return bridge(p.PythonBridge, "filter-python", c.Python)
	case c.Perl != "":
		return bridge(p.PerlBridge, "filter-perl", c.Perl)
	}
	command, err := Resolve(c.Command, dirs)
	if err != nil {
		return nil, err
	}
	return []string{"/bin/sh", "-c", "exec " + command}, nil
}

// Check tells why the program of a filter would not be found. What only a shell
// could tell of a command it does not try.
func (p *Programs) Check(c *config.Proc) error {
	argv, err := p.Argv(c)
	if err != nil || c.Chroot != "" {
		return err
	}
	path, mode := c.Python+c.Perl, fs.FileMode(0)
	if path == "" {
		path, _, _ = strings.Cut(strings.TrimPrefix(argv[len(argv)-1], "exec "), " ")
		mode = 0o111
	}
	if mode != 0 && strings.ContainsFunc(path, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._+-@:,", r)
	}) {
		return nil
	}
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case fi.IsDir() || mode != 0 && fi.Mode()&mode == 0:
		return fmt.Errorf("%s is not executable", path)
	}
	return nil
}

func (h *Host) programs() *Programs {
	return &Programs{LibexecDirs: h.opt.LibexecDirs, PythonBridge: h.opt.PythonBridge, PerlBridge: h.opt.PerlBridge}
}

func bridge(path, name, script string) ([]string, error) {
	if path == "" {
		return nil, fmt.Errorf("%s is not installed: it is needed to run %s", name, script)
	}
	return []string{path, script}, nil
}

// start runs the filter's program and its reader.
func (w *worker) start() (*process, error) {
	var argv []string
	if !w.h.opt.Elsewhere {
		var err error
		if argv, err = w.h.programs().Argv(w.proc.conf); err != nil {
			return nil, err
		}
	}
	var pp pipes
	if err := pp.open(); err != nil {
		pp.close()
		return nil, err
	}
	p := &process{
		w: w, stdout: pp.ours[1], stderr: pp.ours[2], seats: make(map[mail.SessionID]*seat),
		ready: make(chan struct{}), over: make(chan struct{}), exited: make(chan struct{}), writing: make(chan struct{}, maxWriting),
	}
	var key [8]byte
	rand.Read(key[:])
	p.base = binary.BigEndian.Uint64(key[:]) &^ 1
	err := p.exec(argv, pp.child)
	pp.closeChild()
	if err != nil {
		pp.close()
		return nil, fmt.Errorf("cannot start: %w", err)
	}
	p.stdin, err = newWriter(pp.ours[0], p.inputLost)
	if err != nil { // the descriptor is no pipe of ours: cannot be
		pp.close()
		p.run.Signal(syscall.SIGKILL)
		<-p.exited
		return nil, err
	}
	go w.logStderr(pp.ours[2])
	go (&reader{p: p}).run()
	p.stdin.put(w.proc.greeting, patience{limit: w.proc.policy.timeout})
	return p, nil
}

// exec starts the program and watches it. A child dies with the thread that
// started it, so one thread is kept for the child's life; it would be taken by
// waiting anyway. It is not used again: what a launcher has done to it is
// nobody else's.
func (p *process) exec(argv []string, stdio [3]*os.File) error {
	launcher, release, err := p.w.h.launcherFor(p.w.proc)
	if err != nil {
		return err
	}
	defer release()
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		run, err := launcher.Start(p.w.proc.conf, argv, stdio)
		if err != nil {
			started <- err
			return
		}
		p.run, p.pid = run, run.PID()
		started <- nil
		p.status = run.Wait()
		close(p.exited)
		p.stdout.SetReadDeadline(time.Now()) // the reader is to find the end of it
		p.expectEnd()
	}()
	return <-started
}

// pipes are standard input, output and error of a filter.
type pipes struct{ ours, child [3]*os.File }

// open makes the pipes. Only our ends are non-blocking: filters expect plain
// pipes, which os.Pipe does not make.
func (pp *pipes) open() error {
	for i := range 3 {
		var fd [2]int
		if err := unix.Pipe2(fd[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("cannot make a pipe: %w", err)
		}
		our, child := fd[0], fd[1]
		if i == 0 {
			our, child = child, our
		}
		if i < 2 {
			unix.FcntlInt(uintptr(our), unix.F_SETPIPE_SZ, pipeSize) // as large as we may
		}
		err := unix.SetNonblock(our, true)
		pp.ours[i] = os.NewFile(uintptr(our), "filter pipe")
		pp.child[i] = os.NewFile(uintptr(child), "filter pipe")
		if err != nil {
			return err
		}
	}
	return nil
}

func (pp *pipes) closeChild() {
	for _, f := range pp.child {
		if f != nil {
			f.Close()
		}
	}
}

func (pp *pipes) close() {
	pp.closeChild()
	for _, f := range pp.ours {
		if f != nil {
			f.Close()
		}
	}
}
