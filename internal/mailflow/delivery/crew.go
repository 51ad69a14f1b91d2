package delivery

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The workers of an Agent.
const (
	maxAtWork      = 64               // that deliver at once
	maxIdleWorkers = 32               // that wait for more
	idleWorker     = 10 * time.Second // for how long one waits
)

// crew has the workers of an Agent: each is a process with the rights of one
// user, makes one attempt at a time, and is kept for a while after it.
type crew struct {
	rights Rights
	slots  chan struct{}

	mu     sync.Mutex
	idle   []*worker // the one that waits longest is the first
	closed bool
}

// worker is a process that runs Work.
type worker struct {
	key   string
	conn  *net.UnixConn
	in    *bufio.Reader
	out   *bufio.Writer
	timer *time.Timer
}

func newCrew(r Rights) *crew { return &crew{rights: r, slots: make(chan struct{}, maxAtWork)} }

// close ends the workers that wait.
func (c *crew) close() {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.closed = nil, true
	c.mu.Unlock()
	for _, w := range idle {
		w.conn.Close()
	}
}

// deliver has a worker of u carry k out, with box for its mailbox. What the
// worker did not answer is tried again.
func (c *crew) deliver(ctx context.Context, u *account, k *task, box *os.File, b *body) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return fmt.Errorf("attempt not begun: %w", context.Cause(ctx))
	}
	w, err := c.take(ctx, u)
	if err != nil {
		return deferred("4.3.0", "cannot deliver with the rights of user %s: %w", u.name, err)
	}
	stop := context.AfterFunc(ctx, func() { w.conn.Close() })
	out, err := w.carry(k, box, b)
	var p *problem
	switch {
	case !stop() && err != nil:
		return fmt.Errorf("delivery was ended: %w", context.Cause(ctx))
	case errors.As(err, &p): // the message cannot be read; the worker knows
		c.put(w)
		return err
	case err != nil:
		w.conn.Close()
		return deferred("4.3.0", "the process that delivers for user %s failed: %w", u.name, err)
	}
	c.put(w)
	return OutcomeError(out)
}

// take gives a worker of u, one that waits if there is one.
func (c *crew) take(ctx context.Context, u *account) (*worker, error) {
	key := fmt.Sprintf("%s %d %d %v", u.name, u.uid, u.gid, u.groups)
	for {
		w := c.find(key)
		if w == nil {
			break
		}
		w.timer.Stop()
		if w.alive() {
			return w, nil
		}
		w.conn.Close()
	}
	conn, err := c.rights.Worker(ctx, u.export())
	if err != nil {
		return nil, err
	}
	return &worker{key: key, conn: conn, in: bufio.NewReaderSize(conn, 2*maxText), out: bufio.NewWriterSize(conn, chunkSize+4<<10)}, nil
}

// find takes the worker of that key that began to wait last.
func (c *crew) find(key string) *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.idle) - 1; i >= 0; i-- {
		if w := c.idle[i]; w.key == key {
			c.idle = append(c.idle[:i], c.idle[i+1:]...)
			return w
		}
	}
	return nil
}

// put lets a worker wait.
func (c *crew) put(w *worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		w.conn.Close()
		return
	}
	if len(c.idle) == maxIdleWorkers {
		c.idle[0].conn.Close()
		c.idle = append(c.idle[:0], c.idle[1:]...)
	}
	c.idle = append(c.idle, w)
	w.timer = time.AfterFunc(idleWorker, func() { c.drop(w) })
}

// drop ends a worker that has waited long enough.
func (c *crew) drop(w *worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.idle {
		if c.idle[i] == w {
			c.idle = append(c.idle[:i], c.idle[i+1:]...)
			w.conn.Close()
			return
		}
	}
}

// alive reports whether the process is still there; it says nothing unasked.
func (w *worker) alive() bool {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		alive = err == unix.EAGAIN
	})
	return alive && err == nil
}

// carry sends the task and the message and reads the outcome. An error that is
// a problem leaves the worker as good as new.
func (w *worker) carry(k *task, box *os.File, b *body) (Outcome, error) {
	text := k.append(make([]byte, 0, 512))
	if len(text) > maxFrame {
		return Outcome{}, deferred("4.3.0", "%d bytes to say what to deliver where", len(text))
	}
	w.out.Write(appendHead(nil, frameTask, len(text)))
	w.out.Write(text)
	if box != nil {
		if err := w.hand(box); err != nil {
			return Outcome{}, err
		}
	}
	unread := w.message(b)
	if err := w.out.Flush(); err != nil {
		return Outcome{}, err
	}
	answer, err := readFrame(w.in, frameOutcome)
	if err != nil {
		return Outcome{}, err
	}
	if unread != nil {
		return Outcome{}, unread
	}
	return decodeOutcome(answer)
}

// hand sends what is to be said so far, and a descriptor with it.
func (w *worker) hand(f *os.File) error {
	if err := w.out.Flush(); err != nil {
		return err
	}
	_, _, err := w.conn.WriteMsgUnix(appendHead(nil, frameChunk, 0), unix.UnixRights(int(f.Fd())), nil)
	return err
}

// message sends the message; its error is that of reading it.
func (w *worker) message(b *body) error {
	for {
		chunk, last, err := b.next()
		if err != nil {
			w.out.Write(appendHead(nil, frameAbort, 0))
			return err
		}
		if len(chunk) > 0 {
			w.out.Write(appendHead(nil, frameChunk, len(chunk)))
			if _, err := w.out.Write(chunk); err != nil {
				return nil // Flush says it
			}
		}
		if last {
			w.out.Write(appendHead(nil, frameEnd, 0))
			return nil
		}
	}
}
