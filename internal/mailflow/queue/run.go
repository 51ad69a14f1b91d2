package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
)

// Bounds of the end of Run.
const (
	drainTimeout = 10 * time.Second // for what is left to write
	abandonAfter = 10 * time.Second // for attempts that do not heed their context
)

// Run makes attempts until ctx ends; then none begins any more, those under
// way have Options.Grace to end by themselves, after which their context
// ends, and what they achieved is recorded. One Run at a time.
func (q *Queue) Run(ctx context.Context) error {
	s := &q.sched
	attempts, cancelAttempts := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelAttempts()
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return errors.New("queue: Run is called while it runs")
	}
	s.running = true
	s.attempts = attempts
	s.nextPoll = q.opt.Now()
	s.mu.Unlock()

	recording, cancelRecording := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRecording()
	drain, recorded := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(recorded)
		q.rec.run(recording, drain)
	}()

	q.poll(ctx)

	s.mu.Lock()
	s.running = false
	s.mu.Unlock()
	err := q.awaitAttempts(cancelAttempts)
	s.mu.Lock()
	left := s.removeWhere(func(*item, *mail.Envelope) bool { return true })
	s.mu.Unlock()
	q.release(left)
	close(drain)
	select {
	case <-recorded:
	case <-time.After(drainTimeout):
		err = errors.Join(err, errors.New("queue: not everything could be recorded; some deliveries may be repeated at the next start"))
	}
	cancelRecording()
	<-recorded
	return err
}

// awaitAttempts waits for the attempts under way.
func (q *Queue) awaitAttempts(cancel context.CancelFunc) error {
	ended := make(chan struct{})
	go func() {
		q.sched.workers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(q.opt.Grace):
	}
	cancel()
	select {
	case <-ended:
		return nil
	case <-time.After(abandonAfter):
		return errors.New("queue: an attempt does not end; it is made again at the next start")
	}
}

// enqueue has it wait for its turn. The caller has the lock.
func (q *Queue) enqueue(it *item, now time.Time) {
	q.sched.enqueue(it, now)
	q.arm(q.sched.dest(it.dest), now)
}

// dispatch begins attempts while there are places. The caller has the lock.
func (q *Queue) dispatch(now time.Time) {
	s := &q.sched
	for it := s.next(now); it != nil; it = s.next(now) {
		q.refill(s.dest(it.dest), now)
		s.workers.Add(1)
		go q.work(s.attempts, it)
	}
	if s.envs[retry] < maxReady[retry]/2 && (len(s.refills) > 0 || !s.nextPoll.IsZero() && !now.Before(s.nextPoll)) {
		s.wakePoller() // it may be waiting for room
	}
}

// work makes one attempt.
func (q *Queue) work(ctx context.Context, it *item) {
	defer q.sched.workers.Done()
	begin := q.opt.Now()
	late := it.split(func(_ *item, e *mail.Envelope) bool { return !begin.Before(e.Expires) })
	if late == it {
		q.attempted(it, nil)
		q.expire(it)
		return
	}
	outcomes := q.deliver(ctx, it)
	q.attempted(it, outcomes)
	q.settle(it, outcomes)
	if late != nil {
		q.expire(late)
	}
}

// attempted gives the place of an attempt to the next. If the destination
// could not be reached, those that wait for it hear of it.
func (q *Queue) attempted(it *item, outcomes []delivery.Outcome) {
	s := &q.sched
	now := q.opt.Now()
	res := reached
	switch {
	case outcomes == nil:
		res = untried
	case unreachable(outcomes):
		res = missed
	}
	var gone []*item
	s.mu.Lock()
	d := s.ended(it, res, now, q.opt.Rand())
	if res == missed {
		gone = q.backOff(d, now)
	}
	q.refill(d, now)
	q.dispatch(now)
	s.mu.Unlock()
	for _, other := range gone {
		q.lineUp(other, &outcomes[0])
	}
}

// backOff looks at what waits for a destination that cannot be reached:
// envelopes that are to be returned, or whose senders are to be told, and
// those above MaxDeferred leave memory. The rest waits for the next try.
func (q *Queue) backOff(d *destination, now time.Time) (gone []*item) {
	kept := 0
	gone = q.sched.removeFrom(d, func(it *item, e *mail.Envelope) bool {
		if !now.Before(e.Expires) || q.warned(it.msg, e, now) > e.Warned {
			return true
		}
		kept++
		return kept > q.tuned.Load().MaxDeferred
	})
	q.arm(d, now)
	return gone
}

// arm sees to it that a destination has its turn after its back-off.
func (q *Queue) arm(d *destination, now time.Time) {
	if d.woken || d.envs == 0 && !d.lined || !now.Before(d.until) {
		return
	}
	d.woken = true
	time.AfterFunc(d.until.Sub(now), func() { q.wake(d) })
}

func (q *Queue) wake(d *destination) {
	s := &q.sched
	now := q.opt.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	d.woken = false
	if s.running {
		q.arm(d, now) // the back-off may have grown
		q.refill(d, now)
		s.ring(d, now)
		q.dispatch(now)
	}
}

// deliver has the Deliverer make the attempt, and makes sure that there is
// one outcome for each envelope.
func (q *Queue) deliver(ctx context.Context, it *item) (outcomes []delivery.Outcome) {
	defer func() {
		if p := recover(); p != nil {
			q.log.Error("a delivery panicked", "message", it.msg.ID.String(), "panic", p, "stack", string(debug.Stack()))
			outcomes = q.fill(it, nil, "internal error")
		}
	}()
	outcomes = q.d.Deliver(ctx, delivery.Job{
		Message:   it.msg,
		Envelopes: it.envs,
		Open: func() (io.ReadCloser, error) {
			if it.body != nil {
				return body(it.msg, func() (io.ReadCloser, error) { return it.body.open(), nil })
			}
			return q.stored(ctx, it.msg)
		},
	})
	if len(outcomes) != len(it.envs) {
		q.log.Error("a delivery told too few or too many outcomes", "message", it.msg.ID.String(),
			"envelopes", len(it.envs), "outcomes", len(outcomes))
	}
	return q.fill(it, outcomes, "the attempt ended without a result")
}

// fill gives exactly one valid outcome for each envelope.
func (q *Queue) fill(it *item, outcomes []delivery.Outcome, why string) []delivery.Outcome {
	missing := delivery.Outcome{Status: delivery.Deferred, Enhanced: "4.3.0", Text: why}
	out := outcomes[:min(len(outcomes), len(it.envs)):min(len(outcomes), len(it.envs))]
	for i := range out {
		if s := out[i].Status; s < delivery.Delivered || s > delivery.Failed {
			out[i] = missing
			out[i].Text = fmt.Sprintf("the attempt ended with the unknown status %d", s)
		}
	}
	for len(out) < len(it.envs) {
		out = append(out, missing)
	}
	return out
}
