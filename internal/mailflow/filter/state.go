package filter

import (
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/trace"
)

// State is what one filter process, or several alike, are doing.
type State struct {
	Name      string
	Command   string
	Workers   []WorkerState
	Paused    bool                           // it is not asked; its policy applies
	OnFailure config.OnFailure               // its policy
	Phases    []string                       // registered by the newest process, in the order of a session
	Events    []string                       // likewise; names of reports
	LastFault string                         // "" if none
	Questions uint64                         // asked since the start
	Decisions map[filterwire.Decision]uint64 // answers of each kind

	// P50 and P99 are the times within which half and 99 of 100 answers came
	// (or were given up); 0 if none has.
	P50, P99 time.Duration
}

// WorkerState is one process.
type WorkerState struct {
	PID      int    // 0 if there is none
	State    string // starting, ready, ending, restarting, stopped
	Since    time.Time
	Restarts int
}

// List gives the state of each filter process, in the order of the
// configuration.
func (h *Host) List() []State {
	seq := h.Set().seq
	all := make([]State, 0, len(seq))
	for _, p := range seq {
		all = append(all, p.stateNow())
	}
	return all
}

func (p *proc) stateNow() State {
	s := State{
		Name: p.name, Command: p.conf.Command, Paused: p.paused.Load(), OnFailure: p.policy.onFailure, Questions: p.questions.Load(),
		Decisions: make(map[filterwire.Decision]uint64),
	}
	s.P50, s.P99 = p.latency.percentiles()
	if s.Command == "" {
		s.Command = p.conf.Python + p.conf.Perl
	}
	for d := range p.decisions {
		if n := p.decisions[d].Load(); n > 0 {
			s.Decisions[filterwire.Decision(d)] = n
		}
	}
	if f := p.lastFault.Load(); f != nil {
		s.LastFault = f.Error()
	}
	if latest := p.workers[0].latest.Load(); latest != nil {
		s.Phases, s.Events = latest.registrations()
	}
	for _, w := range p.workers {
		w.mu.Lock()
		s.Workers = append(s.Workers, WorkerState{PID: w.pid, State: w.state, Since: w.since, Restarts: w.restarts})
		w.mu.Unlock()
	}
	return s
}

// Failing reports whether a process of the filter is not there to be asked, and
// why in words.
func (s *State) Failing() (why string, failing bool) {
	for _, w := range s.Workers {
		if w.State == Ready {
			continue
		}
		if why = s.LastFault; why == "" {
			why = "filter " + s.Name + " is " + w.State
		}
		return why, true
	}
	return "", false
}

// registrations gives the names of what the process wants to be asked and told.
func (p *process) registrations() (phases, events []string) {
	for ph := filterwire.Connect; ph <= filterwire.Wiz; ph++ {
		if p.registered(ph) {
			phases = append(phases, ph.String())
		}
	}
	set := filterwire.Events(p.events.Load())
	for k := trace.LinkConnect; filterwire.EventName(k) != ""; k++ {
		if set.Has(k) {
			events = append(events, filterwire.EventName(k))
		}
	}
	return phases, events
}

// Of the first allTimed questions each is timed, and later one in timedEvery: to
// read the clock for each would be felt.
const (
	allTimed   = 1024
	timedEvery = 16
)

// asked counts a question. It gives when it was put, the zero time if it is
// not timed.
func (p *proc) asked() time.Time {
	if n := p.questions.Add(1); n > allTimed && n%timedEvery != 0 {
		return time.Time{}
	}
	return time.Now()
}

// answered counts how long a question that was put at began took.
func (p *proc) answered(began time.Time) {
	if !began.IsZero() {
		p.latency.add(time.Since(began))
	}
}

// A histogram counts times in buckets that grow by a quarter of a power of two:
// what it gives is at most a fifth too long.
type histogram [latencyBuckets]atomic.Uint64

// latencyBuckets covers 1 us to two hours.
const latencyBuckets = 32 * 4

// bucket gives the bucket of d.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 4 {
		return int(us)
	}
	exp := 0
	for v := us; v >= 8; v >>= 1 {
		exp++
	}
	return min(4*(exp+1)+int(us>>exp)-4, latencyBuckets-1)
}

// upper gives the time that is longer than all of bucket i.
func upper(i int) time.Duration {
	if i < 4 {
		return time.Duration(i+1) * time.Microsecond
	}
	return time.Duration(uint64(i%4+5)<<(i/4-1)) * time.Microsecond
}

func (h *histogram) add(d time.Duration) { h[bucket(d)].Add(1) }

func (h *histogram) percentiles() (p50, p99 time.Duration) {
	var counts [latencyBuckets]uint64
	var all, sum uint64
	for i := range h {
		counts[i] = h[i].Load()
		all += counts[i]
	}
	for i, n := range counts {
		sum += n
		if p50 == 0 && n > 0 && 2*sum >= all {
			p50 = upper(i)
		}
		if p99 == 0 && n > 0 && 100*sum >= 99*all {
			p99 = upper(i)
		}
	}
	return p50, p99
}
