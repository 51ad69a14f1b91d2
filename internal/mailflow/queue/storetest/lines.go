package storetest

import (
	"slices"
	"time"

	"github.com/weirmail/weir/internal/mailflow/queue"
)

func (s *suite) claimLine(name string, limit int) []queue.Claimed {
	s.Helper()
	c, err := s.st.ClaimLine(s.Context(), name, limit)
	s.must(err)
	return c
}

func (s *suite) lines(want ...string) {
	s.Helper()
	got, err := s.st.Lines(s.Context())
	s.must(err)
	slices.Sort(got)
	s.diff(got, want)
}

// inLine makes a message whose envelopes stand in lines of these names until
// an hour from now; "" is none.
func (s *suite) inLine(names ...string) queue.New {
	add := s.message(len(names))
	for _, name := range names {
		line := queue.Line{Name: name}
		if name != "" {
			line.Until = s.now.Add(time.Hour)
		}
		add.Lines = append(add.Lines, line)
	}
	return add
}

func testLines(s *suite) {
	s.lines()
	first, second := s.inLine("a", "b\xff", ""), s.inLine("a", "a")
	first.Envelopes[0].Next = s.now.Add(time.Second) // behind those of the second
	s.add(first, second)
	s.st = s.reopen(s.T, s.st)
	s.lines("a", "b\xff")
	c, next, err := s.st.Claim(s.Context(), s.now, 9)
	s.must(err)
	if len(c) != 1 || c[0].Envelope.ID != first.Envelopes[2].ID || !next.Equal(s.now.Add(time.Hour)) {
		s.Errorf("claimed %+v, next %v; want what stands in no line", c, next)
	}
	if c := s.claimLine("c", 9); len(c) != 0 {
		s.Errorf("a line in which nothing stands gives %+v", c)
	}
	c = s.claimLine("a", 2)
	if len(c) != 2 || c[0].Message.ID != second.Message.ID || c[0].Message != c[1].Message {
		s.Fatalf("line gives %+v", c)
	}
	s.diff(c[0].Envelope, &second.Envelopes[0])
	c = s.claimLine("a", 2)
	if len(c) != 1 || c[0].Envelope.ID != first.Envelopes[0].ID {
		s.Errorf("line gives %+v", c)
	}
	s.lines("b\xff")
	s.counts(queue.Counts{Messages: 2, Envelopes: 5, Claimed: 4})
	s.now = s.now.Add(time.Hour)
	if c := s.claim(9); len(c) != 1 || c[0].Envelope.ID != first.Envelopes[1].ID {
		s.Errorf("claimed %+v; want what stood in line until now", c)
	}
	s.lines()
}

func testDeferToLine(s *suite) {
	s.add(s.message(2))
	c := s.claim(9)
	s.admin(queue.OpHold, 1, queue.Ref{Message: c[1].Message.ID, Envelope: c[1].Envelope.ID})
	later := s.now.Add(time.Minute)
	var change queue.Change
	for i := range c {
		change.Defer = append(change.Defer, queue.Deferral{Claim: claimOf(c[i]), Next: s.now, Line: queue.Line{Name: "a", Until: later}})
	}
	s.must(s.st.Apply(s.Context(), &change))
	s.counts(queue.Counts{Messages: 1, Envelopes: 2, Held: 1})
	if n := len(s.claim(9)); n != 0 {
		s.Errorf("%d envelopes in line are claimed", n)
	}
	again := s.claimLine("a", 9)
	if len(again) != 1 || again[0].Envelope.ID != c[0].Envelope.ID || again[0].Fence <= c[0].Fence {
		s.Fatalf("line gives %+v after %+v", again, c)
	}
	s.wantLost(s.st.Apply(s.Context(), &queue.Change{Done: []queue.Claim{claimOf(c[0])}}), c[0].Envelope.ID)
	s.must(s.st.Apply(s.Context(), &queue.Change{Defer: []queue.Deferral{{Claim: claimOf(again[0]), Next: later}}}))
	if n := len(s.claimLine("a", 9)); n != 0 {
		s.Errorf("%d envelopes stand in a line that they have left", n)
	}
}

// What an administrator does to mail in line.
func testManageLine(s *suite) {
	add := s.inLine("a", "a", "a")
	s.add(add)
	ref := func(i int) queue.Ref {
		return queue.Ref{Message: add.Message.ID, Envelope: add.Envelopes[i].ID}
	}
	s.admin(queue.OpRetry, 3) // stays in line, in its place
	s.admin(queue.OpHold, 1, ref(0))
	s.admin(queue.OpRemove, 1, ref(1))
	s.diff(s.list(queue.Filter{Ref: ref(2)})[0].Envelope, &add.Envelopes[2])
	if n := len(s.claim(9)); n != 0 {
		s.Errorf("%d envelopes in line are claimed", n)
	}
	if c := s.claimLine("a", 9); len(c) != 1 || c[0].Envelope.ID != add.Envelopes[2].ID {
		s.Errorf("line gives %+v", c)
	}
	s.admin(queue.OpRelease, 1, ref(0))
	if c := s.claim(9); len(c) != 1 || c[0].Envelope.ID != add.Envelopes[0].ID {
		s.Errorf("claimed after release: %+v", c)
	}
}
