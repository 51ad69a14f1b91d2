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

// Bounds of the poller, which brings due envelopes from the store to memory.
const (
	claimBatch    = 500
	claimPauseMin = time.Second
	claimPauseMax = 30 * time.Second
	forgetEvery   = time.Minute
	drainTimeout  = 10 * time.Second // for what is left to write when Run ends
	abandonAfter  = 10 * time.Second // for attempts that do not heed their context
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

// poll claims what is due whenever there is something due and room for it.
func (q *Queue) poll(ctx context.Context) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		q.erase(ctx)
		room, wait := q.plan()
		if room == 0 {
			q.awaitPoke(ctx, wait)
			continue
		}
		err := q.claim(ctx, min(room, claimBatch))
		if err == nil || ctx.Err() != nil {
			pause = 0
			continue
		}
		pause = min(max(2*pause, claimPauseMin), claimPauseMax)
		q.log.Error("due envelopes cannot be read from the store", "error", err, "again", pause)
		sleep(ctx, pause)
	}
}

// plan says how many envelopes can be claimed now. If that is none, wait is
// the time until it should be asked again, negative if somebody will poke.
func (q *Queue) plan() (room int, wait time.Duration) {
	s := &q.sched
	now := q.opt.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.lastForget) > forgetEvery {
		s.lastForget = now
		s.forget(now)
	}
	wait = -1
	if !s.nextPoll.IsZero() {
		if wait = s.nextPoll.Sub(now); wait <= 0 {
			if room = maxReadyRetry - s.envs[retry]; room > 0 {
				s.nextPoll = time.Time{}
				return room, 0
			}
			wait = -1 // until dispatch has made room
		}
	}
	if len(s.doubt) > 0 && (wait < 0 || wait > claimPauseMax) {
		wait = claimPauseMax
	}
	return 0, wait
}

// awaitPoke waits until somebody wants the poller, or so long; negative:
// without end.
func (q *Queue) awaitPoke(ctx context.Context, wait time.Duration) {
	var timeout <-chan time.Time
	if wait >= 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-ctx.Done():
	case <-q.sched.poke:
	case <-timeout:
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// claim takes a batch of due envelopes and puts them in line.
func (q *Queue) claim(ctx context.Context, limit int) error {
	s := &q.sched
	now := q.opt.Now()
	claimed, next, err := q.st.Claim(ctx, now, limit)
	if err != nil {
		s.mu.Lock()
		s.pollAt(now)
		s.mu.Unlock()
		return err
	}
	var late, postponed []*item
	s.mu.Lock()
	for _, it := range q.group(claimed) {
		if _, doubt := s.doubt[it.msg.ID]; doubt {
			continue // erased soon; the claim keeps everybody off until then
		}
		old := it.split(func(_ *item, e *mail.Envelope) bool { return !now.Before(e.Expires) })
		if old != nil {
			late = append(late, old)
		}
		if old == it {
			continue
		}
		if d := s.dests[it.dest]; d != nil && d.envs >= q.capacity(d) {
			postponed = append(postponed, it)
			continue
		}
		s.envs[retry] += len(it.envs)
		q.enqueue(it, now)
	}
	if !next.IsZero() {
		s.pollAt(next)
	}
	q.dispatch(now)
	s.mu.Unlock()
	for _, it := range late {
		q.expire(it)
	}
	q.postpone(postponed, now)
	return nil
}

// group makes items of what was claimed: one for each message and destination.
func (q *Queue) group(claimed []Claimed) []*item {
	type key struct {
		msg  mail.MessageID
		dest string
	}
	var items []*item
	byKey := make(map[key]*item)
	rounds := make(map[mail.MessageID]*round)
	for _, c := range claimed {
		k := key{c.Message.ID, q.d.Destination(c.Envelope)}
		it := byKey[k]
		if it == nil {
			r := rounds[k.msg]
			if r == nil {
				r = new(round)
				rounds[k.msg] = r
			}
			r.pending++
			it = &item{msg: c.Message, dest: k.dest, kind: retry, round: r}
			byKey[k] = it
			items = append(items, it)
		}
		it.envs = append(it.envs, c.Envelope)
		it.fences = append(it.fences, c.Fence)
	}
	return items
}

// postpone sends envelopes back to the store for which there is no room.
func (q *Queue) postpone(items []*item, now time.Time) {
	for _, it := range items {
		for _, e := range it.envs {
			e.Next = earlier(now.Add(postponeFor(q.opt.Rand())), e.Expires)
		}
	}
	q.release(items)
}

// enqueue puts it in line. The caller has the lock.
func (q *Queue) enqueue(it *item, now time.Time) {
	q.sched.enqueue(it, now)
	q.arm(q.sched.dest(it.dest), now)
}

// dispatch begins attempts while there are places. The caller has the lock.
func (q *Queue) dispatch(now time.Time) {
	s := &q.sched
	for it := s.next(now); it != nil; it = s.next(now) {
		s.workers.Add(1)
		go q.work(s.attempts, it)
	}
	if s.envs[retry] < maxReadyRetry/2 && !s.nextPoll.IsZero() && !now.Before(s.nextPoll) {
		select { // the poller may be waiting for room
		case s.poke <- struct{}{}:
		default:
		}
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
	var told, surplus []*item
	s.mu.Lock()
	d := s.ended(it, res, now, q.opt.Rand())
	if res == missed {
		told, surplus = q.backOff(d, now)
	}
	q.dispatch(now)
	s.mu.Unlock()
	for _, other := range told {
		q.settleUntried(other, outcomes[0])
	}
	q.postpone(surplus, now)
}

// backOff looks at what waits for a destination that cannot be reached:
// envelopes that are to be returned, or whose senders are to be told, and
// those above MaxDeferred leave memory. The rest waits for the next try.
func (q *Queue) backOff(d *destination, now time.Time) (told, surplus []*item) {
	s := &q.sched
	told = s.removeFrom(d, func(it *item, e *mail.Envelope) bool {
		return !now.Before(e.Expires) || q.warned(it.msg, e, now) > e.Warned
	})
	kept := 0
	surplus = s.removeFrom(d, func(*item, *mail.Envelope) bool {
		kept++
		return kept > q.tuned.Load().MaxDeferred
	})
	q.arm(d, now)
	return told, surplus
}

// arm sees to it that a destination has its turn after its back-off.
func (q *Queue) arm(d *destination, now time.Time) {
	if d.woken || d.envs == 0 || !now.Before(d.until) {
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
