package queue

import (
	"context"
	"io"
	"time"

	"github.com/weirmail/weir/internal/mail"
)

// List gives a page of the queue. The next page begins after the Position of
// its last Item.
func (q *Queue) List(ctx context.Context, f Filter) ([]Item, error) {
	return q.st.List(ctx, f)
}

// Count counts the queue.
func (q *Queue) Count(ctx context.Context) (Counts, error) {
	return q.st.Count(ctx)
}

// Show gives the envelopes of one message, MaxList at most, and its body,
// which the caller closes. ErrNotFound says that there is no such message.
func (q *Queue) Show(ctx context.Context, id mail.MessageID) ([]Item, io.ReadCloser, error) {
	items, err := q.st.List(ctx, Filter{Ref: Ref{Message: id}, Limit: MaxList})
	if err != nil {
		return nil, nil, err
	}
	if len(items) == 0 {
		return nil, nil, ErrNotFound
	}
	body, err := q.stored(ctx, items[0].Message)
	if err != nil {
		return nil, nil, err
	}
	return items, body, nil
}

// Remove takes messages and envelopes out of the queue, without report, and
// says how many envelopes that were. An attempt under way is not stopped.
func (q *Queue) Remove(ctx context.Context, refs ...Ref) (int, error) {
	if len(refs) == 0 {
		return 0, nil
	}
	n, err := q.st.Admin(ctx, OpRemove, refs, q.opt.Now())
	if err == nil {
		for _, it := range q.forgetWaiting(refs) {
			it.drop()
			q.endRound(it)
		}
	}
	return n, err
}

// Hold keeps messages and envelopes from being attempted until Release. An
// attempt under way ends as it does.
func (q *Queue) Hold(ctx context.Context, refs ...Ref) (int, error) {
	if len(refs) == 0 {
		return 0, nil
	}
	n, err := q.st.Admin(ctx, OpHold, refs, q.opt.Now())
	if err == nil {
		q.release(q.forgetWaiting(refs)) // held as soon as the claims end
	}
	return n, err
}

// Release undoes Hold: the envelopes are due.
func (q *Queue) Release(ctx context.Context, refs ...Ref) (int, error) {
	if len(refs) == 0 {
		return 0, nil
	}
	return q.bringForward(ctx, OpRelease, refs)
}

// Retry has envelopes that wait be due now, all of them without refs, and
// ends the back-off from all destinations, so that they are attempted.
func (q *Queue) Retry(ctx context.Context, refs ...Ref) (int, error) {
	return q.bringForward(ctx, OpRetry, refs)
}

func (q *Queue) bringForward(ctx context.Context, op Op, refs []Ref) (int, error) {
	if len(refs) == 0 {
		refs = nil
	}
	now := q.opt.Now()
	n, err := q.st.Admin(ctx, op, refs, now)
	if err != nil {
		return n, err
	}
	s := &q.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	if op == OpRetry {
		for _, d := range s.dests {
			d.until = time.Time{}
			q.refill(d, now)
			s.ring(d, now)
		}
	}
	if s.running {
		s.pollAt(now)
		q.dispatch(now)
	}
	return n, nil
}

// forgetWaiting takes what refs name out of memory, except attempts under way.
func (q *Queue) forgetWaiting(refs []Ref) []*item {
	s := &q.sched
	named := make(map[Ref]bool, len(refs))
	for _, r := range refs {
		named[r] = true
	}
	s.mu.Lock()
	items := s.removeWhere(func(it *item, e *mail.Envelope) bool {
		return named[Ref{Message: it.msg.ID}] || named[Ref{Message: it.msg.ID, Envelope: e.ID}]
	})
	now := q.opt.Now()
	for _, d := range s.dests {
		q.refill(d, now) // they have made room
	}
	q.dispatch(now)
	s.mu.Unlock()
	return items
}
