package queue

import (
	"context"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
)

// Mail that is due but for which there is no room in memory stands in line:
// in the store, in the line of its destination, until half of the room for
// that destination is free. It is written twice for that, when it comes into
// the line and when it leaves it, however long it stands there; a destination
// that is down for days with a million messages costs nothing meanwhile. It
// leaves the line otherwise when its sender is to hear of the delay, and when
// it expires.

// capacity is how many envelopes of a kind for d may be in memory; a little
// more when the last message in had many. When memory gets scarce, each
// destination has a small share of what is left, and one that is down next to
// none: many slow or dead hosts keep nobody else's mail from being tried.
func (q *Queue) capacity(d *destination, k kind, now time.Time) int {
	s := &q.sched
	scarce := s.envs[k] >= maxReady[k]/2
	switch {
	case scarce && now.Before(d.until):
		return 0
	case scarce && d.failures > 0:
		return 1 // finds out whether it is back
	case scarce:
		return s.maxPerDest
	case d.failures > 0:
		return q.tuned.Load().MaxDeferred
	}
	return maxReadyPerDest
}

// full reports whether there is no room for d. The caller has the lock.
func (q *Queue) full(name string, k kind, now time.Time) bool {
	d := q.sched.dests[name]
	return d != nil && d.envs >= q.capacity(d, k, now)
}

// refill has the poller bring what stands in line for d, as soon as half of
// its room is free. The caller has the lock.
func (q *Queue) refill(d *destination, now time.Time) {
	s := &q.sched
	if !d.lined || d.refilling || now.Before(d.until) || d.envs > q.capacity(d, retry, now)/2 {
		return
	}
	d.refilling = true
	s.refills = append(s.refills, d)
	s.wakePoller()
}

// joined notes that envelopes stand in a line now. The caller has the lock.
func (q *Queue) joined(line Line, now time.Time) {
	d := q.sched.dest(line.Name)
	d.lined = true
	d.joins++
	q.arm(d, now)
	q.refill(d, now)
	q.sched.pollAt(line.Until)
}

// lineOf is where an envelope waits that is due and for which there is no room.
func (q *Queue) lineOf(dest string, m *mail.Message, e *mail.Envelope, now time.Time) Line {
	until := e.Expires
	for _, d := range q.tuned.Load().WarnIntervals {
		if t := m.Received.Add(d); t.After(now) {
			until = earlier(until, t)
		}
	}
	return Line{Name: dest, Until: until}
}

// crowded is why mail stands in line that was never tried (RFC 3463 s3.5,
// mail system congestion).
var crowded = delivery.Outcome{Status: delivery.Deferred, Enhanced: "4.4.5", Text: "other mail for the same destination comes first"}

// lineUp has envelopes stand in line, and their senders hear of the delay if
// it is time for that. o is why they could not be tried; nil: there is no room.
func (q *Queue) lineUp(it *item, o *delivery.Outcome) {
	now := q.opt.Now()
	var c Change
	var failed, delayed []recipient
	for i, e := range it.envs {
		rc := recipient{env: e, fence: it.fences[i], outcome: crowded}
		switch {
		case o != nil:
			e.LastErr, rc.outcome = o.Text, *o
		case e.LastErr != "":
			rc.outcome.Text = e.LastErr
		}
		if !now.Before(e.Expires) {
			rc.outcome = expired(e, e.LastErr)
			q.tell(it.msg, e, rc.outcome, "expired")
			failed = append(failed, rc)
			continue
		}
		d := unchanged(e, rc.fence)
		d.Line = q.lineOf(it.dest, it.msg, e, now)
		q.deferTo(it, rc, d, now, &c, &delayed)
	}
	q.finish(it, &c, failed, delayed, nil)
}

// readLines notes in which lines mail has stood since the last process.
func (q *Queue) readLines(ctx context.Context) error {
	names, err := q.st.Lines(ctx)
	if err != nil {
		return err
	}
	s := &q.sched
	now := q.opt.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		d := s.dest(name)
		d.lined = true
		d.joins++
		q.arm(d, now)
		q.refill(d, now)
	}
	return nil
}
