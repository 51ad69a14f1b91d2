package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync/atomic"

	"github.com/weirmail/weir/internal/mailflow/queue"
)

// rowCounts are the numbers of rows of the tables, in memory: to count a
// million messages takes 0.6 s and more, and to store the numbers with each
// transaction made that of a lone sender a tenth dearer. A clean end leaves
// them in the database; after another they are counted, in the background.
type rowCounts struct {
	messages, envelopes atomic.Int64  // from the start on, until known is closed; then all
	known               chan struct{} // closed when they are
	doubt               atomic.Bool   // a transaction is in doubt: they may be wrong
}

// The numbers are in the database while nobody has it open.
const (
	takeRowCounts  = "DELETE FROM meta WHERE name IN ('messages', 'envelopes') RETURNING name, value"
	leaveRowCounts = "INSERT OR REPLACE INTO meta VALUES ('messages', ?), ('envelopes', ?)"
	countRows      = "SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM envelope)"
)

// takeCounts reads what the last process has left, or has the rows counted.
// Nothing is written yet: what is counted is what there was at the start.
func (s *Store) takeCounts(c *conn) error {
	st, err := c.prepare(takeRowCounts)
	if err != nil {
		return err
	}
	left := make(map[string]int64)
	err = s.withRoom(func() error {
		return st.query(func(v []driver.Value) error {
			name, _ := v[0].(string)
			left[name], _ = v[1].(int64)
			return nil
		})
	})
	if err != nil {
		return err
	}
	if len(left) == 2 {
		s.rows.set(left["messages"], left["envelopes"])
		return nil
	}
	// The first statement of a transaction decides what all of it sees.
	snapshot, err := s.read.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	var one int
	if err := snapshot.QueryRow("SELECT 1 FROM meta WHERE name = 'key'").Scan(&one); err != nil {
		_ = snapshot.Rollback() // it was only read
		return err
	}
	s.background.Go(func() { s.count(snapshot) })
	return nil
}

// count counts the rows that there were at the start.
func (s *Store) count(snapshot *sql.Tx) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	var messages, envelopes int64
	err := snapshot.QueryRowContext(ctx, countRows).Scan(&messages, &envelopes)
	_ = snapshot.Rollback() // it was only read
	switch {
	case err == nil:
		s.rows.set(messages, envelopes)
	case ctx.Err() == nil:
		s.log.Error("the queue cannot be counted", "error", s.explain(err))
	}
}

// set adds what there was at the start.
func (r *rowCounts) set(messages, envelopes int64) {
	r.messages.Add(messages)
	r.envelopes.Add(envelopes)
	close(r.known)
}

// leaveCounts leaves the numbers for the next process, which counts the rows
// if it finds none.
func (s *Store) leaveCounts() error {
	select {
	case <-s.rows.known:
	default:
		return nil
	}
	if s.rows.doubt.Load() {
		return nil
	}
	st, err := s.w.c.prepare(leaveRowCounts)
	if err != nil {
		return err
	}
	_, err = st.exec(s.rows.messages.Load(), s.rows.envelopes.Load())
	return err
}

// selectCounts counts by due, which has an index. A claimed envelope that
// somebody holds is still claimed.
var selectCounts = fmt.Sprintf("SELECT (SELECT count(*) FROM envelope WHERE due = %d), (SELECT count(*) FROM envelope WHERE due = %d)",
	dueHeld, dueClaimed)

// Count implements queue.Store.
func (s *Store) Count(ctx context.Context) (queue.Counts, error) {
	select {
	case <-s.rows.known:
	case <-s.stop:
		return queue.Counts{}, errClosed
	case <-ctx.Done():
		return queue.Counts{}, ctx.Err()
	}
	c := queue.Counts{Messages: s.rows.messages.Load(), Envelopes: s.rows.envelopes.Load()}
	err := s.read.QueryRowContext(ctx, selectCounts).Scan(&c.Held, &c.Claimed)
	return c, s.explain(err)
}
