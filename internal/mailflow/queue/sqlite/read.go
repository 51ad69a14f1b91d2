package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/weirmail/weir/internal/descriptor"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// Bits of message.flags.
const (
	flagEightBit = 1 << iota
	flagUTF8
	flagJunk
)

// selectItems reads envelopes with their messages, in the order of scan.
var selectItems = fmt.Sprintf(`SELECT e.seq, e.id, e.due, e.next, e.expires, e.attempts, e.warned, e.held,
 e.rcpt_local, e.rcpt_domain, e.dest_local, e.dest_domain, e.action, e.local_user, e.local_file, e.local_command,
 e.notify, e.orcpt, e.last_err, m.id, m.sender_local, m.sender_domain, m.size, m.received, m.session, m.helo,
 m.source, m.rdns, m.auth_user, m.tag, m.flags, m.ret, m.envid
 FROM envelope e CROSS JOIN message m ON m.seq = e.seq >> %d`, envelopeBits)

const itemColumns = 33

// items turns rows into items. Rows of one message share it.
type items struct {
	messages map[mail.MessageID]*mail.Message
}

// row reads the columns of a row one after the other.
type row struct {
	v []driver.Value
	i int
}

func (r *row) int() int64 {
	n, _ := r.v[r.i].(int64)
	r.i++
	return n
}

func (r *row) text() string {
	s, _ := r.v[r.i].(string)
	r.i++
	return s
}

func (r *row) address() mail.Address {
	return mail.Address{Local: r.text(), Domain: r.text()}
}

// scan reads a row of selectItems.
func (it *items) scan(v []driver.Value) (queue.Item, int64) {
	r := row{v: v}
	seq := r.int()
	e := &mail.Envelope{ID: mail.EnvelopeID(r.int())}
	due := r.int()
	e.Next, e.Expires = timeOf(r.int()), timeOf(r.int())
	e.Attempts, e.Warned, e.Held = int(r.int()), int(r.int()), r.int() != 0
	e.Rcpt, e.Dest, e.Action = r.address(), r.address(), r.text()
	e.Local = mail.Local{User: r.text(), File: r.text(), Command: r.text()}
	e.Notify, e.ORcpt, e.LastErr = mail.Notify(r.int()), r.text(), r.text()
	item := queue.Item{Envelope: e, Claimed: due == dueClaimed, Position: uint64(seq)}

	id := mail.MessageID(r.int())
	if m := it.messages[id]; m != nil {
		item.Message = m
		return item, seq
	}
	m := &mail.Message{ID: id}
	m.Sender, m.Size, m.Received = r.address(), r.int(), timeOf(r.int())
	m.Session, m.Helo, m.Source, m.Rdns = mail.SessionID(r.int()), r.text(), r.text(), r.text()
	m.AuthUser, m.Tag = r.text(), r.text()
	flags := r.int()
	m.EightBit, m.UTF8, m.Junk = flags&flagEightBit != 0, flags&flagUTF8 != 0, flags&flagJunk != 0
	m.Ret, m.EnvID = mail.Ret(r.int()), r.text()
	if it.messages == nil {
		it.messages = make(map[mail.MessageID]*mail.Message)
	}
	it.messages[id] = m
	item.Message = m
	return item, seq
}

const selectBody = "SELECT body IS NULL, body FROM message WHERE seq = ?"

// Open implements queue.Store.
func (s *Store) Open(ctx context.Context, id mail.MessageID) (io.ReadCloser, error) {
	var file bool
	var data []byte
	err := s.read.QueryRowContext(ctx, selectBody, s.seq(id)).Scan(&file, &data)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, fmt.Errorf("message %v: %w", id, queue.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("reading message %v: %w", id, s.explain(err))
	case !file:
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	f, err := descriptor.Wait(ctx, func() (*os.File, error) { return os.Open(s.bodyPath(id)) })
	if errors.Is(err, os.ErrNotExist) { // dropped since, or somebody else removed it
		return nil, fmt.Errorf("body of message %v: %w", id, queue.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// List implements queue.Store.
func (s *Store) List(ctx context.Context, f queue.Filter) ([]queue.Item, error) {
	from, to := int64(0), int64(1<<62)
	if f.After >= 1<<62 {
		return nil, nil
	}
	if f.Ref != (queue.Ref{}) {
		msg := s.seq(f.Ref.Message)
		from, to = msg<<envelopeBits, msg<<envelopeBits|envelopeMask
	}
	if f.After > 0 {
		from = max(from, int64(f.After)+1)
	}
	rows, err := s.read.QueryContext(ctx, selectList(f), from, to, f.Max(), int64(f.Ref.Envelope))
	if err != nil {
		return nil, s.explain(err)
	}
	defer rows.Close()
	return s.scanAll(rows)
}

// selectList is the statement for f: ?1 and ?2 are the first and the last
// seq, ?3 the number of rows, ?4 the id of an envelope.
func selectList(f queue.Filter) string {
	const inRange, inOrder = " WHERE e.seq BETWEEN ?1 AND ?2", " ORDER BY e.seq LIMIT ?3"
	// What is held has an index entry of its own; so has what is claimed, some
	// of which is held as soon as its claim ends.
	held, claimed := fmt.Sprintf(" AND e.due = %d", dueHeld), fmt.Sprintf(" AND e.due = %d AND e.held = 1", dueClaimed)
	switch {
	case f.Ref.Envelope != 0 && f.Held:
		return selectItems + inRange + " AND e.id = ?4 AND e.held = 1" + inOrder
	case f.Ref.Envelope != 0:
		return selectItems + inRange + " AND e.id = ?4" + inOrder
	case f.Held:
		return selectItems + inRange + held + " UNION ALL " + selectItems + inRange + claimed + " ORDER BY 1 LIMIT ?3"
	}
	return selectItems + inRange + inOrder
}

func (s *Store) scanAll(rows *sql.Rows) ([]queue.Item, error) {
	var out []queue.Item
	var known items
	var values [itemColumns]driver.Value
	var ptrs [itemColumns]any
	for i := range values {
		ptrs[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(ptrs[:]...); err != nil {
			return nil, s.explain(err)
		}
		item, _ := known.scan(values[:])
		out = append(out, item)
	}
	return out, s.explain(rows.Err())
}
