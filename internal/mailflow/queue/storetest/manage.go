package storetest

import (
	"bytes"
	"errors"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

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
	free, waits := s.message(1), s.message(1)
	waits.Envelopes[0].Held = true
	s.add(free, waits)
	held := s.list(queue.Filter{Held: true})
	if len(held) != 3 {
		s.Fatalf("%d envelopes are held, want 3", len(held))
	}
	if rest := s.list(queue.Filter{Held: true, After: held[1].Position}); len(rest) != 1 || rest[0].Envelope.ID != held[2].Envelope.ID {
		s.Errorf("the third of %+v is %+v", held, rest)
	}
	s.admin(queue.OpRemove, 2, queue.Ref{Message: free.Message.ID}, queue.Ref{Message: waits.Message.ID})
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
	e := &add.Envelopes[0]
	e.Held, e.LastErr = true, "filter x: timeout"
	life := e.Expires.Sub(add.Message.Received)
	s.add(add)
	s.counts(queue.Counts{Messages: 1, Envelopes: 2, Held: 1, Claimed: 1})
	s.now = s.now.Add(2 * life) // longer than it would have lived
	s.admin(queue.OpRelease, 1, queue.Ref{Message: add.Message.ID, Envelope: e.ID})
	c := s.claim(9)
	if len(c) != 1 || c[0].Envelope.ID != e.ID {
		s.Fatalf("claimed %+v", c)
	}
	if got := c[0].Envelope; !got.Expires.Equal(s.now.Add(life)) || got.LastErr != "" {
		s.Errorf("it expires %v after its release with %q; want %v", got.Expires.Sub(s.now), got.LastErr, life)
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
