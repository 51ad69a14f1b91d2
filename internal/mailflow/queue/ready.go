package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/mail"
)

// item is one attempt to make: a message, and its envelopes for one
// destination, all claimed. It belongs to the scheduler while it waits, then
// to the goroutine that makes the attempt.
type item struct {
	msg    *mail.Message
	envs   []*mail.Envelope
	fences []uint64
	dest   string
	body   *memBody // nil: read from the store
	kind   kind
	round  *round
}

// kind tells new mail from retries: each has its own line, so that neither
// waits for the other.
type kind uint8

const (
	fresh kind = iota
	retry
	kinds
)

// destination is what the scheduler knows of one. It is forgotten when
// nothing waits for it and nothing is wrong with it.
type destination struct {
	name     string
	waiting  [kinds][]*item
	envs     int // envelopes in waiting
	running  int
	ringed   [kinds]bool // is in scheduler.rings
	failures int         // attempts in a row that did not reach it
	until    time.Time   // no attempt before
	woken    bool        // a timer will give it its turn

	lined     bool   // envelopes may stand in line for it, in the store
	joins     uint64 // grows when some come into the line
	refilling bool   // is in scheduler.refills, or what that leads to is done
}

// scheduler holds what is to be attempted now: bounded lists, by destination,
// of claimed envelopes. Everything else stays in the store.
type scheduler struct {
	mu         sync.Mutex
	running    bool // Run is on, new attempts may begin
	dests      map[string]*destination
	rings      [kinds][]*destination       // destinations whose turn comes, in order
	envs       [kinds]int                  // envelopes waiting or, for fresh, admitted
	active     [kinds]int                  // attempts being made
	streak     int                         // fresh attempts begun since the last retry
	doubt      map[mail.MessageID]struct{} // messages that may be in the store and must not be attempted
	attempts   context.Context             // of the attempts of this Run
	unrecorded *atomic.Int64               // ends of attempts that the store does not have yet

	maxActive  int
	maxPerDest int

	lastForget time.Time
	refills    []*destination // that have room for what stands in line
	lineTurn   bool           // the poller has looked at a line last
	nextPoll   time.Time      // when the poller looks at the store next; zero: not at all
	poke       chan struct{}  // wakes the poller
	workers    sync.WaitGroup
}

// Fresh attempts get three of four starts when both kinds wait, and retries
// never take more than three quarters of the places: a thousand slow hosts do
// not delay new mail.
const (
	freshPerRetry   = 3
	retryShareNum   = 3
	retryShareDenom = 4
)

func (s *scheduler) init(maxActive, maxPerDest int) {
	s.dests = make(map[string]*destination)
	s.doubt = make(map[mail.MessageID]struct{})
	s.poke = make(chan struct{}, 1)
	s.maxActive, s.maxPerDest = maxActive, maxPerDest
}

func (s *scheduler) dest(name string) *destination {
	d := s.dests[name]
	if d == nil {
		d = &destination{name: name}
		s.dests[name] = d
	}
	return d
}

// open reports whether an attempt at d may begin now. Of a destination that
// could not be reached last time one attempt finds out whether it can be.
func (s *scheduler) open(d *destination, now time.Time) bool {
	limit := s.maxPerDest
	if d.failures > 0 {
		limit = 1
	}
	return d.running < limit && !now.Before(d.until)
}

// enqueue puts it in line.
func (s *scheduler) enqueue(it *item, now time.Time) {
	d := s.dest(it.dest)
	d.waiting[it.kind] = append(d.waiting[it.kind], it)
	d.envs += len(it.envs)
	s.ring(d, now)
}

// ring gives d its turns for what waits for it.
func (s *scheduler) ring(d *destination, now time.Time) {
	if !s.open(d, now) {
		return
	}
	for k := range d.waiting {
		if len(d.waiting[k]) > 0 && !d.ringed[k] {
			d.ringed[k] = true
			s.rings[k] = append(s.rings[k], d)
		}
	}
}

// next takes the item whose attempt begins now; nil if there is none or no
// place for it.
func (s *scheduler) next(now time.Time) *item {
	if !s.running || s.active[fresh]+s.active[retry] >= s.maxActive || s.unrecorded.Load() >= maxUnrecorded {
		return nil
	}
	first, second := fresh, retry
	if s.streak >= freshPerRetry {
		first, second = retry, fresh
	}
	for _, k := range [...]kind{first, second} {
		if k == retry && s.active[retry] >= max(1, s.maxActive*retryShareNum/retryShareDenom) {
			continue
		}
		if it := s.take(k, now); it != nil {
			s.streak++
			if k == retry {
				s.streak = 0
			}
			return it
		}
	}
	return nil
}

// take gives the next item of one kind: destinations take turns.
func (s *scheduler) take(k kind, now time.Time) *item {
	for len(s.rings[k]) > 0 {
		d := s.rings[k][0]
		s.rings[k][0] = nil
		s.rings[k] = s.rings[k][1:]
		d.ringed[k] = false
		if len(d.waiting[k]) == 0 || !s.open(d, now) {
			continue // it is put back when that changes
		}
		it := d.waiting[k][0]
		d.waiting[k][0] = nil
		d.waiting[k] = d.waiting[k][1:]
		d.envs -= len(it.envs)
		s.envs[k] -= len(it.envs)
		d.running++
		s.active[k]++
		s.ring(d, now)
		return it
	}
	return nil
}

// result is what an attempt says of its destination.
type result uint8

const (
	untried result = iota // nothing
	reached
	missed
)

// ended notes the end of an attempt. r is random in [0, 1).
func (s *scheduler) ended(it *item, res result, now time.Time, r float64) *destination {
	d := s.dest(it.dest)
	d.running--
	s.active[it.kind]--
	switch {
	case res == reached:
		d.failures, d.until = 0, time.Time{}
	case res == missed && !now.Before(d.until):
		// Attempts that were under way when the first of them failed say the
		// same thing: that counts once.
		d.failures++
		d.until = now.Add(backoffAfter(d.failures, r))
	}
	s.ring(d, now)
	if d.envs == 0 && d.running == 0 && d.failures == 0 && !d.lined {
		delete(s.dests, d.name)
	}
	return d
}

// removeWhere takes the waiting envelopes out of memory that match. The
// caller sees to their claims.
func (s *scheduler) removeWhere(match func(*item, *mail.Envelope) bool) []*item {
	var out []*item
	for _, d := range s.dests {
		out = append(out, s.removeFrom(d, match)...)
	}
	return out
}

func (s *scheduler) removeFrom(d *destination, match func(*item, *mail.Envelope) bool) []*item {
	var out []*item
	for k := range d.waiting {
		rest := d.waiting[k][:0]
		for _, it := range d.waiting[k] {
			gone := it.split(match)
			if gone != nil {
				out = append(out, gone)
				d.envs -= len(gone.envs)
				s.envs[k] -= len(gone.envs)
			}
			if gone != it {
				rest = append(rest, it)
			}
		}
		clear(d.waiting[k][len(rest):])
		d.waiting[k] = rest
	}
	return out
}

// split takes the envelopes that match out of it: the result has them. It is
// it itself if all match, nil if none does.
func (it *item) split(match func(*item, *mail.Envelope) bool) *item {
	if len(it.envs) == 1 { // most have one: nothing is copied
		if match(it, it.envs[0]) {
			return it
		}
		return nil
	}
	var in, out item
	for i, e := range it.envs {
		to := &in
		if match(it, e) {
			to = &out
		}
		to.envs = append(to.envs, e)
		to.fences = append(to.fences, it.fences[i])
	}
	switch {
	case len(out.envs) == 0:
		return nil
	case len(in.envs) == 0:
		return it
	}
	it.envs, it.fences = in.envs, in.fences
	out.msg, out.dest, out.kind, out.round, out.body = it.msg, it.dest, it.kind, it.round, it.body
	if out.body != nil {
		out.body.retain()
	}
	out.round.add()
	return &out
}

// forget drops what is known of destinations that nothing waits for and that
// have been reached, or not been tried for long.
func (s *scheduler) forget(now time.Time) {
	for name, d := range s.dests {
		if d.envs == 0 && d.running == 0 && !d.lined && (d.failures == 0 || now.Sub(d.until) > 2*backoffMax) {
			delete(s.dests, name)
		}
	}
}

// pollAt has the poller look at the store at t, if it would later.
func (s *scheduler) pollAt(t time.Time) {
	if !s.nextPoll.IsZero() && !t.Before(s.nextPoll) {
		return
	}
	s.nextPoll = t
	s.wakePoller()
}

func (s *scheduler) wakePoller() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}
