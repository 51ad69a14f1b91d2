package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/mail"
)

// record is a change that must reach the store, sooner or later: how an
// attempt ended. Until then the claims are held.
type record struct {
	change Change

	// recorded is called when the change is durable. lost is called instead if
	// the change adds a report on envelopes some of which were taken away
	// meanwhile; the record is then void, and lost makes a new one.
	recorded func()
	lost     func(map[mail.EnvelopeID]bool)

	doubt bool // an earlier try may have been stored
}

// recorder writes records: those that wait are one change, which the store in
// turn writes together with the commits of sessions.
type recorder struct {
	q       *Queue
	mu      sync.Mutex
	waiting []*record
	signal  chan struct{}
	pending atomic.Int64 // records not stored yet
}

// Bounds of the recorder.
const (
	recordBatch    = 1000
	recordPauseMin = 100 * time.Millisecond
	recordPauseMax = 5 * time.Second
)

func (r *recorder) init(q *Queue) {
	r.q = q
	r.signal = make(chan struct{}, 1)
}

func (r *recorder) add(rec *record) {
	r.pending.Add(1)
	r.mu.Lock()
	r.waiting = append(r.waiting, rec)
	r.mu.Unlock()
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

func (r *recorder) take() []*record {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.waiting), recordBatch)
	batch := r.waiting[:n:n]
	r.waiting = r.waiting[n:]
	if len(r.waiting) == 0 {
		r.waiting = nil
	}
	return batch
}

// run writes records until ctx ends. If drain is closed before, it returns as
// soon as nothing waits.
func (r *recorder) run(ctx context.Context, drain <-chan struct{}) {
	pause := time.Duration(0)
	for {
		batch := r.take()
		if len(batch) == 0 {
			select {
			case <-r.signal:
				continue
			case <-ctx.Done():
				return
			case <-drain:
				if r.idle() {
					return
				}
				continue
			}
		}
		if r.write(ctx, batch) {
			pause = 0
			continue
		}
		pause = min(max(2*pause, recordPauseMin), recordPauseMax)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (r *recorder) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting) == 0
}

// write stores a batch. What could not be stored waits again; false says that
// there is some.
func (r *recorder) write(ctx context.Context, batch []*record) bool {
	for len(batch) > 0 {
		err := r.q.st.Apply(ctx, merge(batch))
		if err == nil {
			for _, rec := range batch {
				r.finish(rec)
			}
			return true
		}
		var lost *LostError
		if errors.As(err, &lost) {
			batch = r.withoutLost(batch, lost.IDs)
			continue
		}
		r.q.log.Error("the ends of attempts cannot be recorded; tried again", "count", len(batch), "error", err)
		return r.writeEach(ctx, batch, errors.Is(err, ErrInDoubt))
	}
	return true
}

// writeEach stores the records of a batch that could not be stored together
// one by one, so that a single bad one does not keep the others.
func (r *recorder) writeEach(ctx context.Context, batch []*record, doubt bool) bool {
	var failed []*record
	for i, rec := range batch {
		rec.doubt = rec.doubt || doubt
		err := r.writeOne(ctx, rec)
		if err == nil {
			continue
		}
		failed = append(failed, rec)
		if errors.Is(err, ErrInDoubt) || ctx.Err() != nil { // the store is away
			rec.doubt = true
			failed = append(failed, batch[i+1:]...)
			break
		}
	}
	r.mu.Lock()
	r.waiting = append(failed, r.waiting...)
	r.mu.Unlock()
	return len(failed) == 0
}

func (r *recorder) writeOne(ctx context.Context, rec *record) error {
	for {
		err := r.q.st.Apply(ctx, &rec.change)
		var lost *LostError
		switch {
		case err == nil:
			r.finish(rec)
			return nil
		case !errors.As(err, &lost):
			return err
		case len(r.withoutLost([]*record{rec}, lost.IDs)) == 0:
			return nil
		}
	}
}

// finish notes that rec is stored.
func (r *recorder) finish(rec *record) {
	if rec.recorded != nil {
		rec.recorded()
	}
	r.end()
}

// end notes that a record is done with. The scheduler may be waiting for that.
func (r *recorder) end() {
	if r.pending.Add(-1) == maxUnrecorded-1 {
		s := &r.q.sched
		s.mu.Lock()
		r.q.dispatch(r.q.opt.Now())
		s.mu.Unlock()
	}
}

func merge(batch []*record) *Change {
	if len(batch) == 1 {
		return &batch[0].change
	}
	var c Change
	for _, rec := range batch {
		c.Add = append(c.Add, rec.change.Add...)
		c.Done = append(c.Done, rec.change.Done...)
		c.Defer = append(c.Defer, rec.change.Defer...)
	}
	return &c
}

// withoutLost leaves lost claims out of the batch, and the records of which
// nothing is left.
func (r *recorder) withoutLost(batch []*record, ids []mail.EnvelopeID) []*record {
	lost := make(map[mail.EnvelopeID]bool, len(ids))
	for _, id := range ids {
		lost[id] = true
	}
	rest := batch[:0:0]
	for _, rec := range batch {
		c := &rec.change
		before := len(c.Done) + len(c.Defer)
		// The slices are others' too.
		c.Done = slices.DeleteFunc(slices.Clone(c.Done), func(cl Claim) bool { return lost[cl.ID] })
		c.Defer = slices.DeleteFunc(slices.Clone(c.Defer), func(d Deferral) bool { return lost[d.ID] })
		left := len(c.Done) + len(c.Defer)
		switch {
		case left == before:
			rest = append(rest, rec)
		case left == 0 && (rec.doubt || rec.lost == nil):
			// With a doubt: the earlier try was stored after all.
			r.finish(rec)
		case rec.lost != nil:
			rec.lost(lost)
			r.end()
		default:
			rest = append(rest, rec)
		}
	}
	return rest
}
