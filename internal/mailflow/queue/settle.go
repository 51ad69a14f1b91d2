package queue

import (
	"sync"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/trace"
)

// statusExpired is the enhanced code of an envelope whose time is over
// (RFC 3463 s3.5, delivery time expired).
const statusExpired = "4.4.7"

// roundWait is how long the failures of one message wait for those of its
// other attempts, so that one report tells of all.
const roundWait = 2 * time.Second

// round is the attempts that were put in line together for one message. Its
// failures are reported together when all attempts have ended, or roundWait
// after the first failure.
type round struct {
	mu       sync.Mutex
	pending  int
	failures []recipient
	timer    *time.Timer
}

// recipient is what a report tells of one envelope. Its claim is held until
// the report is stored.
type recipient struct {
	env     *mail.Envelope
	fence   uint64
	outcome delivery.Outcome
	next    Deferral // for a report of delay: what becomes of the envelope
}

func (r *round) add() {
	r.mu.Lock()
	r.pending++
	r.mu.Unlock()
}

// endRound notes that it is done with.
func (q *Queue) endRound(it *item) {
	r := it.round
	r.mu.Lock()
	r.pending--
	var flush []recipient
	if r.pending == 0 {
		flush, r.failures = r.failures, nil
		if r.timer != nil && r.timer.Stop() {
			q.sched.workers.Done()
		}
	}
	r.mu.Unlock()
	q.reportFailures(it.msg, flush)
}

// failInRound notes failures.
func (q *Queue) failInRound(it *item, failed []recipient) {
	if len(failed) == 0 {
		return
	}
	r := it.round
	r.mu.Lock()
	r.failures = append(r.failures, failed...)
	if r.timer == nil && r.pending > 1 {
		msg := it.msg
		q.sched.workers.Add(1)
		r.timer = time.AfterFunc(roundWait, func() {
			defer q.sched.workers.Done()
			r.mu.Lock()
			r.timer = nil
			flush := r.failures
			r.failures = nil
			r.mu.Unlock()
			q.reportFailures(msg, flush)
		})
	}
	r.mu.Unlock()
}

// settle decides what becomes of each envelope after an attempt.
func (q *Queue) settle(it *item, outcomes []delivery.Outcome) {
	now := q.opt.Now()
	var c Change
	var failed, delayed, delivered []recipient
	for i, e := range it.envs {
		o := outcomes[i]
		rc := recipient{env: e, fence: it.fences[i], outcome: o}
		switch {
		case o.Status == delivery.Delivered:
			q.tell(it.msg, e, o, "delivered")
			if q.wants(it.msg, e, mail.NotifySuccess) && !o.DSN {
				delivered = append(delivered, rc)
			} else {
				c.Done = append(c.Done, Claim{e.ID, rc.fence})
			}
		case o.Status == delivery.Failed:
			q.tell(it.msg, e, o, "failed")
			failed = append(failed, rc)
		default:
			e.Attempts++
			next := now.Add(retryAfter(e, e.Attempts, q.opt.Rand()))
			if !now.Before(e.Expires) {
				rc.outcome = expired(e, o.Text)
				q.tell(it.msg, e, rc.outcome, "expired")
				failed = append(failed, rc)
				continue
			}
			q.tell(it.msg, e, o, "deferred")
			e.LastErr = o.Text
			e.Next = earlier(next, e.Expires) // what has expired is seen when it is due
			q.deferTo(it, rc, unchanged(e, rc.fence), now, &c, &delayed)
		}
	}
	q.finish(it, &c, failed, delayed, delivered)
}

// expire ends envelopes whose time is over.
func (q *Queue) expire(it *item) {
	var failed []recipient
	for i, e := range it.envs {
		o := expired(e, e.LastErr)
		q.tell(it.msg, e, o, "expired")
		failed = append(failed, recipient{env: e, fence: it.fences[i], outcome: o})
	}
	q.finish(it, new(Change), failed, nil, nil)
}

func expired(e *mail.Envelope, last string) delivery.Outcome {
	text := "delivery time expired"
	if last != "" {
		text += "; the last attempt ended with: " + last
	}
	return delivery.Outcome{Status: delivery.Failed, Enhanced: statusExpired, Text: text}
}

// deferTo has an envelope wait as d says, with a report of its delay if one is
// due.
func (q *Queue) deferTo(it *item, rc recipient, d Deferral, now time.Time, c *Change, delayed *[]recipient) {
	e := rc.env
	n := q.warned(it.msg, e, now)
	if n > e.Warned && q.wants(it.msg, e, mail.NotifyDelay) {
		rc.next = d
		rc.next.Warned = n
		*delayed = append(*delayed, rc)
		return
	}
	c.Defer = append(c.Defer, d)
}

// finish hands over everything that an attempt leads to.
func (q *Queue) finish(it *item, c *Change, failed, delayed, delivered []recipient) {
	if len(c.Done)+len(c.Defer) > 0 {
		q.record(*c)
	}
	q.reportDelay(it.msg, delayed)
	q.reportSuccess(it.msg, delivered)
	q.failInRound(it, failed)
	it.drop()
	q.endRound(it)
}

// record stores a change, and has the poller come when its envelopes are due.
func (q *Queue) record(c Change) {
	rec := &record{change: c}
	if len(c.Defer) > 0 {
		rec.recorded = func() { q.pollFor(rec.change.Defer) }
	}
	q.rec.add(rec)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// pollFor has the poller come when the first of these is due, or has its turn.
func (q *Queue) pollFor(ds []Deferral) {
	s := &q.sched
	now := q.opt.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range ds {
		if ds[i].Line.Name != "" {
			q.joined(ds[i].Line, now)
			continue
		}
		s.pollAt(ds[i].Next)
	}
}

// warned gives the number of warnings of a delay that an envelope of that age
// should have led to.
func (q *Queue) warned(m *mail.Message, e *mail.Envelope, now time.Time) int {
	n := 0
	for _, d := range q.tuned.Load().WarnIntervals {
		if now.Sub(m.Received) >= d {
			n++
		}
	}
	return n
}

// wants reports whether the sender of an envelope hears of that. RFC 3461
// s4.1: NOTIFY says so; without it failures and delays are told.
func (q *Queue) wants(m *mail.Message, e *mail.Envelope, what mail.Notify) bool {
	switch {
	case m.Sender.IsNull(), e.Notify&mail.NotifyNever != 0:
		return false // RFC 5321 s4.5.5: nobody is told of what happens to a report
	case e.Notify == 0:
		return what != mail.NotifySuccess
	}
	return e.Notify&what != 0
}

// tell tells the end of an attempt.
func (q *Queue) tell(m *mail.Message, e *mail.Envelope, o delivery.Outcome, result string) {
	q.opt.Sink.Event(&trace.Event{
		Kind: trace.DeliveryResult, Time: q.opt.Now(), Session: m.Session, Message: m.ID, Envelope: e.ID,
		Addr: e.Dest, Result: result, Text: o.Text, Filter: e.Action, Dest: o.Remote,
	})
}
