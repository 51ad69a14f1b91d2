package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/weirmail/weir/internal/mail"
)

// firstBuffer is the capacity of the buffer that a body gets first; most mail
// fits. The other size is InlineBody.
const firstBuffer = 8 << 10

// The pools hold arrays: a slice would be allocated anew for each Put.
var (
	smallBuffers = sync.Pool{New: func() any { return new([firstBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([InlineBody]byte) }}
)

func getBuffer(size int) []byte {
	if size > firstBuffer {
		return largeBuffers.Get().(*[InlineBody]byte)[:0]
	}
	return smallBuffers.Get().(*[firstBuffer]byte)[:0]
}

func putBuffer(b []byte) {
	switch cap(b) {
	case firstBuffer:
		smallBuffers.Put((*[firstBuffer]byte)(b[:firstBuffer]))
	case InlineBody:
		largeBuffers.Put((*[InlineBody]byte)(b[:InlineBody]))
	}
}

var errSpoolClosed = errors.New("queue: the message was committed or discarded before")

// Spool takes one body. A small one stays in memory, a larger one streams to
// the store. Commit or Discard ends it. One goroutine at a time.
type Spool struct {
	q    *Queue
	id   mail.MessageID
	buf  []byte // the body so far, unless body is set
	body Body
	size int64
	err  error // why nothing more can be written
}

// Spool begins the body of the message with that id.
func (q *Queue) Spool(id mail.MessageID) (*Spool, error) {
	if id == 0 {
		return nil, errors.New("queue: a message cannot have the id 0")
	}
	return &Spool{q: q, id: id}, nil
}

// Write adds p to the body, whose lines end in LF. An error, ErrNoSpace among
// them, is final: the message cannot be committed any more.
func (s *Spool) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n := 0
	if s.body == nil {
		if len(s.buf)+len(p) <= InlineBody {
			s.grow(len(s.buf) + len(p))
			s.buf = append(s.buf, p...)
			s.size += int64(len(p))
			return len(p), nil
		}
		if s.err = s.spill(); s.err != nil {
			return 0, s.err
		}
	}
	n, s.err = s.body.Write(p)
	s.size += int64(n)
	return n, s.err
}

// grow makes room for n bytes in all.
func (s *Spool) grow(n int) {
	if n <= cap(s.buf) {
		return
	}
	b := append(getBuffer(n), s.buf...)
	putBuffer(s.buf)
	s.buf = b
}

// spill moves the body from memory to the store.
func (s *Spool) spill() error {
	body, err := s.q.st.Create(s.id)
	if err != nil {
		return err
	}
	if _, err := body.Write(s.buf); err != nil {
		body.Discard()
		return err
	}
	putBuffer(s.buf)
	s.buf, s.body = nil, body
	return nil
}

// Size gives the bytes written so far.
func (s *Spool) Size() int64 { return s.size }

// Discard throws the body away. After Commit it does nothing.
func (s *Spool) Discard() {
	s.release()
	if s.err == nil {
		s.err = errSpoolClosed
	}
}

func (s *Spool) release() {
	if s.body != nil {
		s.body.Discard()
	}
	putBuffer(s.buf)
	s.buf, s.body = nil, nil
}

// Commit makes m and its envelopes durable and has them attempted. It sets
// m.ID, m.Size and, if it is zero, m.Received; and each envelope's Expires and
// Next, and its ID where that is zero. An envelope with Held set waits until
// it is released. The Spool is of no more use afterwards, whatever the result.
//
// Nil means that everything would survive a crash. Any error means that
// nothing will be delivered and the client must keep the message: with
// ErrNoSpace there is no room. When the store cannot tell whether it has the
// message (ErrInDoubt) the queue holds on to the claim with which it was
// written, so that nobody attempts it, and erases it as soon as the store
// answers again. Should the process die before that, the message may be
// delivered although the client was told 451.
//
// Commit does not give up when ctx ends while the store writes: the outcome
// would be unknown.
func (s *Spool) Commit(ctx context.Context, m *mail.Message, envelopes []mail.Envelope) error {
	defer s.Discard()
	n, err := s.seal(m, envelopes)
	if err != nil {
		return err
	}
	entry := s.q.admit(n)
	s.q.storing.Add(1)
	err = s.q.st.Apply(ctx, &Change{Add: []New{*n}})
	s.q.storing.Add(-1)
	if err != nil {
		s.q.reject(s.id, entry, err)
		return fmt.Errorf("queue: storing message %v: %w", s.id, err)
	}
	s.q.begin(entry, n.Lines, s.keep(entry))
	return nil
}

// seal makes the body durable if it is not to be stored with the message.
func (s *Spool) seal(m *mail.Message, envelopes []mail.Envelope) (*New, error) {
	if s.err != nil {
		return nil, s.err
	}
	if err := s.complete(m, envelopes); err != nil {
		return nil, err
	}
	if s.body != nil {
		if err := s.body.Seal(); err != nil {
			return nil, fmt.Errorf("queue: storing the body of message %v: %w", s.id, err)
		}
	}
	return &New{Message: m, Envelopes: envelopes, Inline: s.buf, Body: s.body}, nil
}

// complete sets what the queue decides about a new message.
func (s *Spool) complete(m *mail.Message, envelopes []mail.Envelope) error {
	if len(envelopes) == 0 || len(envelopes) > maxEnvelopes {
		return fmt.Errorf("queue: message %v has %d envelopes, not 1 to %d", s.id, len(envelopes), maxEnvelopes)
	}
	m.ID, m.Size = s.id, s.size
	if m.Received.IsZero() {
		m.Received = s.q.opt.Now()
	}
	seen := make(map[mail.EnvelopeID]struct{}, len(envelopes))
	for i := range envelopes {
		e := &envelopes[i]
		if e.ID == 0 {
			e.ID = mail.NewEnvelopeID(s.id, uint32(i+1))
		}
		if _, twice := seen[e.ID]; twice || e.ID.Message() != s.id {
			return fmt.Errorf("queue: envelope id %v cannot be used in message %v", e.ID, s.id)
		}
		seen[e.ID] = struct{}{}
		ttl := s.q.opt.TTL(e.Action)
		if ttl <= 0 {
			ttl = DefaultTTL
		}
		e.Expires = m.Received.Add(ttl)
		e.Next = s.q.opt.Now()
	}
	return nil
}

// keep gives the body in memory to the attempts that follow at once, if there
// is room for that; nil if they are to read it from the store.
func (s *Spool) keep(entry *entry) *memBody {
	if entry == nil || s.body != nil || !s.q.cache.take(cap(s.buf)) {
		return nil
	}
	b := &memBody{buf: s.buf, budget: &s.q.cache}
	b.refs.Store(1)
	s.buf = nil
	return b
}

// bodyBudget bounds the bodies that are kept in memory after their commit.
type bodyBudget struct{ left atomic.Int64 }

func (b *bodyBudget) take(n int) bool {
	if b.left.Add(-int64(n)) < 0 {
		b.left.Add(int64(n))
		return false
	}
	return true
}

// memBody is a body that attempts read from memory. Its buffer goes back to
// the pool when the last of attempts and readers has released it.
type memBody struct {
	buf    []byte
	refs   atomic.Int32
	budget *bodyBudget
}

func (b *memBody) retain() { b.refs.Add(1) }

func (b *memBody) release() {
	if b.refs.Add(-1) == 0 {
		b.budget.left.Add(int64(cap(b.buf)))
		putBuffer(b.buf)
		b.buf = nil
	}
}

// open gives a reader of its own. The caller holds a reference.
func (b *memBody) open() io.ReadCloser {
	b.retain()
	return &memReader{body: b, r: bytes.NewReader(b.buf)}
}

type memReader struct {
	mu   sync.Mutex // Close may come while a Read is under way
	body *memBody
	r    *bytes.Reader
}

func (r *memReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.body == nil {
		return 0, errors.New("queue: read from a body that was closed")
	}
	return r.r.Read(p)
}

func (r *memReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.body != nil {
		r.body.release()
		r.body, r.r = nil, nil
	}
	return nil
}
