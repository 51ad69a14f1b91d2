package queue

import (
	"context"
	"time"

	"github.com/weirmail/weir/internal/mail"
)

// Bounds of the poller, which brings due envelopes from the store to memory.
const (
	claimBatch    = 500
	crowdedBatch  = 100 // while what is claimed finds no room
	crowdedRest   = 3   // times what such a claim took, if new mail is being stored
	claimPauseMin = time.Second
	claimPauseMax = 30 * time.Second
	forgetEvery   = time.Minute
)

// poll claims what is due, and what stands in line, whenever there is
// something and room for it.
func (q *Queue) poll(ctx context.Context) {
	pause := time.Duration(0)
	known := false // which lines there are
	for ctx.Err() == nil {
		err := error(nil)
		if !known {
			err = q.readLines(ctx)
			known = err == nil
		}
		if err == nil {
			err = q.doChore(ctx)
		}
		if err == nil || ctx.Err() != nil {
			pause = 0
			continue
		}
		pause = min(max(2*pause, claimPauseMin), claimPauseMax)
		q.log.Error("due envelopes cannot be read from the store", "error", err, "again", pause)
		sleep(ctx, pause)
	}
}

// doChore does what is to be done next, or waits for it.
func (q *Queue) doChore(ctx context.Context) error {
	q.erase(ctx)
	c := q.plan()
	for _, it := range c.evicted {
		q.lineUp(it, nil)
	}
	switch {
	case c.limit > 0 && c.line != nil:
		return q.claimLine(ctx, c.line, c.limit)
	case c.limit > 0:
		return q.claimDue(ctx, c.limit)
	case c.evicted == nil:
		q.awaitPoke(ctx, c.wait)
	}
	return nil
}

// chore is what the poller does next.
type chore struct {
	limit   int           // envelopes to claim
	line    *destination  // from its line; nil: of what is due
	evicted []*item       // what leaves memory to make room
	wait    time.Duration // if there is nothing: until it should be asked again; negative: somebody will poke
}

// plan says what the poller does next. What is due and the lines take turns.
func (q *Queue) plan() (c chore) {
	s := &q.sched
	now := q.opt.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.lastForget) > forgetEvery {
		s.lastForget = now
		s.forget(now)
	}
	due := !s.nextPoll.IsZero() && !now.Before(s.nextPoll)
	if !due && len(s.refills) == 0 {
		c.wait = s.pollIn(now)
		return c
	}
	room := maxReady[retry] - s.envs[retry]
	if room <= 0 {
		c.evicted, c.wait = q.evict(now), s.pollIn(time.Time{}) // dispatch pokes when it has made room
		return c
	}
	c.limit = min(room, claimBatch)
	if s.lineTurn = len(s.refills) > 0 && (!due || !s.lineTurn); s.lineTurn {
		c.line = s.refills[0]
		s.refills = s.refills[1:]
		c.limit = min(c.limit, max(1, q.capacity(c.line, retry, now)-c.line.envs))
		return c
	}
	s.nextPoll = time.Time{}
	return c
}

// pollIn gives the time until the poller should look again by itself, negative
// if it need not. With a zero now it waits for somebody to poke.
func (s *scheduler) pollIn(now time.Time) time.Duration {
	wait := time.Duration(-1)
	if !now.IsZero() && !s.nextPoll.IsZero() {
		wait = s.nextPoll.Sub(now)
	}
	if len(s.doubt) > 0 && (wait < 0 || wait > claimPauseMax) {
		wait = claimPauseMax
	}
	return wait
}

// evict takes the mail out of memory whose destinations are backed off from.
// The caller has the lock.
func (q *Queue) evict(now time.Time) (out []*item) {
	for _, d := range q.sched.dests {
		if now.Before(d.until) && d.envs > 0 {
			out = append(out, q.sched.removeFrom(d, func(*item, *mail.Envelope) bool { return true })...)
		}
	}
	return out
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

// claimDue claims. While it only moves mail from one place of the store to
// another it leaves the store to new mail for most of the time: 500,000 due
// messages for hosts that are down made new mail ten times slower for as long
// as it took to have them stand in line.
func (q *Queue) claimDue(ctx context.Context, limit int) error {
	if q.crowded {
		limit = min(limit, crowdedBatch)
	}
	begin := q.opt.Now()
	err := q.claim(ctx, limit)
	if q.crowded && q.storing.Load() > 0 {
		sleep(ctx, crowdedRest*q.opt.Now().Sub(begin))
	}
	return err
}

// claim takes a batch of due envelopes.
func (q *Queue) claim(ctx context.Context, limit int) error {
	s := &q.sched
	now := q.opt.Now()
	claimed, next, err := q.st.Claim(ctx, now, limit)
	if err != nil {
		next = now
	}
	if !next.IsZero() {
		s.mu.Lock()
		s.pollAt(next)
		s.mu.Unlock()
	}
	q.crowded = q.place(claimed, now)
	return err
}

// claimLine takes a batch of those that stand in line for d.
func (q *Queue) claimLine(ctx context.Context, d *destination, limit int) error {
	s := &q.sched
	s.mu.Lock()
	joins := d.joins
	s.mu.Unlock()
	claimed, err := q.st.ClaimLine(ctx, d.name, limit)
	q.place(claimed, q.opt.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	d.refilling = false
	if err == nil && len(claimed) < limit && d.joins == joins {
		d.lined = false // and nobody has come meanwhile
	}
	q.refill(d, q.opt.Now())
	return err
}

// place has what was claimed attempted, or stand in line if there is no room;
// it reports whether there was some like that.
func (q *Queue) place(claimed []Claimed, now time.Time) (crowded bool) {
	s := &q.sched
	var late, noRoom []*item
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
		if q.full(it.dest, retry, now) {
			noRoom = append(noRoom, it)
			continue
		}
		s.envs[retry] += len(it.envs)
		q.enqueue(it, now)
	}
	q.dispatch(now)
	s.mu.Unlock()
	for _, it := range late {
		q.expire(it)
	}
	for _, it := range noRoom {
		q.lineUp(it, nil)
	}
	return len(noRoom) > 0
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
