package filter

import (
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/trace"
)

// Event tells e to the filters of the chain that registered it. What it tells
// leaves with the next question or lines to that filter, or with Flush: a
// command makes four reports and more, and each would be a write.
//
// It blocks only while a filter's pipe is full, until the context of the last
// question ends, and no longer than the filter's time limit: then the filter hears no more of this session before its next
// transaction. Nothing is told
// after link-disconnect. It does not keep e.
func (s *Session) Event(e *trace.Event) {
	if filterwire.EventName(e.Kind) == "" || s.ended {
		return
	}
	if len(s.seats) > 0 {
		s.flushReports()
		s.tell(e)
	}
	switch e.Kind {
	case trace.LinkConnect, trace.LinkGreeting, trace.LinkIdentify, trace.LinkTLS, trace.LinkAuth:
		s.keep(e) // in no version if there is no process
	case trace.LinkDisconnect:
		s.ended = true
	case trace.TxReset:
		s.inTx = false
		s.resetTx()
	}
}

// Reads reports whether a filter of the chain registered events of kind k, so
// that their texts are to be made (trace.Reader).
func (s *Session) Reads(k trace.Kind) bool {
	for i := range s.seats {
		st := &s.seats[i]
		p := s.usable(st)
		if p == nil {
			p = st.w.latest.Load()
		}
		if p == nil || filterwire.Events(p.events.Load()).Has(k) { // or it may be about to
			return true
		}
	}
	return false
}

func (s *Session) tell(e *trace.Event) {
	var lines [3]*[]byte // by form
	for i := range s.seats {
		st := &s.seats[i]
		p := s.usable(st)
		if p == nil {
			p = st.w.current(noWait)
		}
		if p == nil || !filterwire.Events(p.events.Load()).Has(e.Kind) {
			continue
		}
		if e.Kind == trace.LinkDisconnect && st.p != nil && st.p != p {
			continue // this process has not heard of the session: no need to
		}
		p, err := s.reach(noWait, st)
		if err != nil || s.broken(st) && e.Kind >= trace.TxReset && e.Kind <= trace.TxRollback {
			continue
		}
		form := int(st.w.proc.protocol)
		if p.finalAddr.Load() && (e.Kind == trace.TxMail || e.Kind == trace.TxRcpt) {
			form = finalForm
		}
		b := &lines[form]
		if *b == nil {
			*b = getBuffer()
			**b = s.appendReport(**b, form, e)
		}
		s.gather(st, **b)
	}
	for _, b := range lines {
		putBuffer(b)
	}
}

// finalForm is the form of a report with the feature final-address; the others
// are those of the protocols, by number.
const finalForm = int(filterwire.V06) + 1

// appendReport appends the report of e in one form.
func (s *Session) appendReport(b []byte, form int, e *trace.Event) []byte {
	if form != finalForm {
		return filterwire.AppendReport(b, filterwire.Protocol(form), e)
	}
	return filterwire.AppendFinalAddress(b, e)
}

// gatherMax bounds the reports that wait for the next write to a filter, in
// bytes.
const gatherMax = 4 << 10

// gather keeps reports for the next write to the process of st.
func (s *Session) gather(st *seat, lines []byte) {
	if st.told == nil {
		st.told = getBuffer()
	}
	*st.told = append(*st.told, lines...)
	if len(*st.told) > gatherMax {
		s.flush(st)
	}
}

// Flush lets go what Event has told. It is called before the session waits for
// its client. It blocks as Event does.
func (s *Session) Flush() {
	for i := range s.seats {
		s.flush(&s.seats[i])
	}
}

func (s *Session) flush(st *seat) {
	if st.told == nil {
		return
	}
	if st.p != nil && !st.stuck.Load() {
		s.put(st, st.p, *st.told)
	}
	putBuffer(st.told)
	st.told = nil
}

// put writes reports to a process. One that does not take them in time is
// stuck.
func (s *Session) put(st *seat, p *process, lines []byte) error {
	err := p.stdin.put(lines, patience{limit: st.w.proc.policy.timeout, done: s.gone, last: s.ended})
	if errors.Is(err, ErrTimeout) {
		st.stuck.Store(true)
		s.chain.h.failed(&Fault{Filter: st.w.proc.name, Session: s.id, Cause: ErrTimeout})
	}
	return err
}

// How many reports a filter may give by itself: each is a line in the log, and
// other filters may be told. Those of a session of the filter are bounded besides
// by what its client does; those of none are like lines on standard error.
const (
	reportsPerSecond = 5000
	reportBurst      = 10000
	straysPerSecond  = logPerSecond
	strayBurst       = logBurst
)

// reportLimits are those of one worker.
type reportLimits struct {
	ofSession, stray *rate.Limiter
	dropped          *atomic.Int64
}

func newReportLimits() reportLimits {
	return reportLimits{rate.NewLimiter(reportsPerSecond, reportBurst), rate.NewLimiter(straysPerSecond, strayBurst), new(atomic.Int64)}
}

// allow reports whether one more report is to be told; the log is told how many
// were not.
func (r *reportLimits) allow(w *worker, ofSession bool) bool {
	limit := r.stray
	if ofSession {
		limit = r.ofSession
	}
	if !limit.Allow() {
		r.dropped.Add(1)
		return false
	}
	if n := r.dropped.Swap(0); n > 0 {
		w.h.opt.Log.Warn("reports of a filter dropped", "filter", w.proc.name, "count", n)
	}
	return true
}

// queueReport keeps a filter's report for the session's goroutine; readers
// call it.
func (s *Session) queueReport(name, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.reports) >= maxReports || s.waiting+len(text) > maxReportBytes {
		s.lost++
		return
	}
	s.waiting += len(text)
	s.reports = append(s.reports, filterReport(s.id, "proc", name, text))
}

// flushReports tells what filters have reported by themselves.
func (s *Session) flushReports() {
	s.mu.Lock()
	reports, lost := s.reports, s.lost
	s.reports, s.lost, s.waiting = nil, 0, 0
	s.mu.Unlock()
	for _, e := range reports {
		s.emit(e)
	}
	if lost > 0 {
		s.chain.h.opt.Log.Warn("reports of filters dropped", "session", s.id.String(), "count", lost)
	}
}

// emit tells an event that begins here.
func (s *Session) emit(e *trace.Event) {
	if s.Sink != nil {
		s.Sink.Event(e)
		return
	}
	s.chain.h.opt.Sink.Event(e)
	s.Event(e)
}

// report takes a filter's own report line.
func (w *worker) report(p *process, l *filterwire.Line) {
	st := p.seat(l.Session)
	if !w.reports.allow(w, st != nil) {
		return
	}
	if st != nil {
		st.s.queueReport(w.proc.name, string(l.Text))
		return
	}
	w.h.opt.Sink.Event(filterReport(l.Session, "proc", w.proc.name, string(l.Text)))
}

// filterReport makes the event of a report that a filter gives.
func filterReport(id mail.SessionID, method, name, text string) *trace.Event {
	return &trace.Event{
		Kind: trace.FilterReport, Time: time.Now(), Session: id,
		Method: method, Filter: name, Text: text,
	}
}
