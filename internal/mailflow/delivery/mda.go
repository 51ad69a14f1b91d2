package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	mdaTimeLimit = 5 * time.Minute
	mdaShell     = "/bin/sh"
	// OpenBSD's _PATH_DEFPATH without the window system: what
	// smtpd.conf(5) promises to commands.
	mdaPath = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin:/usr/local/sbin"

	// The exit codes of sysexits(3) that mean "try again" (smtpd.conf(5)).
	exOSErr    = 71
	exTempFail = 75

	maxLastLine = maxText                // bytes of a command's last line that are kept
	outputGrace = 200 * time.Millisecond // for output, after the command has ended
)

var errTimeLimit = errors.New("time limit reached")

// toCommand runs a command that gets the message on its standard input. The
// command is a process group of its own, and has no descriptors but those.
func (a *Agent) toCommand(ctx context.Context, t *attempt, format string) error {
	if a.root && t.run.uid == 0 && !t.run.given {
		// As in the original; "user root" or a userbase says it is meant.
		return failed("5.7.0", "commands are not run as root for user %q; make an alias for it", t.user.name)
	}
	command, err := a.expansion(t).command(format)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.mdaTime, errTimeLimit)
	defer cancel()

	p, err := startMDA(func(dir string) *exec.Cmd {
		cmd := exec.Command(mdaShell, "-c", command)
		cmd.Dir, cmd.Env = dir, a.mdaEnv(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if a.root && t.run.uid != uint32(os.Geteuid()) {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: t.run.uid, Gid: t.run.gid, Groups: t.run.groups}
		}
		return cmd
	}, t.run.home)
	if err != nil {
		return deferred("4.3.0", "cannot start the command: %w", err)
	}
	stop := context.AfterFunc(ctx, p.kill)
	feedErr := p.feed(t)
	waitErr := p.cmd.Wait()
	stop()
	return mdaResult(context.Cause(ctx), waitErr, feedErr, p.lastLine())
}

// mdaEnv is the environment of smtpd.conf(5), MDA COMMANDS, and nothing else.
func (a *Agent) mdaEnv(t *attempt) []string {
	m, e := t.job.Message, t.env
	env := []string{
		"PATH=" + mdaPath,
		"SHELL=" + mdaShell,
		"HOME=" + t.run.home,
		"LOGNAME=" + envValue(t.user.name),
		"USER=" + envValue(t.user.name),
		"LOCAL=" + envValue(e.Rcpt.Local),
		"DOMAIN=" + envValue(e.Rcpt.Domain),
		"ORIGINAL_RECIPIENT=" + envValue(e.Rcpt.String()),
		"RECIPIENT=" + envValue(e.Dest.String()),
		"SENDER=" + envValue(m.Sender.String()),
	}
	if ext := a.extension(t); ext != "" {
		env = append(env, "EXTENSION="+envValue(ext))
	}
	return env
}

// envValue replaces what could act on a shell that the value is handed to a
// second time. An apostrophe stays: names have it.
func envValue(s string) string {
	return mapBytes(s, func(c byte) byte {
		if c < ' ' || c == 0x7f || strings.IndexByte("\"$&();<>\\`|", c) >= 0 {
			return ':'
		}
		return c
	})
}

// process is a command that runs.
type process struct {
	cmd   *exec.Cmd
	stdin *os.File
	said  *os.File    // what it writes
	line  chan string // its last line, once it writes no more
}

// startMDA starts the command in dir, or in "/" if dir cannot be entered with
// the user's rights.
func startMDA(command func(dir string) *exec.Cmd, dir string) (*process, error) {
	stdin, feed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	said, output, err := os.Pipe()
	if err != nil {
		feed.Close()
		return nil, err
	}
	defer output.Close()
	p := &process{stdin: feed, said: said, line: make(chan string, 1)}
	for _, dir := range []string{dir, "/"} {
		p.cmd = command(dir)
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, output, output
		if err = p.cmd.Start(); err == nil {
			go func() { p.line <- lastLine(said); said.Close() }()
			return p, nil
		}
	}
	feed.Close()
	said.Close()
	return nil, err
}

// kill ends the command and all that it started in its session.
func (p *process) kill() { syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }

// feed writes the message to the command and closes its standard input. The
// error is the message's if that cannot be read, EPIPE if the command did not
// want the rest.
func (p *process) feed(t *attempt) error {
	defer p.stdin.Close()
	parts := deliveryHeader(t.job.Message, t.env)
	for last := false; !last; {
		chunk, end, err := t.body.next()
		if err != nil {
			p.kill() // half a message must not be delivered
			return err
		}
		last = end
		if parts != nil {
			if _, err := p.stdin.Write(parts); err != nil {
				return err
			}
			parts = nil
		}
		if _, err := p.stdin.Write(chunk); err != nil {
			return err
		}
	}
	if t.body.open {
		_, err := p.stdin.Write([]byte("\n"))
		return err
	}
	return nil
}

// lastLine gives what the command said last, after it has ended. A process
// that it left behind may hold the pipe open; we do not wait for that.
func (p *process) lastLine() string {
	p.said.SetReadDeadline(time.Now().Add(outputGrace))
	return <-p.line
}

// lastLine reads r to its end and gives the last line that is not empty.
func lastLine(r io.Reader) string {
	buf := make([]byte, 4096)
	var line, last []byte
	for {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			switch {
			case c == '\n':
				if len(line) > 0 {
					last = append(last[:0], line...)
				}
				line = line[:0]
			case c != '\r' && len(line) < maxLastLine:
				line = append(line, c)
			}
		}
		if err != nil {
			break
		}
	}
	if len(line) > 0 {
		last = line
	}
	return string(last)
}

// mdaResult says how the attempt ended. ended is why the command was killed,
// if it was; wait is what Wait gave; feed is how writing the message ended.
func mdaResult(ended, wait, feed error, said string) error {
	if said != "" {
		said = fmt.Sprintf(": %q", said)
	}
	var exit *exec.ExitError
	switch {
	case ended != nil && wait != nil:
		return deferred("4.3.0", "command was ended: %w%s", ended, said)
	case wait != nil && !errors.As(wait, &exit):
		return deferred("4.3.0", "cannot wait for the command: %w", wait)
	case wait != nil && exit.ExitCode() < 0:
		var p *problem
		if errors.As(feed, &p) {
			return feed
		}
		return deferred("4.3.0", "command was ended by a signal: %v%s", exit.ProcessState, said)
	case wait != nil && (exit.ExitCode() == exOSErr || exit.ExitCode() == exTempFail):
		return deferred("4.3.0", "command failed for now, exit code %d%s", exit.ExitCode(), said)
	case wait != nil:
		return failed("5.3.0", "command failed, exit code %d%s", exit.ExitCode(), said)
	case feed != nil:
		return deferred("4.3.0", "command ended with success but had not read the whole message")
	}
	return nil
}
