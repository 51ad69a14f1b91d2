package rehearse

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/filterwire"
)

// What is kept of a filter's standard error, in bytes.
const keptLog = 4 << 10

// heard is one thing that came from a filter.
type heard struct {
	line []byte
	at   time.Time
	kind heardKind
}

type heardKind uint8

const (
	heardLine heardKind = iota
	heardLong           // the beginning of a line of more than filterwire.MaxLine bytes
	heardHalf           // what came after the last LF before the end
	heardEnd            // standard output was closed
)

// process is a running filter. It is read from all the time, whatever the
// player does, so that neither side waits for the other. But for the reader
// it is for one goroutine.
type process struct {
	cmd    *exec.Cmd
	in     *os.File
	log    *tail
	exited chan struct{} // closed when err holds what Wait gave
	err    error

	mu    sync.Mutex
	queue []heard
	news  chan struct{} // holds one if queue has grown
}

// start starts the program. An error wraps ErrNotRun.
func start(o *Options) (*process, error) {
	p := &process{log: &tail{to: o.Log}, exited: make(chan struct{}), news: make(chan struct{}, 1)}
	if len(o.Argv) == 0 {
		return nil, fmt.Errorf("%w: no command was given", ErrNotRun)
	}
	p.cmd = exec.Command(o.Argv[0], o.Argv[1:]...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = o.Dir, o.Env, p.log
	p.cmd.WaitDelay = time.Second // for a child that holds standard error open
	// A group of its own: what the filter has started ends with it, and a
	// Ctrl-C at the terminal does not look like a fault of the filter.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		in.Close()
		return nil, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	p.cmd.Stdin, p.cmd.Stdout, p.in = theirIn, theirOut, in
	err = p.cmd.Start()
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	go p.read(out)
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// read puts what the filter writes into the queue, to its end.
func (p *process) read(out *os.File) {
	defer out.Close()
	r := bufio.NewReaderSize(out, filterwire.MaxLine+1)
	for {
		line, err := r.ReadSlice('\n')
		h := heard{at: time.Now()}
		switch {
		case err == nil:
			h.line = bytes.Clone(line[:len(line)-1])
		case errors.Is(err, bufio.ErrBufferFull):
			h.line, h.kind = bytes.Clone(line[:maxQuoted+1]), heardLong
			for errors.Is(err, bufio.ErrBufferFull) {
				p.push(h) // told at once: the end of the line may never come
				_, err = r.ReadSlice('\n')
				h = heard{at: time.Now(), kind: heardLine, line: nil}
			}
			if err == nil {
				continue
			}
			h = heard{at: time.Now(), kind: heardEnd}
		case len(line) > 0:
			p.push(heard{bytes.Clone(line), h.at, heardHalf})
			h.kind = heardEnd
		default:
			h.kind = heardEnd
		}
		p.push(h)
		if h.kind == heardEnd {
			return
		}
	}
}

func (p *process) push(h heard) {
	p.mu.Lock()
	p.queue = append(p.queue, h)
	p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// take gives what has come since the last call.
func (p *process) take() []heard {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queue
	p.queue = nil
	return q
}

// write writes all of b, unless the filter reads nothing for a time.
func (p *process) write(b []byte, patience time.Duration) error {
	for {
		if err := p.in.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		n, err := p.in.Write(b)
		if b = b[n:]; n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// deaf reports whether the filter has closed its standard input.
func (p *process) deaf() bool {
	raw, err := p.in.SyscallConn()
	if err != nil {
		return false
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, 0)
		closed = err == nil && n == 1 && fds[0].Revents&unix.POLLERR != 0
	})
	return err == nil && closed
}

// ends waits for the program to end.
func (p *process) ends(patience time.Duration) bool {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-p.exited:
		return true
	case <-t.C:
		return false
	}
}

// status says how the program ended, after it has.
func (p *process) status() string {
	var e *exec.ExitError
	if errors.As(p.err, &e) {
		if ws, ok := e.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return "killed by signal " + fmt.Sprint(int(ws.Signal())) + ", " + ws.Signal().String()
		}
		return fmt.Sprintf("with status %d", e.ExitCode())
	}
	return "with status 0"
}

// kill ends the program and what it has started, and waits for it.
func (p *process) kill() {
	select {
	case <-p.exited: // its number may be somebody else's by now
	default:
		// An error means that the group is gone already.
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	p.in.Close()
	<-p.exited
}

// tail keeps the end of what is written to it, and passes all of it on.
type tail struct {
	mu  sync.Mutex
	to  io.Writer
	end []byte
}

// Write takes p; it never fails, since a log that cannot be written is no
// reason to stop a filter.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.to != nil {
		_, _ = t.to.Write(p)
	}
	t.end = append(t.end, p...)
	if over := len(t.end) - keptLog; over > 0 {
		t.end = append(t.end[:0], t.end[over:]...)
	}
	return len(p), nil
}

// String gives the last lines.
func (t *tail) String() string {
	const lines = 8
	t.mu.Lock()
	defer t.mu.Unlock()
	s := bytes.TrimRight(t.end, "\n")
	from := len(s)
	for range lines {
		if from = bytes.LastIndexByte(s[:from], '\n'); from < 0 {
			return string(s)
		}
	}
	return string(s[from+1:])
}
