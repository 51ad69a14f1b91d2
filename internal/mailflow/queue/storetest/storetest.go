// Package storetest has what every queue.Store must do, as tests, and a Store
// in memory that is the reference for them and serves tests of the queue.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
		Rdns: "mail.example", AuthUser: "joe", Tag: "t", EightBit: true, UTF8: true, Ret: mail.RetHdrs, EnvID: "x+2By",
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

func testClaimOrder(s *suite) {
	for _, minute := range []int{3, 1, 2, 60} {
		add := s.message(1)
		add.Envelopes[0].Next = s.now.Add(time.Duration(minute-3) * time.Minute)
		add.Envelopes[0].Attempts = minute
		s.add(add)
	}
	c, next, err := s.st.Claim(s.Context(), s.now, 2)
	s.must(err)
	if len(c) != 2 || c[0].Envelope.Attempts != 1 || c[1].Envelope.Attempts != 2 {
		s.Fatalf("claimed %+v", c)
	}
	if next.IsZero() || next.After(s.now) {
		s.Errorf("more is due, but the next time is %v", next)
	}
	c, next, err = s.st.Claim(s.Context(), s.now, 2)
	s.must(err)
	if len(c) != 1 || c[0].Envelope.Attempts != 3 || !next.Equal(s.now.Add(57*time.Minute)) {
		s.Errorf("claimed %+v, next %v", c, next)
	}
	c, next, err = s.st.Claim(s.Context(), s.now.Add(57*time.Minute), 2)
	s.must(err)
	if len(c) != 1 || !next.IsZero() {
		s.Errorf("claimed %+v, next %v", c, next)
	}
}

func testClaimOnce(s *suite) {
	s.add(s.message(3))
	if n := len(s.claim(9)); n != 3 {
		s.Fatalf("%d were claimed", n)
	}
	if n := len(s.claim(9)); n != 0 {
		s.Errorf("%d were claimed twice", n)
	}
	s.counts(queue.Counts{Messages: 1, Envelopes: 3, Claimed: 3})
}

func testAddClaimed(s *suite) {
	add := s.message(2)
	add.Claimed = true
	s.add(add)
	if n := len(s.claim(9)); n != 0 {
		s.Errorf("%d were claimed twice", n)
	}
	s.must(s.st.Apply(s.Context(), &queue.Change{Done: []queue.Claim{{ID: add.Envelopes[0].ID, Fence: 1}}}))
	s.counts(queue.Counts{Messages: 1, Envelopes: 1, Claimed: 1})
}

func testDefer(s *suite) {
	s.add(s.message(1))
	c := s.claim(1)[0]
	d := queue.Deferral{Claim: claimOf(c), Next: s.now.Add(time.Minute), Attempts: 7, Warned: 2, LastErr: "450 later\x80"}
	s.must(s.st.Apply(s.Context(), &queue.Change{Defer: []queue.Deferral{d}}))
	want := *c.Envelope
	want.Next, want.Attempts, want.Warned, want.LastErr = d.Next, d.Attempts, d.Warned, d.LastErr
	s.st = s.reopen(s.T, s.st)
	s.diff(s.list(queue.Filter{})[0].Envelope, &want)
	if n := len(s.claim(1)); n != 0 {
		s.Error("claimed before its time")
	}
	s.now = s.now.Add(time.Minute)
	again := s.claim(1)
	if len(again) != 1 {
		s.Fatal("not claimed when it is due")
	}
	s.diff(again[0].Envelope, &want)
}

func testDone(s *suite) {
	s.add(s.message(2), s.message(1))
	c := s.claim(9)
	// Not in order: envelopes of a message need not come together.
	s.must(s.st.Apply(s.Context(), &queue.Change{Done: []queue.Claim{claimOf(c[0]), claimOf(c[2]), claimOf(c[1])}}))
	s.counts(queue.Counts{})
	if _, err := s.st.Open(s.Context(), c[0].Message.ID); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("body of a message without envelopes: %v", err)
	}
}

func (s *suite) wantLost(err error, ids ...mail.EnvelopeID) {
	s.Helper()
	var lost *queue.LostError
	if !errors.As(err, &lost) {
		s.Fatalf("error is %v, want a LostError", err)
	}
	s.diff(lost.IDs, ids)
}

func testLost(s *suite) {
	s.add(s.message(2))
	c := s.claim(9)
	id := c[0].Envelope.ID
	bad := queue.Claim{ID: id, Fence: c[0].Fence + 100}
	s.wantLost(s.st.Apply(s.Context(), &queue.Change{Done: []queue.Claim{bad}}), id)
	s.must(s.st.Apply(s.Context(), &queue.Change{Defer: []queue.Deferral{{Claim: claimOf(c[0]), Next: s.now}}}))
	// The claim has ended: its fence counts no more.
	s.wantLost(s.st.Apply(s.Context(), &queue.Change{Done: []queue.Claim{claimOf(c[0])}}), id)
	again := s.claim(9)
	if len(again) != 1 || again[0].Fence <= c[0].Fence {
		s.Fatalf("fence %d, then %+v", c[0].Fence, again)
	}
	s.wantLost(s.st.Apply(s.Context(), &queue.Change{Done: []queue.Claim{claimOf(c[0])}}), id)
	s.counts(queue.Counts{Messages: 1, Envelopes: 2, Claimed: 2})
}

func testAllOrNothing(s *suite) {
	s.add(s.message(2))
	c := s.claim(9)
	lost := queue.Claim{ID: c[0].Envelope.ID, Fence: c[0].Fence + 1}
	change := &queue.Change{
		Add: []queue.New{s.message(1)}, Done: []queue.Claim{lost},
		Defer: []queue.Deferral{{Claim: claimOf(c[1]), Next: s.now.Add(time.Hour)}},
	}
	s.wantLost(s.st.Apply(s.Context(), change), lost.ID)
	s.counts(queue.Counts{Messages: 1, Envelopes: 2, Claimed: 2})
	change.Done[0] = claimOf(c[0])
	s.must(s.st.Apply(s.Context(), change))
	s.counts(queue.Counts{Messages: 2, Envelopes: 2})
	// A fault of a later part undoes the earlier ones too.
	add := s.message(1)
	change = &queue.Change{Add: []queue.New{add, add}}
	if err := s.st.Apply(s.Context(), change); err == nil {
		s.Error("a message was taken twice in one change")
	}
	s.counts(queue.Counts{Messages: 2, Envelopes: 2})
}

func testClaimsEnd(s *suite) {
	add := s.message(1)
	add.Claimed = true
	s.add(add, s.message(1))
	held := s.message(1)
	s.add(held)
	c := s.claim(9)
	s.admin(queue.OpHold, 1, queue.Ref{Message: held.Message.ID})
	s.st = s.reopen(s.T, s.st)
	s.wantLost(s.st.Apply(s.Context(), &queue.Change{Done: []queue.Claim{claimOf(c[0])}}), c[0].Envelope.ID)
	if n := len(s.claim(9)); n != 2 {
		s.Errorf("%d envelopes wait after the end of the process that had them, want 2", n)
	}
	s.counts(queue.Counts{Messages: 3, Envelopes: 3, Claimed: 2, Held: 1})
}

func testList(s *suite) {
	var adds []queue.New
	for range 5 {
		adds = append(adds, s.message(3))
	}
	s.add(adds...)
	var seen []mail.EnvelopeID
	f := queue.Filter{Limit: 4}
	for {
		page := s.list(f)
		if len(page) == 0 {
			break
		}
		for _, it := range page {
			seen = append(seen, it.Envelope.ID)
		}
		f.After = page[len(page)-1].Position
		// What was listed may go meanwhile.
		s.admin(queue.OpRemove, 1, queue.Ref{Message: page[len(page)-1].Message.ID, Envelope: seen[len(seen)-1]})
	}
	// Each once; those of a message one after the other, in their order. The
	// order of messages is the store's.
	var want []mail.EnvelopeID
	for i := 0; i < len(seen); i += 3 {
		want = append(want, envelopesOf(adds, seen[i].Message())...)
	}
	s.diff(seen, want)
	if len(seen) != 15 {
		s.Errorf("%d envelopes were listed, want 15", len(seen))
	}
	// The last of each page is gone; one message has all that is left of it.
	second := adds[1].Message.ID
	gone := 0
	for i := 3; i < len(seen); i += 4 {
		if seen[i].Message() == second {
			gone++
		}
	}
	if seen[len(seen)-1].Message() == second {
		gone++
	}
	items := s.list(queue.Filter{Ref: queue.Ref{Message: second}})
	if len(items) != 3-gone {
		s.Errorf("a message has %d envelopes in the list, want %d", len(items), 3-gone)
	}
	left := items[0].Envelope.ID
	one := queue.Ref{Message: second, Envelope: left}
	if it := s.list(queue.Filter{Ref: one}); len(it) != 1 || it[0].Envelope.ID != one.Envelope {
		s.Errorf("one envelope is listed as %+v", it)
	}
	if it := s.list(queue.Filter{Ref: queue.Ref{Message: 0xffffffff}}); len(it) != 0 {
		s.Errorf("an unknown message is listed as %+v", it)
	}
}

func envelopesOf(adds []queue.New, id mail.MessageID) []mail.EnvelopeID {
	var ids []mail.EnvelopeID
	for _, a := range adds {
		for _, e := range a.Envelopes {
			if a.Message.ID == id {
				ids = append(ids, e.ID)
			}
		}
	}
	return ids
}

func testRemove(s *suite) {
	one, two, three := s.message(2), s.message(2), s.message(1)
	large := bytes.Repeat([]byte("x\n"), queue.InlineBody)
	two.Inline, two.Body = nil, s.file(two.Message.ID, large)
	s.must(two.Body.Seal())
	s.add(one, two, three)
	s.admin(queue.OpRemove, 0, queue.Ref{Message: 0xffffffff}, queue.Ref{Message: one.Message.ID, Envelope: mail.NewEnvelopeID(one.Message.ID, 77)})
	s.admin(queue.OpRemove, 3, queue.Ref{Message: one.Message.ID, Envelope: one.Envelopes[1].ID}, queue.Ref{Message: two.Message.ID})
	s.counts(queue.Counts{Messages: 2, Envelopes: 2})
	if _, err := s.st.Open(s.Context(), two.Message.ID); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("body of a removed message: %v", err)
	}
	n, err := s.st.Admin(s.Context(), queue.OpRemove, nil, s.now)
	s.must(err)
	if n != 2 {
		s.Errorf("removed %d, want 2", n)
	}
	s.counts(queue.Counts{})
}

func testRemoveClaimed(s *suite) {
	add := s.message(1)
	s.add(add)
	c := s.claim(1)[0]
	s.admin(queue.OpRemove, 1, queue.Ref{Message: add.Message.ID})
	s.wantLost(s.st.Apply(s.Context(), &queue.Change{Done: []queue.Claim{claimOf(c)}}), c.Envelope.ID)
	s.counts(queue.Counts{})
}

func testHold(s *suite) {
	one, two := s.message(2), s.message(1)
	s.add(one, two)
	ref := queue.Ref{Message: one.Message.ID}
	s.admin(queue.OpHold, 2, ref)
	s.admin(queue.OpHold, 0, ref)
	s.admin(queue.OpRetry, 0, ref)
	s.counts(queue.Counts{Messages: 2, Envelopes: 3, Held: 2})
	s.st = s.reopen(s.T, s.st)
	if c := s.claim(9); len(c) != 1 || c[0].Message.ID != two.Message.ID {
		s.Errorf("claimed %+v", c)
	}
	if it := s.list(queue.Filter{Held: true}); len(it) != 2 || !it[0].Envelope.Held {
		s.Errorf("held are %+v", it)
	}
	s.admin(queue.OpRelease, 0, queue.Ref{Message: two.Message.ID})
	s.admin(queue.OpRelease, 2, ref)
	if c := s.claim(9); len(c) != 2 || c[0].Envelope.Held {
		s.Errorf("claimed after release: %+v", c)
	}
}

func testHoldClaimed(s *suite) {
	add := s.message(2)
	s.add(add)
	c := s.claim(9)
	s.admin(queue.OpHold, 2, queue.Ref{Message: add.Message.ID})
	s.counts(queue.Counts{Messages: 1, Envelopes: 2, Claimed: 2})
	// One was delivered, that is that; the other waits to be released.
	s.must(s.st.Apply(s.Context(), &queue.Change{
		Done: []queue.Claim{claimOf(c[0])}, Defer: []queue.Deferral{{Claim: claimOf(c[1]), Next: s.now}},
	}))
	s.counts(queue.Counts{Messages: 1, Envelopes: 1, Held: 1})
	if n := len(s.claim(9)); n != 0 {
		s.Error("a held envelope was claimed")
	}
}

func testAddHeld(s *suite) {
	add := s.message(2)
	add.Claimed = true
	add.Envelopes[0].Held = true
	s.add(add)
	s.counts(queue.Counts{Messages: 1, Envelopes: 2, Held: 1, Claimed: 1})
	s.admin(queue.OpRelease, 1, queue.Ref{Message: add.Message.ID, Envelope: add.Envelopes[0].ID})
	if c := s.claim(9); len(c) != 1 || c[0].Envelope.ID != add.Envelopes[0].ID {
		s.Errorf("claimed %+v", c)
	}
}

func testRetry(s *suite) {
	one, two := s.message(1), s.message(1)
	later := s.now.Add(time.Hour)
	one.Envelopes[0].Next, two.Envelopes[0].Next = later, later
	s.add(one, two)
	s.admin(queue.OpRetry, 1, queue.Ref{Message: two.Message.ID})
	if c := s.claim(9); len(c) != 1 || c[0].Message.ID != two.Message.ID {
		s.Errorf("claimed %+v", c)
	}
	s.admin(queue.OpRetry, 0, queue.Ref{Message: two.Message.ID})
}

func testRetryAll(s *suite) {
	const many = 5000 // more than a store changes at a time
	var adds []queue.New
	for i := range many / 10 {
		add := s.message(10)
		for j := range add.Envelopes {
			add.Envelopes[j].Next = s.now.Add(time.Duration(i+1) * time.Second)
		}
		adds = append(adds, add)
	}
	s.add(adds...)
	n, err := s.st.Admin(s.Context(), queue.OpRetry, nil, s.now)
	s.must(err)
	if n != many {
		s.Errorf("retried %d, want %d", n, many)
	}
	total := 0
	for c := s.claim(700); len(c) > 0; c = s.claim(700) {
		total += len(c)
	}
	if total != many {
		s.Errorf("claimed %d, want %d", total, many)
	}
}

func testContext(s *suite) {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if err := s.st.Apply(ctx, &queue.Change{Add: []queue.New{s.message(1)}}); err == nil {
		s.Error("a change was begun though its context had ended")
	}
	s.counts(queue.Counts{})
}

func testTogether(s *suite) {
	const workers, each = 8, 30
	errs := make(chan error, workers)
	for range workers {
		var adds []queue.New
		for range each {
			adds = append(adds, s.message(1))
		}
		go func() {
			for _, add := range adds {
				add.Claimed = true
				if err := s.st.Apply(s.Context(), &queue.Change{Add: []queue.New{add}}); err != nil {
					errs <- err
					return
				}
				if _, err := s.st.Open(s.Context(), add.Message.ID); err != nil {
					errs <- fmt.Errorf("just added: %w", err)
					return
				}
				err := s.st.Apply(s.Context(), &queue.Change{Done: []queue.Claim{{ID: add.Envelopes[0].ID, Fence: 1}}})
				if err != nil {
					errs <- err
					return
				}
				if _, err := s.st.List(s.Context(), queue.Filter{Limit: 3}); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		s.must(<-errs)
	}
	s.counts(queue.Counts{})
}
