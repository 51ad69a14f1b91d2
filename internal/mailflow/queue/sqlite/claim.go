package sqlite

import (
	"context"
	"database/sql"
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

// ClaimLine implements queue.Store.
func (s *Store) ClaimLine(ctx context.Context, name string, limit int) ([]queue.Claimed, error) {
	var out []queue.Claimed
	err := s.submit(ctx, shrink, func(w *writer) error {
		var err error
		out, err = w.take(w.st.line, name, int64(min(limit, maxClaim)))
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Lines implements queue.Store.
func (s *Store) Lines(ctx context.Context) ([]string, error) {
	rows, err := s.read.QueryContext(ctx, selectLines)
	if err != nil {
		return nil, s.explain(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var name sql.NullString // the last one is NULL
		if err := rows.Scan(&name); err != nil {
			return nil, s.explain(err)
		}
		if name.Valid {
			out = append(out, name.String)
		}
	}
	return out, s.explain(rows.Err())
}

// selectLines steps from line to line in the index; DISTINCT would read the
// entries of all envelopes.
const selectLines = `WITH RECURSIVE l(line) AS (
	SELECT min(line) FROM envelope WHERE line IS NOT NULL
	UNION ALL
	SELECT (SELECT min(line) FROM envelope WHERE line > l.line) FROM l WHERE l.line IS NOT NULL
) SELECT line FROM l`

// take claims what a statement selects.
func (w *writer) take(st *stmt, args ...any) ([]queue.Claimed, error) {
	var out []queue.Claimed
	var seqs []int64
	var items items
	err := st.query(func(v []driver.Value) error {
		it, seq := items.scan(v)
		w.fence++
		w.setClaim(it.Envelope.ID, claim{fence: w.fence, seq: seq})
		out = append(out, queue.Claimed{Message: it.Message, Envelope: it.Envelope, Fence: w.fence})
		seqs = append(seqs, seq)
		return nil
	}, args...)
	if err != nil {
		return nil, err
	}
	for _, seq := range seqs {
		if _, err := w.st.claim.exec(seq); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (w *writer) claim(now time.Time, limit int) ([]queue.Claimed, time.Time, error) {
	out, err := w.take(w.st.due, micros(now), int64(limit))
	if err != nil {
		return nil, time.Time{}, err
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
