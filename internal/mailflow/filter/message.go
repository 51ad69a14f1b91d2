package filter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
)

// lineChunk is how many bytes of lines are put into a pipe at once.
const lineChunk = 32 << 10

// Message is one message on its way through the filters of a chain that want
// its lines, and behind the last of them into a writer. What a filter writes
// is moved on as it comes, by one goroutine for each.
//
// Write, Finish and Abort are called by one goroutine; Finish or Abort is the
// last. The writer is not used any more after they return.
type Message struct {
	s       *Session
	out     io.Writer
	streams []*stream
	quit    chan struct{} // closed when it is no use to go on
	over    chan struct{} // closed when the last pump has ended
	pumps   atomic.Int32

	mu      sync.Mutex
	stopped bool // quit is closed
	failed  Verdict
}

// stream is a message at one filter of the chain.
type stream struct {
	m      *Message
	link   *link
	seat   *seat
	p      *process
	token  uint64
	prefix []byte // before each line
	out    *spool // what the filter has written

	last  atomic.Int64 // time of the last line in or out, Unix nanoseconds
	dotCR atomic.Bool  // it ended a message with a dot and CR, which is no end
}

// newMessage sends the message through the filters of links, in order. If one
// of them cannot be reached, the message has failed already.
func (s *Session) newMessage(links []*link, out io.Writer) *Message {
	m := &Message{s: s, out: out, quit: make(chan struct{}), over: make(chan struct{})}
	for _, l := range links {
		st := &s.seats[l.seat]
		p, err := s.reachFor(noWait, st, filterwire.DataLine)
		if err != nil {
			m.fail(l, err)
			break
		}
		x := &stream{m: m, link: l, seat: st, p: p, token: p.token(true), out: newSpool(s.chain.h.opt.MaxMessage)}
		x.prefix = filterwire.AppendDataPrefix(nil, l.proc.protocol, time.Now(), s.id, x.token)
		x.touch()
		if err := st.addStream(p, x); err != nil {
			m.fail(l, err)
			break
		}
		m.streams = append(m.streams, x)
	}
	if len(m.streams) < len(links) {
		close(m.over)
		return m
	}
	m.pumps.Store(int32(len(m.streams)))
	for i, x := range m.streams {
		var next *stream
		if i+1 < len(m.streams) {
			next = m.streams[i+1]
		}
		go x.pump(next)
	}
	return m
}

// addStream makes x known to the reader of p.
func (st *seat) addStream(p *process, x *stream) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.on != p {
		return p.reason()
	}
	st.streams = append(st.streams, x)
	return nil
}

// dropStream makes x unknown: lines that come late are dropped.
func (st *seat) dropStream(x *stream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for i, y := range st.streams {
		if x == y {
			st.streams = append(st.streams[:i], st.streams[i+1:]...)
			return
		}
	}
}

// Write sends p, which must be whole lines ended by LF and dot-escaped, to the
// first filter. It blocks while that filter's pipe is full. After a fault it
// fails with the fault, and the rest of the message need not be written.
func (m *Message) Write(p []byte) (int, error) {
	if err := m.err(); err != nil {
		return 0, err
	}
	if !m.streams[0].write(p) {
		return 0, m.err()
	}
	return len(p), nil
}

// Finish sends the final dot and returns when the last filter has sent its
// own and all of its output is written. Its decision is Proceed, or what the
// policy of the filter that failed says. If the writer failed, Err wraps its
// error and Filter is empty. When ctx ends, Finish does, with ctx's error.
func (m *Message) Finish(ctx context.Context) Verdict {
	if m.err() == nil {
		m.streams[0].write(dot)
	}
	m.await(ctx)
	m.close()
	m.s.flushReports()
	if m.err() != nil {
		return m.failed
	}
	return Verdict{Decision: filterwire.Proceed}
}

var dot = []byte(".\n")

// Abort ends the message here: no more lines go to the filters, and what they
// still send is dropped. The filters learn of it by the reports that follow.
func (m *Message) Abort() {
	m.stop(Verdict{Err: errGone})
	m.close()
}

// await waits for the last pump, as long as filters make progress.
func (m *Message) await(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-m.over:
			return
		case <-m.quit:
			return
		case <-ctx.Done():
			m.stop(Verdict{Decision: filterwire.Reject, Param: localError, Err: context.Cause(ctx)})
			return
		case <-t.C:
		}
		left := m.s.chain.h.opt.AnswerTimeout
		if x := m.waitsFor(); x != nil {
			limit := x.link.proc.policy.timeout
			left = limit - time.Since(time.Unix(0, x.last.Load()))
			if left <= 0 {
				x.timedOut(limit)
				return
			}
		}
		t.Reset(left)
	}
}

// localError is the reply when the fault is neither a filter's nor the client's.
const localError = "451 4.3.0 Local error in processing"

// waitsFor gives the first filter that has not ended the message, nil if all
// have and only the writer is at work.
func (m *Message) waitsFor() *stream {
	for _, x := range m.streams {
		x.out.mu.Lock()
		ended := x.out.ended
		x.out.mu.Unlock()
		if !ended {
			return x
		}
	}
	return nil
}

func (x *stream) timedOut(limit time.Duration) {
	err := fmt.Errorf("%w: no line for %v", ErrTimeout, limit)
	if x.dotCR.Load() {
		err = fmt.Errorf("%w; its last line ends in CR LF, where LF alone ends a line", err)
	}
	x.m.fail(x.link, err)
}

// close waits for the pumps and forgets the streams.
func (m *Message) close() {
	if len(m.streams) > 0 {
		m.stop(Verdict{}) // no effect on one that has failed; one that is over needs no pumps
		if m.pumps.Load() > 0 {
			<-m.over
		}
	}
	for _, x := range m.streams {
		x.seat.dropStream(x)
		x.out.close()
	}
	m.s.message = nil
}

// fail ends the message with a fault of l's filter.
func (m *Message) fail(l *link, err error) {
	f := m.s.faultOf(l, filterwire.DataLine, err)
	if m.stop(l.proc.policy.verdict(l.name, filterwire.DataLine, f)) {
		m.s.noteFault(f, l)
	}
}

// stop ends the message with v, unless it has ended; it reports whether v counts.
func (m *Message) stop(v Verdict) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return false
	}
	m.stopped, m.failed = true, v
	close(m.quit)
	return true
}

// err gives why the message has ended, nil while it has not.
func (m *Message) err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed.Err
}

// write puts the lines of p to the filter. It reports false if the message
// has failed.
func (x *stream) write(p []byte) bool {
	buf := getBuffer()
	defer putBuffer(buf)
	pat := patience{limit: x.link.proc.policy.timeout, progress: true, done: x.m.quit}
	for len(p) > 0 {
		*buf, p = filterwire.AppendLines((*buf)[:0], x.prefix, p, lineChunk)
		switch err := x.p.stdin.put(*buf, pat); {
		case err == nil:
			x.touch()
		case errors.Is(err, ErrTimeout):
			x.seat.stuck.Store(true)
			x.m.fail(x.link, fmt.Errorf("%w: its input is full", ErrTimeout))
			return false
		default: // over or aborted; whoever ended it says so, but may be later
			return x.gone()
		}
	}
	return true
}

// gone waits until it is known why the pipe is gone.
func (x *stream) gone() bool {
	select {
	case <-x.m.quit:
	case <-x.p.over:
		x.m.fail(x.link, x.p.reason())
	}
	return false
}

// line takes one line that the filter has written; out.mu is held.
func (x *stream) line(text []byte) {
	switch {
	case len(text) == 1 && text[0] == '.':
		x.out.ended = true
	case len(text) == 2 && text[0] == '.' && text[1] == '\r':
		x.dotCR.Store(true)
		x.out.add(text)
	default:
		x.out.add(text)
	}
}

func (x *stream) touch() { x.last.Store(time.Now().UnixNano()) }

// pump moves what the filter writes on to the next, or out.
func (x *stream) pump(next *stream) {
	defer func() {
		if r := recover(); r != nil { // the writer is not ours
			x.m.s.chain.h.opt.Log.Error("panic while a message was written", "session", x.m.s.id.String(),
				"panic", r, "stack", string(debug.Stack()))
			x.m.stop(Verdict{Decision: filterwire.Reject, Param: localError, Err: fmt.Errorf("panic: %v", r)})
		}
		if x.m.pumps.Add(-1) == 0 {
			close(x.m.over)
		}
	}()
	var buf *[]byte
	defer func() { putBuffer(buf) }()
	for {
		data, end, err := x.out.take(buf)
		buf = data
		switch {
		case err != nil:
			x.m.fail(x.link, err)
			return
		case len(*data) > 0 && !x.forward(next, *data):
			return
		case end:
			if next != nil {
				next.write(dot)
			}
			return
		case len(*data) > 0:
			continue
		}
		select {
		case <-x.out.ready:
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
		x.m.stop(Verdict{Decision: filterwire.Reject, Param: localError,
			Err: fmt.Errorf("cannot write what the filters made of the message: %w", err)})
		return false
	}
	return true
}
