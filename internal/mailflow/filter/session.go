package filter

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/trace"
)

// Session is one SMTP session as its chain's filters see it. Its methods are
// called by one goroutine at a time; a Message's may be called by another
// while none of the Session's is.
type Session struct {
	// Sink, if set, gets the events that begin here: what filters report. It
	// is to hand them to the session's readers, this Session's Event among
	// them. If nil they go to Options.Sink and to Event.
	Sink trace.Sink

	chain   *Chain
	id      mail.SessionID
	facts   *routing.Facts
	seats   []seat // one for each of chain.procs
	message *Message
	passed  *Message // the transaction's, once it has come through
	clock   *time.Timer
	link    []linkReport
	gone    <-chan struct{} // of the last question's context: reports wait no longer than it
	size    int64           // of the message, -1 if not known

	inTx     bool // from the question to mail-from until tx-reset
	opening  bool // mail-from is being asked
	bypass   bool // filters are not asked in this session
	bypassTx bool // nor in this transaction
	ended    bool // link-disconnect was told

	// Why messages are to be held: of filters that failed the transaction, or
	// the session before it. "" if they are not.
	holdTx, holdAll string

	mu      sync.Mutex
	reports []*trace.Event // given by filters, not yet told
	waiting int            // bytes in their texts
	lost    int            // reports beyond maxReports and maxReportBytes
}

// maxReports is how many reports of filters, and maxReportBytes how much text in
// them, wait until the session's own goroutine comes to tell them; more are
// dropped.
const (
	maxReports     = 64
	maxReportBytes = 64 << 10
)

// resetTx forgets what belongs to one transaction.
func (s *Session) resetTx() {
	s.bypassTx, s.size, s.holdTx = false, -1, ""
	if s.passed != nil {
		s.passed.discard()
		s.passed = nil
	}
	for i := range s.seats {
		s.seats[i].failed = nil
	}
}

// Ask puts a question to the chain and returns what it says; arg is what
// filterwire.AppendRequest wants. It takes as long as the filters, each of
// which has its time limit. When ctx ends, Ask does, with ctx's error and
// without fault of the filter. Verdict.Param and Filter are set as its
// comments say; the report filter-response is the caller's to make.
func (s *Session) Ask(ctx context.Context, phase filterwire.Phase, arg string) Verdict {
	s.gone = ctx.Done()
	s.flushReports()
	if phase == filterwire.MailFrom {
		s.openTx(ctx)
		defer func() { s.opening = false }()
	}
	if phase != filterwire.Commit {
		return s.askChain(ctx, phase, arg)
	}
	v := s.askChain(ctx, phase, arg)
	if v.Hold = s.holdTx; v.Hold == "" {
		v.Hold = s.holdAll
	}
	if s.passed != nil {
		v.Before = s.passed.before()
	}
	return v
}

// askChain asks the filters one after the other. If all proceed, or are passed
// over, its Err is that of the first that was passed over.
func (s *Session) askChain(ctx context.Context, phase filterwire.Phase, arg string) Verdict {
	all := Verdict{Decision: filterwire.Proceed}
	if s.bypass || s.bypassTx || s.ended {
		return all
	}
	for i := range s.chain.links {
		l := &s.chain.links[i]
		var v Verdict
		if l.builtin != nil {
			v = s.builtin(l, phase)
		} else {
			v = s.question(ctx, l, phase, arg)
		}
		switch {
		case v.Decision != filterwire.Proceed:
			return v
		case v.Err != nil && all.Err == nil:
			all = v
		}
	}
	return all
}

// openTx begins a transaction as far as filters go: it belongs to the
// processes that there are now. One that is due is waited for although it may
// be asked about the recipients or the message only: it would know nothing of
// what began before it.
func (s *Session) openTx(ctx context.Context) {
	s.inTx, s.opening = true, true
	s.resetTx()
	for i := range s.seats {
		st := &s.seats[i]
		st.tx, st.silent = nil, 0
		if st.stuck.Load() {
			s.rejoin(st)
		}
		wait := ctx
		if s.bypass || s.ended || !st.w.proc.asksInTx() {
			wait = noWait
		}
		s.reach(wait, st) // for good: should it be replaced, this transaction is still its own
		st.tx = st.p
	}
}

// builtin evaluates a filter of our own.
func (s *Session) builtin(l *link, phase filterwire.Phase) Verdict {
	b := l.builtin
	if l.phase != phase || !routing.Holds(l.when, s.facts) || !routing.Holds(b.Conditions, s.facts) {
		return Verdict{Decision: filterwire.Proceed}
	}
	v := Verdict{Param: b.Param, Filter: l.name}
	switch b.Decision {
	case "report":
		s.emit(filterReport(s.id, "builtin", l.name, b.Param))
		return Verdict{Decision: filterwire.Proceed}
	case "bypass":
		v.Decision, v.Param = filterwire.Bypass, ""
		switch phase {
		case filterwire.Connect, filterwire.Helo, filterwire.Ehlo, filterwire.StartTLS, filterwire.Auth:
			s.bypass = true
		default:
			s.bypassTx = true
		}
	case "junk":
		v.Decision, v.Param = filterwire.Junk, ""
	case "reject":
		v.Decision = filterwire.Reject
	case "disconnect":
		v.Decision = filterwire.Disconnect
	case "rewrite":
		v.Decision = filterwire.Rewrite
	}
	return v
}

// question asks one filter process.
func (s *Session) question(ctx context.Context, l *link, phase filterwire.Phase, arg string) Verdict {
	st := &s.seats[l.seat]
	if !s.wanted(st, phase) || !routing.Holds(l.when, s.facts) {
		return Verdict{Decision: filterwire.Proceed}
	}
	if st.failed != nil && ofTransaction(phase) {
		return l.proc.policy.verdict(l.name, phase, st.failed)
	}
	p, err := s.reachFor(ctx, st, phase)
	if err == nil && !p.registered(phase) { // a new process that asks for less
		return Verdict{Decision: filterwire.Proceed}
	}
	if err != nil {
		return s.fault(ctx, l, phase, err)
	}
	if phase == filterwire.Commit && s.size >= 0 && p.size.Load() {
		arg = strconv.FormatInt(s.size, 10)
	}
	buf := st.told // leaves with the question
	if st.told = nil; buf == nil {
		buf = getBuffer()
	}
	defer putBuffer(buf)
	q := question{p: p, token: p.token(false), phase: phase, done: ctx.Done()}
	*buf = filterwire.AppendRequest(*buf, l.proc.protocol, time.Now(), phase, s.id, q.token, arg)
	q.line = *buf
	began := l.proc.asked()
	d, param, err := st.ask(&q)
	l.proc.answered(began)
	s.flushReports()
	switch {
	case err != nil:
		return s.fault(ctx, l, phase, err)
	case d == filterwire.Proceed:
		return Verdict{Decision: filterwire.Proceed}
	case d == filterwire.Report:
		s.emit(filterReport(s.id, "proc", l.name, param))
		return Verdict{Decision: filterwire.Proceed}
	}
	return Verdict{Decision: d, Param: param, Filter: l.name}
}

// wanted reports whether the filter is to be asked at phase. One that was never
// ready has not said where it wants to be asked: it fails each transaction,
// at its beginning, and leaves the rest of the session alone.
func (s *Session) wanted(st *seat, phase filterwire.Phase) bool {
	p := s.usable(st)
	if p == nil {
		p = st.w.latest.Load()
	}
	if p == nil {
		return phase == filterwire.MailFrom
	}
	return p.registered(phase)
}

// fault makes the verdict for a question that was not answered.
func (s *Session) fault(ctx context.Context, l *link, phase filterwire.Phase, err error) Verdict {
	if ctx.Err() != nil && !errors.As(err, new(*Fault)) {
		return Verdict{Decision: filterwire.Reject, Param: localError, Filter: l.name, Err: context.Cause(ctx)}
	}
	f := s.faultOf(l, phase, err)
	s.noteFault(f, l)
	s.noteFailure(l, phase, f)
	return l.proc.policy.verdict(l.name, phase, f)
}

// noteFailure keeps what a fault at phase means for later: the filter has failed
// the transaction, and messages may have to be held. A filter that did not have
// its say on the session has not had it on any of its messages.
func (s *Session) noteFailure(l *link, phase filterwire.Phase, f *Fault) {
	inTx := ofTransaction(phase)
	if inTx {
		s.seats[l.seat].failed = f
	}
	switch {
	case l.proc.policy.onFailure != config.Hold:
	case inTx && s.holdTx == "":
		s.holdTx = f.Error()
	case phase <= filterwire.Auth && s.holdAll == "":
		s.holdAll = f.Error()
	}
}

// faultOf makes the fault by which l did not answer this session; err may be
// the fault of the whole process.
func (s *Session) faultOf(l *link, phase filterwire.Phase, err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		err = f.Cause
	}
	return &Fault{Filter: l.name, Phase: phase.String(), Session: s.id, Cause: err}
}

// noteFault tells a fault. Those that a process ended of are told by its worker
// once for all, and again here only if nothing else would tell of the session.
func (s *Session) noteFault(f *Fault, l *link) {
	own := errors.Is(f, ErrTimeout) || errors.Is(f, ErrTooLarge)
	if own {
		l.proc.lastFault.Store(f)
	}
	if own || l.proc.policy.onFailure == config.Accept || l.proc.policy.onFailure == config.Hold {
		s.chain.h.failed(f)
	}
}

// SetMessageSize tells how large the message is that commit is about, for
// filters that registered the feature message-size.
func (s *Session) SetMessageSize(n int64) { s.size = n }

// Message sends a message through the filters of the chain that want its
// lines; what the last of them makes of it is written to out, lines ended by
// LF and still dot-escaped, without the final dot, by another goroutine and
// until Finish or Abort return. It gives nil if no filter wants the lines. When
// ctx ends the message has failed with its cause.
func (s *Session) Message(ctx context.Context, out io.Writer) *Message {
	s.flushReports()
	if s.bypass || s.bypassTx || s.ended {
		return nil
	}
	var links []*link
	for i := range s.chain.links {
		l := &s.chain.links[i]
		if l.proc != nil && s.wanted(&s.seats[l.seat], filterwire.DataLine) && routing.Holds(l.when, s.facts) {
			links = append(links, l)
		}
	}
	if links == nil {
		return nil
	}
	s.Flush() // lines of a message come from several goroutines
	s.message = s.newMessage(ctx, links, out)
	return s.message
}

// Close ends the session: what filters still say of it is ignored. A message
// that is under way is aborted. It does not tell link-disconnect.
func (s *Session) Close() {
	if s.message != nil {
		s.message.Abort()
	}
	s.flushReports()
	s.ended = true
	s.Flush()
	s.resetTx()
	for i := range s.seats {
		st := &s.seats[i]
		if st.p != nil {
			st.p.remove(s.id)
		}
	}
	if s.clock != nil {
		s.clock.Stop()
	}
}

// timer gives the session's only timer, set to d.
func (s *Session) timer(d time.Duration) *time.Timer {
	if s.clock == nil {
		s.clock = time.NewTimer(d)
	} else {
		s.clock.Reset(d)
	}
	return s.clock
}
