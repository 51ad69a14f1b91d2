package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/weirmail/weir/internal/mailflow/queue"
)

// maxClaim bounds the envelopes that one Claim gives: sessions wait while it
// writes.
const maxClaim = 1000

// Claim implements queue.Store.
func (s *Store) Claim(ctx context.Context, now time.Time, limit int) ([]queue.Claimed, time.Time, error) {
	var out []queue.Claimed
	var next time.Time
	err := s.submit(ctx, shrink, func(w *writer) error {
		var err error
		out, next, err = w.claim(now, min(limit, maxClaim))
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return out, next, nil
}

func (w *writer) claim(now time.Time, limit int) ([]queue.Claimed, time.Time, error) {
	var out []queue.Claimed
	var seqs []int64
	var items items
	err := w.st.due.query(func(v []driver.Value) error {
		it, seq := items.scan(v)
		w.fence++
		w.setClaim(it.Envelope.ID, claim{fence: w.fence, seq: seq})
		out = append(out, queue.Claimed{Message: it.Message, Envelope: it.Envelope, Fence: w.fence})
		seqs = append(seqs, seq)
		return nil
	}, micros(now), int64(limit))
	if err != nil {
		return nil, time.Time{}, err
	}
	for _, seq := range seqs {
		if _, err := w.st.claim.exec(seq); err != nil {
			return nil, time.Time{}, err
		}
	}
	var next time.Time
	err = w.st.nextDue.query(func(v []driver.Value) error {
		if n, ok := v[0].(int64); ok {
			next = time.UnixMicro(n)
		}
		return nil
	})
	return out, next, err
}
