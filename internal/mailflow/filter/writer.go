package filter

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// writeBuffer is how many bytes wait in memory for a filter that does not
// read; beyond it those who write wait.
const writeBuffer = 256 << 10

// farewells is how many bytes more are kept of the last lines of sessions: who
// leaves does not wait for a filter that does not read, and the filter learns of
// it all the same.
const farewells = 256 << 10

// writeChunk is the most that one write to a pipe tries, in bytes: whoever
// waits sees progress after each.
const writeChunk = 64 << 10

// errGone says that a pipe is closed, or that who waited for it has left.
var errGone = errors.New("pipe is closed")

// writer puts the lines of many sessions into one pipe. The session that
// finds it idle writes, and never blocks in that: what the pipe does not take,
// and what others bring meanwhile, is flushed by one goroutine in as few writes
// as there can be.
//
// A session alone writes at once. One of a crowd lets those first that are about
// to ask too, so that one write carries the questions of several, and the filter
// and we wake up once for them: with 20 sessions and one filter on all phases a
// quarter fewer writes.
type writer struct {
	f    *os.File
	raw  syscall.RawConn
	lost func(error)   // told once, in a goroutine of its own, when the pipe fails
	kick chan struct{} // wakes the flusher
	stop chan struct{} // ends it

	mu      sync.Mutex
	buf     []byte  // waits behind head
	busy    bool    // somebody is writing, or the flusher will
	err     error   // the pipe is gone
	line    []*turn // those who wait for room in buf, in the order in which they came
	granted int     // bytes of room that are somebody's who has not come back yet

	// Owned by whoever made busy true.
	head    []byte // what is being written
	tryBuf  []byte
	tryN    int
	tryErr  error
	attempt func(fd uintptr) bool // tries once to write tryBuf
}

// newWriter gives a writer on f, whose descriptor must be non-blocking, and
// starts its flusher, which ends with close.
func newWriter(f *os.File, lost func(error)) (*writer, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &writer{f: f, raw: raw, lost: lost, kick: make(chan struct{}, 1), stop: make(chan struct{})}
	w.attempt = func(fd uintptr) bool {
		for {
			n, err := syscall.Write(int(fd), w.tryBuf)
			switch err {
			case nil:
				w.tryN = n
			case syscall.EINTR:
				continue
			case syscall.EAGAIN:
			default:
				w.tryErr = err
			}
			return true
		}
	}
	go w.flush()
	return w, nil
}

// patience says how long put waits for room, and for others.
type patience struct {
	limit time.Duration
	done  <-chan struct{} // gives up when closed
	crowd bool            // others wait for this filter's answers: let them come along
	last  bool            // the session is over: farewells is there too
}

// put writes p after everything that was put before. It returns ErrTimeout if
// there is no room for p in time and errGone if the pipe is closed or pat.done
// is; nothing of p is written then. It does not keep p.
func (w *writer) put(p []byte, pat patience) error {
	w.mu.Lock()
	if (len(w.line) > 0 || w.full(len(p))) && !(pat.last && len(w.buf)+w.granted+len(p) <= writeBuffer+farewells) {
		if err := w.wait(len(p), pat); err != nil {
			w.mu.Unlock()
			return err
		}
	}
	if err := w.err; err != nil {
		w.mu.Unlock()
		return err
	}
	if w.busy {
		w.buf = append(w.buf, p...)
		w.mu.Unlock()
		return nil
	}
	w.busy = true
	w.mu.Unlock()
	if pat.crowd {
		p = w.gather(p)
	}
	return w.lead(p)
}

// gather lets whoever is ready to run put its lines behind p, and gives all of
// them. The caller has made busy true.
func (w *writer) gather(p []byte) []byte {
	w.head = append(w.head[:0], p...)
	runtime.Gosched()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.head)+len(w.buf) <= writeChunk { // else the flusher goes on with them
		w.head = append(w.head, w.buf...)
		w.buf = w.buf[:0]
		w.admit()
	}
	return w.head
}

// lead tries once to write p. What is left is the flusher's.
func (w *writer) lead(p []byte) error {
	w.tryBuf, w.tryN, w.tryErr = p, 0, nil
	err := w.raw.Write(w.attempt)
	if err == nil {
		err = w.tryErr
	}
	w.tryBuf = nil

	w.mu.Lock()
	defer w.mu.Unlock()
	w.head = append(w.head[:0], p[w.tryN:]...)
	switch {
	case err != nil:
		w.fail(err)
	case len(w.head) == 0 && len(w.buf) == 0:
		w.busy = false
	default:
		w.kick <- struct{}{} // has room: only who is busy sends
	}
	w.admit() // what p was granted is free again
	return w.err
}

// full reports whether n more bytes must wait. A buffer that is empty takes
// any line.
func (w *writer) full(n int) bool {
	used := len(w.buf) + w.granted
	return w.err == nil && used > 0 && used+n > writeBuffer
}

// turn is somebody who waits for room for n bytes.
type turn struct {
	n    int
	come chan struct{} // closed when there is room, or the pipe is gone
}

// wait waits, w.mu held before and after, for room for n bytes. It is given in
// turn and to as many as there is room for: were all woken to see who is first,
// a thousand who wait would cost a thousand times their work.
func (w *writer) wait(n int, pat patience) (err error) {
	timer := time.NewTimer(pat.limit)
	defer timer.Stop()
	t := &turn{n: n, come: make(chan struct{})}
	w.line = append(w.line, t)
	w.mu.Unlock()
	select {
	case <-t.come:
	case <-pat.done:
		err = errGone
	case <-timer.C:
		err = ErrTimeout
	}
	w.mu.Lock()
	if i := slices.Index(w.line, t); i >= 0 {
		w.line = slices.Delete(w.line, i, i+1)
	} else {
		w.granted -= n
	}
	if err != nil {
		w.admit()
	}
	return err
}

// admit gives room to those who wait for it; w.mu is held.
func (w *writer) admit() {
	for len(w.line) > 0 && !w.full(w.line[0].n) {
		t := w.line[0]
		w.line[0] = nil
		w.line = w.line[1:]
		w.granted += t.n
		close(t.come)
	}
}

// flush is the goroutine that writes what did not fit at once.
func (w *writer) flush() {
	for {
		select {
		case <-w.kick:
		case <-w.stop:
			return
		}
		w.mu.Lock()
		for w.err == nil {
			if len(w.head) == 0 {
				if len(w.buf) == 0 {
					w.busy = false
					break
				}
				w.head, w.buf = w.buf, w.head
				w.admit()
			}
			w.writeHead()
		}
		w.mu.Unlock()
	}
}

// writeHead writes all of w.head; w.mu is held before and after.
func (w *writer) writeHead() {
	for rest := w.head; len(rest) > 0 && w.err == nil; {
		w.mu.Unlock()
		n, err := w.f.Write(rest[:min(len(rest), writeChunk)])
		w.mu.Lock()
		rest = rest[n:]
		if err != nil {
			w.fail(err)
		}
	}
	w.head = w.head[:0]
}

// fail tells those who wait that the pipe is gone, and lost why unless it was
// closed on purpose (nil); w.mu is held.
func (w *writer) fail(why error) {
	if w.err == nil && why != nil {
		go w.lost(why)
	}
	w.err = errGone
	w.admit() // nothing is full any more
}

// close ends the pipe, of which the filter reads the end, and the flusher. It
// is called once.
func (w *writer) close() {
	w.mu.Lock()
	w.fail(nil)
	w.mu.Unlock()
	close(w.stop)
	w.f.Close()
}
