package filter

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
)

// stream is a message at one filter of the chain.
//
// What a filter writes is moved on as it comes if its failure ends the message
// anyway. If it would be passed over (keep is set), its edits are to apply all
// or not at all: what it was sent is kept, and nothing of what it writes is
// moved on before its dot has come.
type stream struct {
	m      *Message
	link   *link
	seat   *seat
	p      *process
	token  uint64
	prefix []byte // before each line
	out    *spool // what the filter has written
	keep   *spool // what it was sent; nil if its failure ends the message

	dotAt atomic.Int64  // when its dot was sent, Unix nanoseconds; 0 before
	dotCR atomic.Bool   // it ended a message with a dot and CR, which is no end
	skip  chan struct{} // closed when it is no use to speak to the filter any more

	// Guarded by m.mu.
	whole bool   // its edits apply
	fault *Fault // by which it failed, if it has keep; its edits are void, unless whole
}

// write puts the lines of p to the filter. It reports false if the message
// has failed.
func (x *stream) write(p []byte) bool {
	if x.keep != nil {
		if err := x.keep.addLines(p); err != nil {
			return x.m.failLocally(fmt.Errorf("cannot keep the message for filter %s: %w", x.link.name, err))
		}
	}
	select {
	case <-x.skip:
		return x.m.err() == nil
	default:
	}
	pat := patience{limit: x.link.proc.policy.timeout, done: x.skip}
	if err := x.p.beginWriting(pat); err != nil {
		return x.notWritten(err)
	}
	defer x.p.endWriting()
	buf := getBlock(2 * int64(len(p))) // a prefix may be as long as its line
	defer putBuffer(buf)
	for len(p) > 0 {
		*buf, p = filterwire.AppendLines((*buf)[:0], x.prefix, p, lineChunk)
		if err := x.p.stdin.put(*buf, pat); err != nil {
			return x.notWritten(err)
		}
	}
	return true
}

// notWritten deals with lines that the filter did not get.
func (x *stream) notWritten(err error) bool {
	if errors.Is(err, ErrTimeout) {
		x.seat.stuck.Store(true)
		return x.fail(fmt.Errorf("%w: its input is full", ErrTimeout))
	}
	return x.gone() // over or skipped; whoever ended it says so, but may be later
}

// maxWriting is how many messages have lines in memory that wait for room in one
// process's pipe. Those of others wait where they come from: in the socket of
// their client, or in the spool behind another filter.
const maxWriting = 64

// beginWriting waits until fewer than maxWriting messages write. Its errors are
// those of writer.put.
func (p *process) beginWriting(pat patience) error {
	select {
	case p.writing <- struct{}{}:
		return nil
	default:
	}
	t := time.NewTimer(pat.limit)
	defer t.Stop()
	select {
	case p.writing <- struct{}{}:
		return nil
	case <-p.over:
		return errGone
	case <-pat.done:
		return errGone
	case <-t.C:
		return ErrTimeout
	}
}

func (p *process) endWriting() { <-p.writing }

var dot = []byte(".\n")

// finish sends the final dot.
func (x *stream) finish() {
	x.dotAt.Store(time.Now().UnixNano()) // before the filter can answer it
	if x.keep != nil {
		x.keep.end() // the dot itself is not kept
	}
	x.write(dot)
}

// gone waits until it is known why the pipe is gone.
func (x *stream) gone() bool {
	select {
	case <-x.skip:
		return x.m.err() == nil
	case <-x.p.over:
		return x.fail(x.p.reason())
	}
}

// line takes one line that the filter has written; out.mu is held. Its error
// is what the filter should have done.
func (x *stream) line(text []byte) error {
	switch {
	case !x.out.shut && (len(text) > 2 || len(text) == 0):
		x.out.add(text)
	case x.out.closed:
	case x.out.ended:
		return errors.New("no line of this message after its dot")
	case len(text) == 1 && text[0] == '.':
		if x.dotAt.Load() == 0 {
			return errors.New("no dot before the server's: the message is not over")
		}
		x.out.ended, x.out.shut = true, true
	case len(text) == 2 && text[0] == '.' && text[1] == '\r':
		x.dotCR.Store(true)
		x.out.add(text)
	default:
		x.out.add(text)
	}
	return nil
}

// late gives for how long the filter has owed its dot, 0 if it does not.
func (x *stream) late() time.Duration {
	at := x.dotAt.Load()
	if at == 0 {
		return 0
	}
	select {
	case <-x.skip:
		return 0
	default:
	}
	if ended, err := x.out.state(); ended || err != nil {
		return 0
	}
	return max(time.Since(time.Unix(0, at)), 1)
}

// timedOut fails a filter that owes its dot for too long.
func (x *stream) timedOut(limit time.Duration) bool {
	err := fmt.Errorf("%w: no end of the message for %v", ErrTimeout, limit)
	if x.dotCR.Load() {
		err = fmt.Errorf("%w; its last line ends in CR LF, where LF alone ends a line", err)
	}
	return x.fail(err)
}

// fail deals with a fault of the filter. It reports whether the message goes
// on without it.
func (x *stream) fail(err error) bool {
	m := x.m
	f := m.s.faultOf(x.link, filterwire.DataLine, err)
	if x.keep == nil {
		if m.stop(x.link.proc.policy.verdict(x.link.name, filterwire.DataLine, f)) {
			m.s.noteFault(f, x.link)
		}
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return false
	}
	if x.fault == nil {
		x.fault = f
		m.s.noteFault(f, x.link)
		if !x.whole {
			close(x.skip)
		}
	}
	return true
}

// pump moves what the filter writes on to the next, or out.
func (x *stream) pump(next *stream) {
	defer func() {
		if r := recover(); r != nil { // the writer is not ours
			x.m.s.chain.h.opt.Log.Error("panic while a message was written", "session", x.m.s.id.String(),
				"panic", r, "stack", string(debug.Stack()))
			x.m.failLocally(fmt.Errorf("panic: %v", r))
		}
		if x.m.pumps.Add(-1) == 0 {
			close(x.m.over)
		}
	}()
	src := x.out
	if x.keep != nil && !x.awaitWhole() {
		x.out.close()
		src = x.keep
	}
	x.move(src, next)
}

// awaitWhole waits until the filter has returned all of the message; false if
// it failed before.
func (x *stream) awaitWhole() bool {
	for {
		ended, err := x.out.state()
		switch {
		case err != nil:
			x.fail(err)
			return false
		case ended:
			x.m.mu.Lock()
			x.whole = x.fault == nil && !x.m.stopped
			x.m.mu.Unlock()
			return x.whole
		}
		select {
		case <-x.out.ready:
		case <-x.skip:
			return false
		}
	}
}

// move moves what is in src on until its end.
func (x *stream) move(src *spool, next *stream) {
	var buf *[]byte
	defer func() { putBuffer(buf) }()
	for {
		data, end, err := src.take(buf)
		buf = data
		switch {
		case err != nil && x.keep != nil: // nothing is left to fall back to
			x.m.failLocally(err)
			return
		case err != nil:
			x.fail(err)
			return
		case data != nil && !x.forward(next, *data):
			return
		case end:
			if next != nil {
				next.finish()
			}
			return
		case data != nil:
			continue
		}
		select {
		case <-src.ready:
		case <-x.m.quit:
			return
		}
	}
}

func (x *stream) forward(next *stream, data []byte) bool {
	select {
	case <-x.m.quit:
		return false
	default:
	}
	if next != nil {
		return next.write(data)
	}
	if _, err := x.m.out.Write(data); err != nil {
		return x.m.failLocally(fmt.Errorf("cannot write what the filters made of the message: %w", err))
	}
	return true
}

// close forgets the stream, but not what was kept.
func (x *stream) close() {
	x.seat.dropStream(x)
	x.out.close()
}
