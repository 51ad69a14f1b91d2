package delivery

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/config"
)

// Work makes the attempts that an Agent with Rights asks for on the other end
// of conn, one after the other, with the rights of this process. It returns
// when the other end is closed; what is under way then, is ended.
func Work(conn *net.UnixConn) error {
	in := &intake{conn: conn}
	in.r = bufio.NewReaderSize(in, chunkSize)
	var a *Agent
	for {
		text, err := readFrame(in.r, frameTask)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		k, err := decodeTask(text)
		if err != nil {
			return err
		}
		if a == nil || a.conf.Load().host != k.host {
			a = New(&config.Config{Hostname: k.host}, Options{})
		}
		if a.config().SMTP.SubAddrDelim != k.delim {
			a.Use(&config.Config{Hostname: k.host, SMTP: config.SMTP{SubAddrDelim: k.delim}})
		}
		answer := appendOutcome(nil, in.carryOut(a, k))
		if _, err := conn.Write(append(appendHead(nil, frameOutcome, len(answer)), answer...)); err != nil {
			return err
		}
		if in.watcher != nil {
			<-in.watcher // the next task is there, or the end
			in.watcher = nil
		}
	}
}

// intake reads the frames of a connection, and the descriptors beside them.
type intake struct {
	conn *net.UnixConn
	r    *bufio.Reader

	mu  sync.Mutex
	box *os.File // that came last

	watcher chan struct{} // closed when nobody looks out for the next task any more; nil if nobody does

	left  int  // of the chunk that is being read
	ended bool // the message is over
	err   error
}

// Read reads from the connection itself.
func (in *intake) Read(p []byte) (int, error) {
	var rights [64]byte
	n, r, _, _, err := in.conn.ReadMsgUnix(p, rights[:])
	if r > 0 {
		msgs, _ := unix.ParseSocketControlMessage(rights[:r])
		for i := range msgs {
			fds, _ := unix.ParseUnixRights(&msgs[i])
			for _, fd := range fds {
				in.keep(os.NewFile(uintptr(fd), "mailbox"))
			}
		}
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err // it is -1 with an error
}

// keep makes f the mailbox that came last; the one before is closed.
func (in *intake) keep(f *os.File) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.box != nil {
		in.box.Close()
	}
	in.box = f
}

func (in *intake) mailbox() *os.File {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.box
}

// message is the message behind the task, as a reader.
type message struct{ *intake }

var errAborted = errors.New("the server could not read it")

// Read gives bytes of the message.
func (m message) Read(p []byte) (int, error) {
	for m.left == 0 && !m.ended {
		kind, n, err := readHead(m.r)
		switch {
		case err == io.EOF: // not the message's: half of one must not pass for it
			m.err = errServerGone
		case err != nil:
			m.err = err
		case kind == frameAbort && n == 0:
			m.err = errAborted
		case kind == frameEnd && n == 0:
			m.err = io.EOF
		case kind == frameChunk:
			m.left = n
			continue
		default:
			m.err = fmt.Errorf("%w: a frame %q in a message", errFrame, kind)
		}
		m.ended = true
	}
	if m.ended {
		return 0, m.err
	}
	n, err := m.r.Read(p[:min(len(p), m.left)])
	m.left -= n
	if err != nil {
		m.ended, m.err = true, errServerGone
	}
	return n, m.err
}

// Close reads what is left of the message.
func (m message) Close() error {
	_, err := io.Copy(io.Discard, m)
	return err
}

// watched is the message of an attempt that is ended if the other side leaves.
type watched struct {
	message
	gone context.CancelCauseFunc
}

var errServerGone = errors.New("the server has ended")

// Read watches from the message's end on: what comes then is the next task, or
// the end of the connection.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.message.Read(p)
	if err != nil && w.watcher == nil {
		done := make(chan struct{})
		w.watcher = done
		go func() {
			defer close(done)
			if _, err := w.r.Peek(1); err != nil {
				w.gone(errServerGone)
			}
		}()
	}
	return n, err
}

// carryOut makes one attempt.
func (in *intake) carryOut(a *Agent, k *task) (out Outcome) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	in.left, in.ended, in.err = 0, false, nil
	w := &watched{message: message{in}, gone: cancel}
	defer func() {
		in.keep(nil)
		if p := recover(); p != nil {
			out = Outcome{Status: Deferred, Enhanced: "4.3.0", Text: oneLine(fmt.Sprintf("internal error during the delivery attempt: %v", p))}
		}
	}()
	b := newBody(w)
	defer b.close() // reads the message to its end
	t := k.attempt(b)
	t.run.uid, t.run.gid = uint32(os.Geteuid()), uint32(os.Getegid())
	return outcomeOf(a.carryOut(ctx, t, k.method, in))
}

// carryOut does what a task says.
func (a *Agent) carryOut(ctx context.Context, t *attempt, method taskMethod, in *intake) error {
	switch method {
	case taskMaildir:
		return a.toMaildir(t)
	case taskFile:
		return a.toFile(ctx, t, t.env.Local.File)
	case taskCommand:
		return a.toCommand(ctx, t, t.env.Local.Command)
	case taskMDA:
		return a.toCommand(ctx, t, t.act.Command)
	}
	box := in.mailbox()
	if box == nil {
		return deferred("4.3.0", "a mailbox was not handed over")
	}
	m := mbox{sys: a.fs, path: a.mailDir + "/" + t.user.name, fd: int(box.Fd())}
	if err := m.measure(); err != nil {
		return err
	}
	return a.writeMbox(t, &m)
}
