// Package storetest has what every queue.Store must do, as tests, and a Store
// in memory that is the reference for them and serves tests of the queue.
package storetest

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

func isDoubt(err error) bool { return errors.Is(err, queue.ErrInDoubt) }

// Run runs the suite. open makes an empty Store whose end is the test's;
// reopen closes a Store and opens it again as the next process would.
func Run(t *testing.T, open func(t *testing.T) queue.Store, reopen func(t *testing.T, st queue.Store) queue.Store) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Reserve", testReserve},
		{"RoundTrip", testRoundTrip},
		{"Bodies", testBodies},
		{"DiscardedBody", testDiscardedBody},
		{"Faults", testFaults},
		{"ClaimOrder", testClaimOrder},
		{"ClaimOnce", testClaimOnce},
		{"AddClaimed", testAddClaimed},
		{"Defer", testDefer},
		{"Done", testDone},
		{"Lost", testLost},
		{"AllOrNothing", testAllOrNothing},
		{"ClaimsEndWithProcess", testClaimsEnd},
		{"List", testList},
		{"Remove", testRemove},
		{"RemoveClaimed", testRemoveClaimed},
		{"HoldAndRelease", testHold},
		{"HoldClaimed", testHoldClaimed},
		{"AddHeld", testAddHeld},
		{"Retry", testRetry},
		{"RetryAll", testRetryAll},
		{"Lines", testLines},
		{"DeferToLine", testDeferToLine},
		{"ManageLine", testManageLine},
		{"Context", testContext},
		{"Together", testTogether},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{T: t, st: open(t), reopen: reopen, now: time.UnixMicro(1_700_000_000_000_000)}
			test.run(s)
		})
	}
}

// suite is one test with its Store.
type suite struct {
	*testing.T
	st     queue.Store
	reopen func(*testing.T, queue.Store) queue.Store
	now    time.Time
	last   mail.MessageID
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// message makes a message with n envelopes that are due now, every field set.
func (s *suite) message(n int) queue.New {
	s.last += 0x51515151 // ids are as if random, beyond 31 bits too
	m := &mail.Message{
		ID: s.last, Sender: mail.Address{Local: "a\xffb", Domain: "example.org"}, Size: 5,
		Received: s.now.Add(-time.Second), Session: 0xfedcba9876543210, Helo: "client.example", Source: "192.0.2.1",
		Rdns: "mail.example", AuthUser: "joe", Tag: "t", Junk: true, EightBit: true, UTF8: true, Ret: mail.RetHdrs, EnvID: "x+2By",
	}
	add := queue.New{Message: m, Inline: []byte("body\n")}
	for i := range n {
		add.Envelopes = append(add.Envelopes, mail.Envelope{
			ID: mail.NewEnvelopeID(m.ID, uint32(0xf0000000+i)), Rcpt: mail.Address{Local: "r"},
			Dest: mail.Address{Local: "d", Domain: "example.net"}, Action: "local",
			Local:  mail.Local{User: "u", File: "/f", Command: "c"},
			Notify: mail.NotifyDelay | mail.NotifyFailure, ORcpt: "rfc822;r",
			Expires: s.now.Add(time.Hour), Next: s.now,
		})
	}
	return add
}

func (s *suite) add(adds ...queue.New) {
	s.Helper()
	s.must(s.st.Apply(s.Context(), &queue.Change{Add: adds}))
}

func (s *suite) claim(limit int) []queue.Claimed {
	s.Helper()
	c, _, err := s.st.Claim(s.Context(), s.now, limit)
	s.must(err)
	return c
}

func (s *suite) list(f queue.Filter) []queue.Item {
	s.Helper()
	items, err := s.st.List(s.Context(), f)
	s.must(err)
	return items
}

func (s *suite) counts(want queue.Counts) {
	s.Helper()
	got, err := s.st.Count(s.Context())
	s.must(err)
	if got != want {
		s.Errorf("counts are %+v, want %+v", got, want)
	}
}

func (s *suite) admin(op queue.Op, want int, refs ...queue.Ref) {
	s.Helper()
	n, err := s.st.Admin(s.Context(), op, refs, s.now)
	s.must(err)
	if n != want {
		s.Errorf("operation %d changed %d envelopes, want %d", op, n, want)
	}
}

func (s *suite) diff(got, want any) {
	s.Helper()
	if d := cmp.Diff(want, got); d != "" {
		s.Errorf("difference (-want +got):\n%s", d)
	}
}

func claimOf(c queue.Claimed) queue.Claim {
	return queue.Claim{ID: c.Envelope.ID, Fence: c.Fence}
}

func (s *suite) body(id mail.MessageID) []byte {
	s.Helper()
	r, err := s.st.Open(s.Context(), id)
	s.must(err)
	defer r.Close()
	b, err := io.ReadAll(r)
	s.must(err)
	return b
}

func testReserve(s *suite) {
	a, err := s.st.Reserve(s.Context(), 10)
	s.must(err)
	b, err := s.st.Reserve(s.Context(), 1)
	s.must(err)
	s.st = s.reopen(s.T, s.st)
	c, err := s.st.Reserve(s.Context(), 5)
	s.must(err)
	if b.First < a.First+10 || c.First < b.First+1 {
		s.Errorf("blocks begin at %d, %d, %d: they overlap", a.First, b.First, c.First)
	}
	if a.Key != b.Key || a.Key != c.Key || a.Key == (queue.Key{}) {
		s.Errorf("keys are %x, %x, %x", a.Key, b.Key, c.Key)
	}
	if _, err := s.st.Reserve(s.Context(), 0); err == nil {
		s.Error("an empty block was reserved")
	}
}

func testRoundTrip(s *suite) {
	add := s.message(2)
	s.add(add)
	s.st = s.reopen(s.T, s.st)
	items := s.list(queue.Filter{})
	if len(items) != 2 || items[0].Message != items[1].Message {
		s.Fatalf("list has %d items, or they do not share their message", len(items))
	}
	for i, it := range items {
		s.diff(it.Message, add.Message)
		s.diff(it.Envelope, &add.Envelopes[i])
	}
	s.diff(s.body(add.Message.ID), add.Inline)
	claimed := s.claim(9)
	if len(claimed) != 2 || claimed[0].Message != claimed[1].Message {
		s.Fatalf("%d envelopes are claimed, or they do not share their message", len(claimed))
	}
	for i, c := range claimed {
		s.diff(c.Message, add.Message)
		s.diff(c.Envelope, &add.Envelopes[i])
	}
}

func (s *suite) file(id mail.MessageID, content []byte) queue.Body {
	s.Helper()
	b, err := s.st.Create(id)
	s.must(err)
	for p := content; len(p) > 0; p = p[min(len(p), 1000):] {
		_, err := b.Write(p[:min(len(p), 1000)])
		s.must(err)
	}
	return b
}

func testBodies(s *suite) {
	var adds []queue.New
	bodies := make(map[mail.MessageID][]byte)
	for _, size := range []int{0, 1, 4096, queue.InlineBody} {
		add := s.message(1)
		add.Inline = bytes.Repeat([]byte{'x', 0, 0xff, '\n'}, size/4+1)[:size]
		bodies[add.Message.ID] = add.Inline
		adds = append(adds, add)
	}
	large := s.message(1)
	large.Inline = nil
	content := bytes.Repeat([]byte("0123456789\n"), queue.InlineBody/4)
	large.Body = s.file(large.Message.ID, content)
	s.must(large.Body.Seal())
	bodies[large.Message.ID] = content
	s.add(append(adds, large)...)
	large.Body.Discard() // too late to matter
	for range 2 {
		for id, want := range bodies {
			if !bytes.Equal(s.body(id), want) {
				s.Errorf("body of %d bytes is another now", len(want))
			}
		}
		s.st = s.reopen(s.T, s.st)
	}
	var done []queue.Claim
	for _, c := range s.claim(9) {
		done = append(done, claimOf(c))
	}
	s.must(s.st.Apply(s.Context(), &queue.Change{Done: done}))
	for id := range bodies {
		if _, err := s.st.Open(s.Context(), id); !errors.Is(err, queue.ErrNotFound) {
			s.Errorf("body of a dropped message: %v", err)
		}
	}
}

func testDiscardedBody(s *suite) {
	add := s.message(1)
	b := s.file(add.Message.ID, []byte("xyz"))
	b.Discard()
	b.Discard()
	if _, err := s.st.Open(s.Context(), add.Message.ID); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("discarded body: %v", err)
	}
	s.add(add) // the id is free
}

func testFaults(s *suite) {
	add := s.message(1)
	s.add(add)
	twice := s.message(1)
	twice.Message.ID, twice.Envelopes[0].ID = add.Message.ID, add.Envelopes[0].ID
	none := s.message(0)
	large := s.message(1)
	large.Inline = make([]byte, queue.InlineBody+1)
	open := s.message(1)
	open.Body = s.file(open.Message.ID, []byte("x"))
	defer open.Body.Discard()
	for name, bad := range map[string]queue.New{"id twice": twice, "no envelopes": none, "large inline": large, "body not sealed": open} {
		if err := s.st.Apply(s.Context(), &queue.Change{Add: []queue.New{bad}}); err == nil {
			s.Errorf("%s: no error", name)
		}
	}
	s.counts(queue.Counts{Messages: 1, Envelopes: 1})
	if _, err := s.st.Admin(s.Context(), 99, nil, s.now); err == nil {
		s.Error("unknown operation: no error")
	}
}
