package filter

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
)

// lineChunk is how many bytes of lines are put into a pipe at once.
const lineChunk = 32 << 10

// Message is one message on its way through the filters of a chain that want
// its lines, and behind the last of them into a writer. What a filter writes
// is moved on by one goroutine for each.
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
	unwatch func() bool // ends the watch over the session's context

	mu      sync.Mutex
	stopped bool // quit is closed
	failed  Verdict
}

// newMessage sends the message through the filters of links, in order. If one
// of them cannot be reached, the message has failed already, unless the filter
// is one to be passed over. It gives nil if no filter is left.
func (s *Session) newMessage(ctx context.Context, links []*link, out io.Writer) *Message {
	m := &Message{s: s, out: out, quit: make(chan struct{}), over: make(chan struct{})}
	for _, l := range links {
		x, v := s.newStream(ctx, m, l)
		switch {
		case x != nil:
			m.streams = append(m.streams, x)
		case v.Decision != filterwire.Proceed:
			m.stop(v)
			close(m.over)
			return m
		}
	}
	if len(m.streams) == 0 {
		return nil
	}
	for _, x := range m.streams { // from here on readers call
		if err := x.seat.addStream(x); err != nil {
			x.fail(err)
		}
	}
	m.unwatch = context.AfterFunc(ctx, func() {
		m.stop(Verdict{Decision: filterwire.Reject, Param: localError, Err: context.Cause(ctx)})
	})
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

// newStream makes the stream of m at the filter of l; nil, and what the policy
// says, if it is not to be.
func (s *Session) newStream(ctx context.Context, m *Message, l *link) (*stream, Verdict) {
	st := &s.seats[l.seat]
	if st.failed != nil {
		return nil, l.proc.policy.verdict(l.name, filterwire.DataLine, st.failed)
	}
	p, err := s.reachFor(noWait, st, filterwire.DataLine)
	if err != nil {
		return nil, s.fault(ctx, l, filterwire.DataLine, err)
	}
	limit := s.chain.set.maxMessage
	x := &stream{m: m, link: l, seat: st, p: p, token: p.token(true), out: newSpool(limit, &s.chain.h.shelfs), skip: make(chan struct{})}
	if l.proc.policy.passesOver(filterwire.DataLine) {
		x.keep = newSpool(limit, &s.chain.h.shelfs)
	}
	x.prefix = filterwire.AppendDataPrefix(nil, l.proc.protocol, time.Now(), s.id, x.token)
	return x, Verdict{}
}

// addStream makes x known to the reader of its process.
func (st *seat) addStream(x *stream) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.on != x.p {
		return x.p.reason()
	}
	st.streams = append(st.streams, x)
	return nil
}

// dropStream makes x unknown: lines that come late are dropped, or a fault if
// it had ended.
func (st *seat) dropStream(x *stream) {
	ended, _ := x.out.state()
	st.mu.Lock()
	defer st.mu.Unlock()
	if ended {
		st.whole = x.token
	}
	for i, y := range st.streams {
		if x == y {
			st.streams = append(st.streams[:i], st.streams[i+1:]...)
			return
		}
	}
}

// Write sends p, which must be whole lines ended by LF and dot-escaped, to the
// first filter. It blocks while that filter's pipe is full. After a fault that
// ends the message it fails with the fault, and the rest of the message need
// not be written.
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
		m.streams[0].finish()
	}
	m.await(ctx)
	m.close()
	m.s.flushReports()
	if m.err() != nil {
		m.discard()
		return m.failed
	}
	for _, x := range m.streams {
		if x.fault != nil {
			m.s.noteFailure(x.link, filterwire.DataLine, x.fault)
		}
	}
	m.s.passed = m
	return Verdict{Decision: filterwire.Proceed}
}

// Abort ends the message here: no more lines go to the filters, and what they
// still send is dropped. The filters learn of it by the reports that follow.
func (m *Message) Abort() {
	m.stop(Verdict{Err: errGone})
	m.close()
	m.discard()
}

// await waits for the last pump, for no filter longer than its time limit.
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
		next := m.s.chain.h.opt.AnswerTimeout
		for _, x := range m.streams {
			limit := x.link.proc.policy.timeout
			next = min(next, limit) // one whose turn has not come owes its dot no sooner than that
			if late := x.late(); late >= limit {
				x.timedOut(limit)
			} else if late > 0 {
				next = min(next, limit-late)
			}
		}
		t.Reset(next)
	}
}

// localError is the reply when the fault is neither a filter's nor the client's.
const localError = "451 4.3.0 Local error in processing"

// close waits for the pumps and forgets the streams.
func (m *Message) close() {
	if m.unwatch != nil {
		m.unwatch()
		m.stop(Verdict{}) // no effect on one that has failed; one that is over needs no pumps
		<-m.over
	}
	for _, x := range m.streams {
		x.close()
	}
	m.s.message = nil
}

// discard forgets what was kept.
func (m *Message) discard() {
	for _, x := range m.streams {
		if x.keep != nil {
			x.keep.close()
		}
	}
}

// before gives the message as it was before the filters that have failed since
// it passed them, as Verdict.Before; nil if none has. Those behind a filter have
// worked on what it made and cannot be asked again: so only the last of the
// chain, as many as failed, are undone.
func (m *Message) before() func(io.Writer) error {
	var first *stream
	for _, x := range slices.Backward(m.streams) {
		if x.keep != nil && !x.whole {
			continue // it did not touch the message
		}
		if x.keep == nil || x.seat.failed == nil {
			break
		}
		first = x
	}
	if first == nil {
		return nil
	}
	return func(out io.Writer) error {
		var buf *[]byte
		defer func() { putBuffer(buf) }()
		for {
			data, end, err := first.keep.take(buf)
			buf = data
			if err == nil && data != nil {
				_, err = out.Write(*data)
			}
			if err != nil {
				return fmt.Errorf("cannot write the message as it was before filter %s: %w", first.link.name, err)
			}
			if end {
				return nil
			}
		}
	}
}

// failLocally ends the message with a fault that is no filter's.
func (m *Message) failLocally(err error) bool {
	m.stop(Verdict{Decision: filterwire.Reject, Param: localError, Err: err})
	return false
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
	for _, x := range m.streams {
		if x.fault == nil || x.whole { // else passed over, and closed
			close(x.skip)
		}
	}
	return true
}

// err gives why the message has ended, nil while it has not.
func (m *Message) err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed.Err
}
