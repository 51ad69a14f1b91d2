package filter

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/trace"
)

// linkReport is a link-* report as a session keeps it, to tell a process that
// has not heard of the session who the client is.
type linkReport struct {
	kind     trace.Kind
	protocol filterwire.Protocol
	line     string
}

// keep remembers e, in place of an earlier one of its kind: a client that
// greets a thousand times is not to cost a thousand lines.
func (s *Session) keep(e *trace.Event) {
	kept := s.link[:0]
	for _, r := range s.link {
		if r.kind != e.Kind {
			kept = append(kept, r)
		}
	}
	s.link = kept
	buf := getBuffer()
	defer putBuffer(buf)
	for _, v := range s.chain.versions {
		*buf = filterwire.AppendReport((*buf)[:0], v, e)
		s.link = append(s.link, linkReport{e.Kind, v, string(*buf)})
	}
}

// usable gives the process that st speaks to and may go on with, nil if there
// is none. One that is leaving is done with when no transaction of this session
// is under way on it.
func (s *Session) usable(st *seat) *process {
	p := st.p
	if p == nil || p.ended.Load() || p.leaving.Load() && (!s.inTx || s.opening || st.tx != p) {
		return nil
	}
	return p
}

// reach gives the process that st speaks to, after it has been told who the
// session is. It waits for a process that is due, unless ctx has ended.
func (s *Session) reach(ctx context.Context, st *seat) (*process, error) {
	if p := s.usable(st); p != nil {
		if st.stuck.Load() {
			return nil, ErrTimeout
		}
		return p, nil
	}
	st.stuck.Store(false) // the next process is another
	st.silent = 0
	if st.p != nil {
		s.flush(st)
		st.p.remove(s.id)
		st.p = nil
	}
	for {
		p := st.w.current(ctx)
		if p == nil {
			return nil, ErrDown
		}
		st.mu.Lock()
		st.on = p
		if st.was != p {
			st.was, st.late, st.forgotten, st.whole = p, nil, 0, 0
		}
		st.mu.Unlock()
		err := p.add(s.id, st)
		if err == nil {
			st.p = p
			if s.opening {
				st.tx = p
			}
			return p, s.replay(st, p)
		}
		st.mu.Lock()
		st.on = nil
		st.mu.Unlock()
		if !errors.Is(err, errLeaving) { // else there is a newer one
			return nil, err
		}
	}
}

// rejoin has the process of a seat that was stuck told anew who the session is,
// as a new process is: it has missed lines.
func (s *Session) rejoin(st *seat) {
	st.stuck.Store(false)
	putBuffer(st.told)
	st.told = nil
	if st.p == nil {
		return
	}
	st.mu.Lock()
	st.on = nil
	st.mu.Unlock()
	st.p.remove(s.id)
	st.p = nil
}

// replay tells p who the session is, in one write.
func (s *Session) replay(st *seat, p *process) error {
	buf := getBuffer()
	defer putBuffer(buf)
	events := filterwire.Events(p.events.Load())
	for _, r := range s.link {
		if r.protocol == st.w.proc.protocol && events.Has(r.kind) {
			*buf = append(*buf, r.line...)
		}
	}
	if len(*buf) == 0 {
		return nil
	}
	return s.put(st, p, *buf)
}

// broken reports whether the transaction under way began on another process
// than the one that st speaks to.
func (s *Session) broken(st *seat) bool { return s.inTx && !s.opening && st.tx != st.p }

// reachFor is reach for a question at phase. Those about a transaction that
// began on another process are not for this one: it would answer for mail of
// which it knows half.
func (s *Session) reachFor(ctx context.Context, st *seat, phase filterwire.Phase) (*process, error) {
	switch {
	case st.w.proc.paused.Load():
		return nil, ErrPaused
	case st.silent > maxLate:
		return nil, ErrTimeout
	}
	p, err := s.reach(ctx, st)
	if err != nil {
		return nil, err
	}
	switch phase {
	case filterwire.RcptTo, filterwire.Data, filterwire.DataLine, filterwire.Commit:
		if s.broken(st) {
			return nil, errOtherProcess
		}
	}
	return p, nil
}

// errOtherProcess is for an operator who sees that there is a process now.
var errOtherProcess = fmt.Errorf("%w as it was: the process with which the transaction began has ended", ErrDown)
