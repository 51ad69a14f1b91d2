package storetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// Memory is the reference: a queue.Store as simple as can be. It forgets
// everything with the process. Its zero value is ready for use.
type Memory struct {
	// Fail, if set, is asked before each change; its error is what Apply gives
	// then, and with queue.ErrInDoubt in it the change is made nevertheless.
	Fail func(*queue.Change) error

	mu       sync.Mutex
	counter  uint64
	position uint64
	fence    uint64
	rows     map[mail.EnvelopeID]*memRow
	messages map[mail.MessageID]*memMessage
}

type memRow struct {
	env      mail.Envelope
	fence    uint64 // 0: not claimed
	position uint64
	line     queue.Line
}

// due is when Claim gives it out.
func (r *memRow) due() time.Time {
	if r.line.Name != "" {
		return r.line.Until
	}
	return r.env.Next
}

type memMessage struct {
	msg  mail.Message
	body []byte
	left int // envelopes
}

// Reserve implements queue.Store.
func (s *Memory) Reserve(_ context.Context, n int) (queue.Block, error) {
	if n <= 0 {
		return queue.Block{}, fmt.Errorf("reserving %d numbers", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := queue.Block{First: s.counter, Key: queue.Key{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}
	s.counter += uint64(n)
	return b, nil
}

type memBody struct {
	bytes.Buffer
	sealed bool
}

func (b *memBody) Seal() error { b.sealed = true; return nil }
func (b *memBody) Discard()    {}

// Create implements queue.Store.
func (s *Memory) Create(mail.MessageID) (queue.Body, error) { return new(memBody), nil }

// Open implements queue.Store.
func (s *Memory) Open(_ context.Context, id mail.MessageID) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil {
		return nil, queue.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(m.body)), nil
}

// Apply implements queue.Store.
func (s *Memory) Apply(ctx context.Context, c *queue.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var doubt error
	if s.Fail != nil {
		if err := s.Fail(c); err != nil {
			if !isDoubt(err) {
				return err
			}
			doubt = err
		}
	}
	if err := s.check(c); err != nil {
		return err
	}
	for i := range c.Add {
		s.add(&c.Add[i])
	}
	for _, d := range c.Defer {
		r := s.rows[d.ID]
		r.fence = 0
		r.env.Next, r.env.Attempts, r.env.Warned, r.env.LastErr = micro(d.Next), d.Attempts, d.Warned, d.LastErr
		if !r.env.Held {
			r.line = queue.Line{Name: d.Line.Name, Until: micro(d.Line.Until)}
		}
	}
	for _, d := range c.Done {
		s.remove(d.ID)
	}
	return doubt
}

func (s *Memory) check(c *queue.Change) error {
	var lost []mail.EnvelopeID
	check := func(cl queue.Claim) {
		if r := s.rows[cl.ID]; r == nil || r.fence == 0 || r.fence != cl.Fence {
			lost = append(lost, cl.ID)
		}
	}
	for _, cl := range c.Done {
		check(cl)
	}
	for _, d := range c.Defer {
		check(d.Claim)
	}
	if lost != nil {
		return &queue.LostError{IDs: lost}
	}
	for i, n := range c.Add {
		same := func(o queue.New) bool { return o.Message.ID == n.Message.ID }
		if s.messages[n.Message.ID] != nil || slices.ContainsFunc(c.Add[:i], same) {
			return fmt.Errorf("message %v exists", n.Message.ID)
		}
		if len(n.Envelopes) == 0 || len(n.Inline) > queue.InlineBody {
			return fmt.Errorf("message %v has no envelopes, or a large body inline", n.Message.ID)
		}
		if b, ok := n.Body.(*memBody); n.Body != nil && (!ok || !b.sealed) {
			return fmt.Errorf("message %v has a body that is not sealed", n.Message.ID)
		}
	}
	return nil
}

func (s *Memory) add(n *queue.New) {
	if s.rows == nil {
		s.rows = make(map[mail.EnvelopeID]*memRow)
		s.messages = make(map[mail.MessageID]*memMessage)
		s.fence = 1
	}
	m := &memMessage{msg: *n.Message, body: bytes.Clone(n.Inline), left: len(n.Envelopes)}
	m.msg.Received = micro(m.msg.Received)
	if b, ok := n.Body.(*memBody); ok {
		m.body = b.Bytes()
	}
	s.messages[m.msg.ID] = m
	for i, e := range n.Envelopes {
		s.position++
		r := &memRow{env: e, position: s.position}
		r.env.Next, r.env.Expires = micro(e.Next), micro(e.Expires)
		if n.Claimed && !e.Held {
			r.fence = 1
		}
		if n.Lines != nil && !e.Held && !n.Claimed {
			r.line = queue.Line{Name: n.Lines[i].Name, Until: micro(n.Lines[i].Until)}
		}
		s.rows[e.ID] = r
	}
}

// micro is the precision of times that a Store keeps.
func micro(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()) }

func (s *Memory) remove(id mail.EnvelopeID) {
	delete(s.rows, id)
	m := s.messages[id.Message()]
	if m.left--; m.left == 0 {
		delete(s.messages, id.Message())
	}
}

// sorted gives the rows that match, ordered.
func (s *Memory) sorted(match func(*memRow) bool, less func(a, b *memRow) int) []*memRow {
	var rows []*memRow
	for _, r := range s.rows {
		if match(r) {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, less)
	return rows
}

func byPosition(a, b *memRow) int { return cmp.Compare(a.position, b.position) }

func byNext(a, b *memRow) int {
	return cmp.Or(a.env.Next.Compare(b.env.Next), byPosition(a, b))
}

func byDue(a, b *memRow) int {
	return cmp.Or(a.due().Compare(b.due()), byPosition(a, b))
}

// Claim implements queue.Store.
func (s *Memory) Claim(ctx context.Context, now time.Time, limit int) ([]queue.Claimed, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []queue.Claimed
	shared := make(map[mail.MessageID]*mail.Message)
	for _, r := range s.sorted(func(r *memRow) bool { return r.fence == 0 && !r.env.Held }, byDue) {
		if len(out) == limit || r.due().After(now) {
			return out, r.due(), nil
		}
		out = append(out, s.claim(r, shared))
	}
	return out, time.Time{}, nil
}

func (s *Memory) claim(r *memRow, shared map[mail.MessageID]*mail.Message) queue.Claimed {
	s.fence++
	r.fence, r.line = s.fence, queue.Line{}
	e := r.env
	return queue.Claimed{Message: s.share(shared, e.ID.Message()), Envelope: &e, Fence: r.fence}
}

// ClaimLine implements queue.Store.
func (s *Memory) ClaimLine(ctx context.Context, name string, limit int) ([]queue.Claimed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []queue.Claimed
	shared := make(map[mail.MessageID]*mail.Message)
	for _, r := range s.sorted(func(r *memRow) bool { return name != "" && r.line.Name == name }, byNext) {
		if len(out) == limit {
			break
		}
		out = append(out, s.claim(r, shared))
	}
	return out, nil
}

// Lines implements queue.Store.
func (s *Memory) Lines(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.rows {
		if r.line.Name != "" && !slices.Contains(out, r.line.Name) {
			out = append(out, r.line.Name)
		}
	}
	return out, nil
}

func (s *Memory) share(shared map[mail.MessageID]*mail.Message, id mail.MessageID) *mail.Message {
	if shared[id] == nil {
		m := s.messages[id].msg
		shared[id] = &m
	}
	return shared[id]
}

// List implements queue.Store.
func (s *Memory) List(_ context.Context, f queue.Filter) ([]queue.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := s.sorted(func(r *memRow) bool {
		return r.position > f.After && (f.Ref == queue.Ref{} || f.Ref.Covers(r.env.ID)) && (!f.Held || r.env.Held)
	}, byPosition)
	var out []queue.Item
	shared := make(map[mail.MessageID]*mail.Message)
	for _, r := range rows[:min(len(rows), f.Max())] {
		e := r.env
		out = append(out, queue.Item{Message: s.share(shared, e.ID.Message()), Envelope: &e, Claimed: r.fence != 0, Position: r.position})
	}
	return out, nil
}

// Count implements queue.Store.
func (s *Memory) Count(context.Context) (queue.Counts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := queue.Counts{Messages: int64(len(s.messages)), Envelopes: int64(len(s.rows))}
	for _, r := range s.rows {
		switch {
		case r.fence != 0:
			c.Claimed++
		case r.env.Held:
			c.Held++
		}
	}
	return c, nil
}

// Admin implements queue.Store.
func (s *Memory) Admin(ctx context.Context, op queue.Op, refs []queue.Ref, now time.Time) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if op < queue.OpRemove || op > queue.OpRelease {
		return 0, fmt.Errorf("unknown operation %d", op)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.sorted(func(r *memRow) bool {
		return refs == nil || slices.ContainsFunc(refs, func(ref queue.Ref) bool { return ref.Covers(r.env.ID) })
	}, byPosition) {
		if s.admin(op, r, micro(now)) {
			n++
		}
	}
	return n, nil
}

func (s *Memory) admin(op queue.Op, r *memRow, now time.Time) bool {
	switch {
	case op == queue.OpRemove:
		s.remove(r.env.ID)
	case op == queue.OpRetry && r.fence == 0 && r.line.Name != "":
		// It is tried as soon as there is room.
	case op == queue.OpRetry && r.fence == 0 && !r.env.Held:
		r.env.Next = now
	case op == queue.OpHold && !r.env.Held:
		r.env.Held, r.line = true, queue.Line{}
	case op == queue.OpRelease && r.env.Held:
		r.env.Held, r.env.Next = false, now
		r.env.Expires = r.env.Expires.Add(max(0, now.Sub(s.messages[r.env.ID.Message()].msg.Received)))
		if r.env.Attempts == 0 {
			r.env.LastErr = ""
		}
	default:
		return false
	}
	return true
}

// Close implements queue.Store. What is stored stays, claims end: the same
// Memory can be opened as if the process had started again.
func (s *Memory) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rows {
		r.fence = 0
	}
	return nil
}
