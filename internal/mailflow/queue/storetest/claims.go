package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

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
