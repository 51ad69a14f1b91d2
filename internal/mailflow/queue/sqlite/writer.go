package sqlite

import (
	"errors"
	"fmt"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// claim is what the writer knows of a claimed envelope.
type claim struct {
	fence uint64
	seq   int64
	alone bool // it is the only one of its message, and always was
	file  bool // if alone: the body is in a file
}

// writer is the goroutine that writes, and what belongs to it alone.
type writer struct {
	s    *Store
	c    *conn
	st   statements
	reqs chan *request
	gone chan struct{} // the goroutine has ended

	fence  uint64 // of the last claim
	claims map[mail.EnvelopeID]claim
	undo   []undo           // what to do to claims if the transaction fails
	files  []mail.MessageID // bodies to unlink after the transaction
	stored []*body          // bodies that belong to rows after it

	// torn says that a transaction failed while it was committed. Its end
	// may be in the log on disk, and would be found after a crash unless
	// something is written over it.
	torn bool

	messages, envelopes int64 // by how many rows the transaction changes their numbers

	reserve reserve
}

type undo struct {
	id   mail.EnvelopeID
	had  claim
	none bool
}

// statements are those that the writer has prepared.
type statements struct {
	begin, commit, rollback          *stmt
	reserve, touch                   *stmt
	addMessage, addEnvelope          *stmt
	dropEnvelope, dropMessage        *stmt
	dropAlone                        *stmt
	deferEnvelope                    *stmt
	due, nextDue, line, claim        *stmt
	ids, files                       *stmt
	removeRange, removeMessages      *stmt
	retryRange, holdRange, freeRange *stmt
	chunk                            *stmt
}

func newWriter(s *Store, c *conn) *writer {
	return &writer{
		s: s, c: c,
		reqs:    make(chan *request, maxGroup),
		gone:    make(chan struct{}),
		claims:  make(map[mail.EnvelopeID]claim),
		fence:   1, // 1 is that of new messages
		reserve: reserve{dir: s.dir},
	}
}

// start prepares what the goroutine needs, and starts it.
func (w *writer) start() error {
	if err := w.prepare(); err != nil {
		return err
	}
	go w.loop()
	return nil
}

func (w *writer) prepare() error {
	var errs []error
	for _, p := range []struct {
		st  **stmt
		sql string
	}{
		{&w.st.begin, "BEGIN IMMEDIATE"},
		{&w.st.commit, "COMMIT"},
		{&w.st.rollback, "ROLLBACK"},
		{&w.st.reserve, "UPDATE meta SET value = value + ?1 WHERE name = 'counter' RETURNING value"},
		{&w.st.touch, "UPDATE meta SET value = value + 1 WHERE name = 'writes'"},
		{&w.st.addMessage, "INSERT INTO message VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"},
		{&w.st.addEnvelope, "INSERT INTO envelope VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"},
		{&w.st.dropEnvelope, "DELETE FROM envelope WHERE seq = ?"},
		{&w.st.dropAlone, "DELETE FROM message WHERE seq = ?"},
		{&w.st.dropMessage, fmt.Sprintf("DELETE FROM message WHERE seq = ?1 AND NOT EXISTS "+
			"(SELECT 1 FROM envelope WHERE seq BETWEEN ?1<<%d AND (?1<<%d)|%d) RETURNING body IS NULL, id", envelopeBits, envelopeBits, envelopeMask)},
		{&w.st.deferEnvelope, fmt.Sprintf("UPDATE envelope SET due = CASE held WHEN 0 THEN ?2 ELSE %d END, "+
			"next = ?3, attempts = ?4, warned = ?5, last_err = ?6, line = CASE held WHEN 0 THEN ?7 END WHERE seq = ?1", dueHeld)},
		{&w.st.due, selectItems + " WHERE e.due <= ?1 ORDER BY e.due LIMIT ?2"},
		{&w.st.nextDue, fmt.Sprintf("SELECT min(due) FROM envelope WHERE due < %d", dueClaimed)},
		{&w.st.line, selectItems + " WHERE e.line = ?1 ORDER BY e.next LIMIT ?2"},
		{&w.st.claim, fmt.Sprintf("UPDATE envelope SET due = %d, line = NULL WHERE seq = ?1", dueClaimed)},
		{&w.st.ids, "SELECT seq, id FROM envelope WHERE seq BETWEEN ?1 AND ?2"},
		{&w.st.files, "SELECT id FROM message WHERE seq BETWEEN ?1 AND ?2 AND body IS NULL AND " + noEnvelopes},
		{&w.st.removeRange, "DELETE FROM envelope WHERE seq BETWEEN ?1 AND ?2"},
		{&w.st.removeMessages, "DELETE FROM message WHERE seq BETWEEN ?1 AND ?2 AND " + noEnvelopes},
		{&w.st.retryRange, fmt.Sprintf("UPDATE envelope SET due = iif(line IS NULL, ?3, due), next = iif(line IS NULL, ?3, next) "+
			"WHERE seq BETWEEN ?1 AND ?2 AND due < %d", dueClaimed)},
		{&w.st.holdRange, fmt.Sprintf("UPDATE envelope SET held = 1, line = NULL, due = CASE due WHEN %d THEN due ELSE %d END "+
			"WHERE seq BETWEEN ?1 AND ?2 AND held = 0 AND ?3 IS NOT NULL", dueClaimed, dueHeld)},
		{&w.st.freeRange, fmt.Sprintf("UPDATE envelope SET held = 0, next = ?3, due = CASE due WHEN %d THEN due ELSE ?3 END, "+
			"expires = expires + max(0, ?3 - (SELECT received FROM message WHERE message.seq = envelope.seq >> 20)), "+
			"last_err = CASE attempts WHEN 0 THEN '' ELSE last_err END "+
			"WHERE seq BETWEEN ?1 AND ?2 AND held = 1", dueClaimed)},
		{&w.st.chunk, "SELECT max(seq) FROM (SELECT seq FROM envelope WHERE seq >= ?1 ORDER BY seq LIMIT ?2)"},
	} {
		var err error
		*p.st, err = w.c.prepare(p.sql)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var noEnvelopes = fmt.Sprintf("NOT EXISTS (SELECT 1 FROM envelope WHERE envelope.seq BETWEEN message.seq<<%d AND (message.seq<<%d)|%d)",
	envelopeBits, envelopeBits, envelopeMask)

// end lets the goroutine do what waits for it, and ends it. Nobody submits
// any more.
func (w *writer) end() {
	close(w.reqs)
	<-w.gone
}

// write makes the changes of a group durable in one transaction. If that
// fails, each is tried by itself, so that only those fail that must.
func (w *writer) write(group []*request) {
	err := w.transact(group)
	if err == nil || errors.Is(err, queue.ErrInDoubt) {
		for _, r := range group {
			r.answer(err)
		}
		return
	}
	for _, r := range group {
		one := []*request{r}
		if len(group) > 1 {
			err = w.transact(one)
		}
		if errors.Is(err, queue.ErrNoSpace) && r.need == shrink && w.makeRoom() {
			err = w.transact(one)
		}
		r.answer(err)
	}
}

// makeRoom gives up the reserve and writes the log back, so that it begins
// anew. It reports whether that may have helped.
func (w *writer) makeRoom() bool {
	if w.reserve.held { // told once
		w.s.log.Error("the disk of the queue is full; no mail is accepted until there is room", "dir", w.s.dir)
	}
	if err := w.reserve.use(); err != nil {
		w.s.log.Error("the reserve cannot be used", "error", err)
		return false
	}
	if err := w.c.exec("PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		w.s.log.Error("the log of the queue database cannot be written back", "error", err)
	}
	return true
}

// transact runs a group in one transaction. The errors of single requests,
// refusals, are left in them; any other error means that nothing of the group
// was stored, or with queue.ErrInDoubt that this is not known.
func (w *writer) transact(group []*request) error {
	w.undo, w.files, w.stored = w.undo[:0], w.files[:0], w.stored[:0]
	w.messages, w.envelopes = 0, 0
	if _, err := w.st.begin.exec(); err != nil {
		return w.s.explain(err)
	}
	err := w.run(group)
	if err == nil {
		if _, err = w.st.commit.exec(); err == nil {
			w.torn = false
			w.committed()
			return nil
		}
		w.torn = true
	}
	w.rollback()
	err = w.s.explain(err)
	if w.torn && !errors.Is(err, queue.ErrNoSpace) {
		if again := w.mend(); again != nil {
			w.s.rows.doubt.Store(true)
			return fmt.Errorf("%w: %w (and then: %w)", queue.ErrInDoubt, err, again)
		}
	}
	return err
}

func (w *writer) run(group []*request) error {
	if w.torn {
		if _, err := w.st.touch.exec(); err != nil {
			return err
		}
	}
	for _, r := range group {
		r.err = nil
		err := r.run(w)
		var refused refusal
		if errors.As(err, &refused) {
			r.err = refused.error
		} else if err != nil {
			return err
		}
	}
	return nil
}

// rollback undoes the transaction, in memory too. That it fails does not
// matter: SQLite has then ended the transaction itself.
func (w *writer) rollback() {
	_, _ = w.st.rollback.exec()
	for i := len(w.undo) - 1; i >= 0; i-- {
		u := w.undo[i]
		if u.none {
			delete(w.claims, u.id)
		} else {
			w.claims[u.id] = u.had
		}
	}
}

// mend writes over the end of a transaction that failed while it was
// committed, so that a crash cannot bring it back. Only then is it certain
// that it did not happen.
func (w *writer) mend() error {
	if _, err := w.st.begin.exec(); err != nil {
		return err
	}
	_, err := w.st.touch.exec()
	if err == nil {
		_, err = w.st.commit.exec()
	}
	if err != nil {
		_, _ = w.st.rollback.exec()
		return err
	}
	w.torn = false
	return nil
}

// committed does what follows a transaction.
func (w *writer) committed() {
	w.s.rows.messages.Add(w.messages)
	w.s.rows.envelopes.Add(w.envelopes)
	for _, b := range w.stored {
		b.adopted()
	}
	if len(w.files) > 0 {
		ids := append([]mail.MessageID(nil), w.files...)
		w.s.background.Go(func() { w.s.unlink(ids) })
	}
}

// setClaim and endClaim change claims so that rollback can undo it.
func (w *writer) setClaim(id mail.EnvelopeID, c claim) {
	had, ok := w.claims[id]
	w.undo = append(w.undo, undo{id, had, !ok})
	w.claims[id] = c
}

func (w *writer) endClaim(id mail.EnvelopeID) {
	if had, ok := w.claims[id]; ok {
		w.undo = append(w.undo, undo{id: id, had: had})
		delete(w.claims, id)
	}
}
