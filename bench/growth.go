package main

import (
	"time"

	"github.com/weirmail/weir/bench/load"
	"github.com/weirmail/weir/bench/peer"
	"github.com/weirmail/weir/bench/record"
)

// growthWorks are what weir alone is measured with: one thing grows, the rest
// stays. What it grows to in the report can be scaled down to try it.
func growthWorks() []work {
	return []work{
		{"sessions", false, growSessions},
		{"filters", false, growFilters},
		{"recipients", false, growRecipients},
		{"size", false, growSize},
		{"deferred", true, growDeferred},
		{"memory", true, manyLarge},
	}
}

// patience is how long a client waits for a reply where very many wait.
const patience = 2 * time.Minute

// steps gives those steps that the scale leaves; the first one always.
func (b *bench) steps(all ...int) []int {
	for n := len(all); n > 1; n-- {
		if float64(all[n-1]) <= b.scale*float64(all[len(all)-1]) {
			return all[:n]
		}
	}
	return all[:1]
}

// grow measures weir once for a step.
func (b *bench) grow(s peer.Setup, j load.Job, r record.Record) {
	if b.ctx.Err() == nil {
		b.mail(peer.Weir{}, s, j, r)
	}
}

// growSessions has the same number of messages come from more and more
// sessions, all of which are there before the first message is.
func growSessions(b *bench, round int) {
	steps := b.steps(10, 100, 1000, 10_000)
	total := steps[len(steps)-1]
	for _, v := range []variant{{peer.None, 0}, {peer.Noop, 1}} {
		for _, n := range steps {
			b.grow(peer.Setup{Filters: v.filters, Chain: v.chain, Sessions: n},
				load.Job{Sessions: n, Total: total, Size: small, Gather: true, Dialing: 20, Timeout: patience},
				record.Record{Work: "sessions", Variant: v.String(), X: float64(n), Round: round})
		}
	}
}

// growFilters has chains of more and more filters, which are asked at every
// phase or get every line.
func growFilters(b *bench, round int) {
	for _, does := range []string{peer.Noop, peer.Data} {
		for _, n := range []int{0, 1, 2, 4, 8} {
			s := peer.Setup{Filters: does, Chain: n}
			if n == 0 {
				s.Filters = peer.None
			}
			b.grow(s, load.Job{Sessions: 20, Total: endless, Seconds: b.seconds, PerSession: 20, Size: small},
				record.Record{Work: "filters", Variant: does, X: float64(n), Round: round})
		}
	}
}

func growRecipients(b *bench, round int) {
	for _, n := range []int{1, 10, 100, 1000} {
		b.grow(peer.Setup{}, load.Job{Sessions: 4, Total: endless, Seconds: b.seconds, PerSession: 20, Size: small, Recipients: n},
			record.Record{Work: "recipients", Variant: "none", X: float64(n), Round: round})
	}
}

// growSize goes up to what is by default the largest message.
func growSize(b *bench, round int) {
	for _, v := range []variant{{peer.None, 0}, {peer.Data, 1}} {
		for _, kb := range []int{1, 10, 100, 1000, 10_000, 36_000} {
			b.grow(peer.Setup{Filters: v.filters, Chain: v.chain},
				load.Job{Sessions: 4, Total: endless, Seconds: b.seconds, PerSession: 20, Size: kb * 1000},
				record.Record{Work: "size", Variant: v.String(), X: float64(kb), Round: round})
		}
	}
}

// manyLarge has 10,000 sessions send 1 MB each at the same time through a
// filter that gets every line; what counts is the most memory meanwhile.
func manyLarge(b *bench, round int) {
	for _, n := range b.steps(10, 100, 1000, 10_000) {
		b.grow(peer.Setup{Filters: peer.Data, Chain: 1, Sessions: n},
			load.Job{Sessions: n, Total: n, Size: 1_000_000, Gather: true, Dialing: 20, PerSession: 1, Timeout: 2 * patience},
			record.Record{Work: "memory", Variant: "data", X: float64(n), Round: round})
	}
}
