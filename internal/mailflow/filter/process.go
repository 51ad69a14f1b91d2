package filter

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
)

// process is one run of a filter's program: a pipe pair, and the sessions
// that it has heard of. When it ends it is never used again; its worker
// starts another.
type process struct {
	w      *worker
	run    Process
	pid    int
	stdin  *writer
	stdout *os.File
	stderr *os.File // its reader closes it

	// Tokens count up from base. The lowest bit is set in those of messages,
	// so that a late line of a message that is over is known as one.
	base      uint64
	last      atomic.Uint64 // highest number that was given out
	events    atomic.Uint32 // filterwire.Events that it registered
	phases    atomic.Uint32 // filterwire.Phases
	size      atomic.Bool   // feature message-size
	finalAddr atomic.Bool   // feature final-address
	ready     chan struct{} // closed at register|ready
	isReady   bool          // the reader's own copy
	over      chan struct{} // closed by fail
	ended     atomic.Bool   // over is closed

	writing chan struct{} // has room for each message whose lines may be on their way into the pipe at once

	exited chan struct{} // closed when the program has ended
	status string        // how; set before exited is closed

	mu       sync.Mutex
	seats    map[mail.SessionID]*seat
	fault    error         // why it is over
	leaving  atomic.Bool   // another has taken its place: sessions leave it when their transaction is over
	deserted chan struct{} // closed when the last has left; nil unless leaving
}

func (p *process) registered(ph filterwire.Phase) bool {
	return filterwire.Phases(p.phases.Load()).Has(ph)
}

// token gives a token that no other question of this process has.
func (p *process) token(message bool) uint64 {
	n := p.last.Add(1) << 1
	if message {
		n |= 1
	}
	return p.base + n
}

// wasMessage reports whether token was given out for a message.
func (p *process) wasMessage(token uint64) bool {
	n := token - p.base
	return n&1 == 1 && n>>1 >= 1 && n>>1 <= p.last.Load()
}

// askedBefore reports whether token is that of a question, and not a later one
// than that of last, which is 0 if there is none.
func (p *process) askedBefore(token, last uint64) bool {
	n := token - p.base
	return last != 0 && n&1 == 0 && n > 0 && n <= last-p.base
}

// errLeaving says that a process takes no more sessions, because its worker
// has a newer one.
var errLeaving = errors.New("another process has taken its place")

// add makes s known; it fails if the process is over or leaving.
func (p *process) add(id mail.SessionID, s *seat) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.fault != nil:
		return p.fault
	case p.leaving.Load():
		return errLeaving
	}
	p.seats[id] = s
	return nil
}

// remove forgets a session: what the filter still says of it is ignored.
func (p *process) remove(id mail.SessionID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, had := p.seats[id]
	delete(p.seats, id)
	if had && len(p.seats) == 0 && p.deserted != nil {
		close(p.deserted)
	}
}

// leave has the process take no more sessions. What it gives is closed when
// the last of those it has is gone.
func (p *process) leave() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deserted = make(chan struct{})
	p.leaving.Store(true)
	if len(p.seats) == 0 {
		close(p.deserted)
	}
	return p.deserted
}

func (p *process) seat(id mail.SessionID) *seat {
	p.mu.Lock()
	s := p.seats[id]
	p.mu.Unlock()
	return s
}

// fail ends the process: all who wait for it are told, once. The worker sees
// to the rest.
func (p *process) fail(cause error) {
	p.mu.Lock()
	if p.fault != nil {
		p.mu.Unlock()
		return
	}
	var f *Fault
	if !errors.As(cause, &f) {
		f = &Fault{Filter: p.w.proc.name, Cause: cause}
	}
	p.fault = f
	seats := p.seats
	p.seats = nil
	p.mu.Unlock()
	p.ended.Store(true)
	for _, s := range seats {
		s.lost(p, f)
	}
	close(p.over)
}

// reason gives why the process is over.
func (p *process) reason() *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	var f *Fault
	errors.As(p.fault, &f)
	return f
}

// seat is the place of one session at one process. It outlives the process:
// the next one gets the same seat, after a replay of what the session is.
//
// The session's goroutine owns all but what mu guards, which readers use too.
type seat struct {
	s *Session
	w *worker

	p      *process    // that has heard of the session; may be over
	told   *[]byte     // reports for p that leave with the next write, nil if there are none
	tx     *process    // that was there when the transaction began
	stuck  atomic.Bool // did not read, and missed lines: not spoken to again before the next transaction
	failed *Fault      // by which it failed the transaction under way
	silent int         // questions left without answer since the transaction began
	answer chan struct{}

	mu      sync.Mutex
	on      *process // p, for readers
	token   uint64   // of the question that is out, 0 for none
	phase   filterwire.Phase
	got     filterwire.Decision // with param or err: the answer
	param   string
	err     error
	streams []*stream

	// Of the process that was spoken to last.
	was       *process
	late      []uint64 // questions nobody waits for any more, in their order
	forgotten uint64   // the last of those that were in late and are not, because it was full
	whole     uint64   // token of the last message that the filter has ended
}

// maxLate is how many tokens are kept of questions that a filter has left
// without answer in one session, so that an answer that comes late after all is
// no fault. Those before them may be answered twice, and nobody notices. After
// more of them it is not asked again before the session's next transaction.
const maxLate = 8

// lost tells the seat that p is over.
func (st *seat) lost(p *process, f *Fault) {
	st.mu.Lock()
	if st.on != p {
		st.mu.Unlock()
		return
	}
	st.on = nil
	asked := st.token != 0
	if asked {
		st.token = 0
		g := *f
		if g.Phase == "" {
			g.Phase = st.phase.String()
		}
		st.err = &g
	}
	streams := st.streams
	st.streams = nil
	st.mu.Unlock()
	if asked {
		st.answer <- struct{}{} // has room: one question, one answer
	}
	for _, x := range streams {
		x.fail(f)
	}
}

// result takes an answer from the reader. Its error is what the filter should
// have said.
func (st *seat) result(p *process, l *filterwire.Line) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.on != p:
		return nil
	case st.token != l.Token || st.token == 0:
		for i, t := range st.late {
			if t == l.Token {
				st.late = append(st.late[:i], st.late[i+1:]...)
				return nil
			}
		}
		if p.askedBefore(l.Token, st.forgotten) {
			return nil
		}
		if st.token == 0 {
			return errors.New("no answer, since nothing is asked in this session")
		}
		return errors.New("the token of the question to " + st.phase.String())
	}
	st.token = 0
	st.got, st.param, st.err = l.Decision, "", nil
	if len(l.Text) > 0 {
		st.param = string(l.Text)
	}
	st.answer <- struct{}{}
	return nil
}

// stream finds a message of the session by its token; over says that it was
// ended by the filter.
func (st *seat) stream(token uint64) (x *stream, over bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, x := range st.streams {
		if x.token == token {
			return x, false
		}
	}
	return nil, token == st.whole && token != 0
}

// asked gives the phase whose question is out, or a message is.
func (st *seat) asked() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.token != 0:
		return st.phase.String()
	case len(st.streams) > 0:
		return filterwire.DataLine.String()
	}
	return ""
}

// ask puts a question and waits for its answer. Its error is ErrTimeout,
// errGone if ask.done was closed, or the process's fault.
func (st *seat) ask(ask *question) (d filterwire.Decision, param string, err error) {
	st.mu.Lock()
	if st.on != ask.p {
		st.mu.Unlock()
		return 0, "", ask.p.reason()
	}
	st.token, st.phase, st.err = ask.token, ask.phase, nil
	st.mu.Unlock()
	limit := st.w.proc.policy.timeout
	timer := st.s.timer(limit) // for both: room in the pipe, and the answer
	defer timer.Stop()
	asking := &st.w.h.asking
	crowd := asking.Add(1) > 1
	defer asking.Add(-1)
	if err := ask.p.stdin.put(ask.line, patience{limit: limit, done: ask.done, crowd: crowd}); err != nil {
		if errors.Is(err, ErrTimeout) {
			st.stuck.Store(true) // reports before the question are lost with it
		} else { // whoever closed the pipe says why, or the client has left
			select {
			case <-ask.p.over:
			case <-ask.done:
			}
		}
		return st.giveUp(ask, err, false)
	}
	select {
	case <-st.answer:
		return st.got, st.param, st.err
	case <-ask.done:
		return st.giveUp(ask, errGone, true)
	case <-timer.C:
		return st.giveUp(ask, ErrTimeout, true)
	}
}

// question is one line that waits for an answer.
type question struct {
	p     *process
	token uint64
	phase filterwire.Phase
	line  []byte
	done  <-chan struct{}
}

// giveUp stops waiting, unless the answer has come meanwhile.
func (st *seat) giveUp(ask *question, why error, sent bool) (filterwire.Decision, string, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.token == 0 { // answered, or lost, between the select and the lock
		<-st.answer
		return st.got, st.param, st.err
	}
	st.token = 0
	if sent {
		st.silent++
		if len(st.late) == maxLate {
			st.forgotten = st.late[0]
			st.late = st.late[:copy(st.late, st.late[1:])]
		}
		st.late = append(st.late, ask.token)
	}
	return 0, "", why
}
