package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// adminChunk is how many envelopes are changed at a time: mail that comes in
// waits for no more than that.
const adminChunk = 2000

// Admin implements queue.Store.
func (s *Store) Admin(ctx context.Context, op queue.Op, refs []queue.Ref, now time.Time) (int, error) {
	if op < queue.OpRemove || op > queue.OpRelease {
		return 0, fmt.Errorf("unknown operation %d", op)
	}
	if refs == nil {
		return s.adminAll(ctx, op, now)
	}
	total := 0
	for len(refs) > 0 {
		n := min(len(refs), adminChunk)
		changed := 0
		err := s.submit(ctx, shrink, func(w *writer) error {
			changed = 0
			for _, r := range refs[:n] {
				c, err := w.adminRef(op, r, now)
				if err != nil {
					return err
				}
				changed += c
			}
			return nil
		})
		if err != nil {
			return total, err
		}
		total += changed
		refs = refs[n:]
	}
	return total, nil
}

// adminAll does op to everything, a chunk at a time.
func (s *Store) adminAll(ctx context.Context, op queue.Op, now time.Time) (int, error) {
	total := 0
	for from := int64(0); ; {
		var changed int
		var to int64
		more := false
		err := s.submit(ctx, shrink, func(w *writer) error {
			more = false
			err := w.st.chunk.query(func(v []driver.Value) error {
				to, more = v[0].(int64)
				return nil
			}, from, int64(adminChunk))
			if err != nil || !more {
				return err
			}
			changed, err = w.adminRange(op, from, to, now)
			return err
		})
		if err != nil || !more {
			return total, err
		}
		total += changed
		from = to + 1
	}
}

func (w *writer) adminRef(op queue.Op, r queue.Ref, now time.Time) (int, error) {
	msg := w.s.seq(r.Message)
	from, to := msg<<envelopeBits, msg<<envelopeBits|envelopeMask
	if r.Envelope == 0 {
		return w.adminRange(op, from, to, now)
	}
	seq := int64(-1)
	err := w.st.ids.query(func(v []driver.Value) error {
		if id, _ := v[1].(int64); mail.EnvelopeID(id) == r.Envelope {
			seq, _ = v[0].(int64)
		}
		return nil
	}, from, to)
	if err != nil || seq < 0 {
		return 0, err
	}
	return w.adminRange(op, seq, seq, now)
}

// adminRange does op to the envelopes whose seq is in a range.
func (w *writer) adminRange(op queue.Op, from, to int64, now time.Time) (int, error) {
	var st *stmt
	switch op {
	case queue.OpRemove:
		return w.removeRange(from, to)
	case queue.OpRetry:
		st = w.st.retryRange
	case queue.OpHold:
		st = w.st.holdRange
	case queue.OpRelease:
		st = w.st.freeRange
	}
	n, err := st.exec(from, to, micros(now))
	return int(n), err
}

func (w *writer) removeRange(from, to int64) (int, error) {
	err := w.st.ids.query(func(v []driver.Value) error {
		id, _ := v[1].(int64)
		w.endClaim(mail.EnvelopeID(id))
		return nil
	}, from, to)
	if err != nil {
		return 0, err
	}
	n, err := w.st.removeRange.exec(from, to)
	if err != nil {
		return 0, err
	}
	w.envelopes -= n
	first, last := from>>envelopeBits, to>>envelopeBits
	err = w.st.files.query(func(v []driver.Value) error {
		id, _ := v[0].(int64)
		w.files = append(w.files, mail.MessageID(id))
		return nil
	}, first, last)
	if err != nil {
		return 0, err
	}
	gone, err := w.st.removeMessages.exec(first, last)
	w.messages -= gone
	return int(n), err
}
