package filter

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
)

// Set is the filters of one configuration. It shares with the Set before it the
// processes of those filters that are defined alike in both.
//
// The processes of a Set are there as long as somebody holds it. Its maker
// does from the start; who opens sessions on its chains calls Hold before and
// Release after them. It is safe for concurrent use.
type Set struct {
	h          *Host
	procs      map[string]*proc
	seq        []*proc
	chains     map[string]*Chain
	none       *Chain
	maxMessage int64 // bytes
	holds      atomic.Int64
	atEnd      func() // nobody holds it any more
}

// AtEnd has f called when nobody holds the Set any more. It is called before
// the Set is shared.
func (s *Set) AtEnd(f func()) { s.atEnd = f }

// Prepare makes the Set of a configuration that is to follow the one in use,
// with l to start its processes; nil stands for Options.Launcher. Nothing is
// started yet and nothing changes for anybody. Its errors are those of a
// configuration that was not checked.
func (h *Host) Prepare(cfg *config.Config, l Launcher) (*Set, error) {
	if l == nil {
		l = h.opt.Launcher
	}
	s := &Set{
		h: h, procs: make(map[string]*proc), chains: make(map[string]*Chain),
		maxMessage: h.opt.MaxMessage,
	}
	if s.maxMessage <= 0 {
		s.maxMessage = max(2*cfg.SMTP.MaxMessageSize, minMaxMessage)
	}
	s.holds.Store(1)
	for _, c := range cfg.Procs {
		p, err := h.newProc(cfg, c, l)
		if err != nil {
			return nil, err
		}
		s.procs[c.Name] = p
		s.seq = append(s.seq, p)
	}
	for name, f := range cfg.Filters {
		if err := s.check(f); err != nil {
			return nil, fmt.Errorf("%v: filter %q: %w", f.Pos, name, err)
		}
	}
	h.adopt(s)
	s.none = s.newChain(nil)
	for name, f := range cfg.Filters {
		s.chains[name] = s.newChain(f)
	}
	return s, nil
}

// adopt puts the procs that go on into s, and makes the others ready to start.
func (h *Host) adopt(s *Set) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, p := range s.seq {
		in := inSet{s, p.launcher}
		if h.set != nil && h.set.procs[p.name] != nil && h.set.procs[p.name].same(p) {
			p = h.set.procs[p.name]
			s.seq[i], s.procs[p.name] = p, p
		} else {
			for n := range max(p.conf.Workers, 1) {
				p.workers = append(p.workers, newWorker(h, p, n))
			}
		}
		p.sets = append(p.sets, in)
	}
}

// check refuses what newChain cannot use.
func (s *Set) check(f *config.Filter) error {
	switch {
	case f.Proc != nil:
		if s.procs[f.Proc.Name] == nil {
			return fmt.Errorf("process %q is not declared", f.Proc.Name)
		}
	case f.Builtin != nil:
		if _, ok := filterwire.ParsePhase(f.Builtin.Phase); !ok {
			return fmt.Errorf("unknown phase %q", f.Builtin.Phase)
		}
	default:
		for _, l := range f.Chain {
			if len(l.Filter.Chain) > 0 {
				return fmt.Errorf("filter %q in it is a chain itself", l.Filter.Name)
			}
			if err := s.check(l.Filter); err != nil {
				return fmt.Errorf("filter %q: %w", l.Filter.Name, err)
			}
		}
	}
	return nil
}

// Start starts those filters of the Set that do not run yet, and returns when
// each has registered or failed, or has had its time limit to do so; a filter
// that failed is started again later and is no error. The only errors are
// ctx's and that of a Host that was stopped.
func (s *Set) Start(ctx context.Context) error {
	if err := s.h.begin(s); err != nil {
		return err
	}
	for _, p := range s.seq {
		for _, w := range p.workers {
			select {
			case <-w.settled:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// begin starts the workers of s that were not started before.
func (h *Host) begin(s *Set) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return errStopped
	}
	for _, p := range s.seq {
		if p.started {
			continue
		}
		p.started = true
		h.live[p] = struct{}{}
		for _, w := range p.workers {
			go w.run()
		}
	}
	return nil
}

// Use makes s, which was started, the Set that commands see and that the next
// one is compared with. The Host has the caller's hold from now on; it gives up
// that of the Set before.
func (h *Host) Use(s *Set) {
	h.mu.Lock()
	old := h.set
	h.set = s
	h.mu.Unlock()
	old.Release()
}

// Hold keeps the processes of the Set until Release. It reports false if
// nobody holds the Set any more: then there is a newer one.
func (s *Set) Hold() bool {
	for {
		n := s.holds.Load()
		if n == 0 {
			return false
		}
		if s.holds.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives up one hold. With the last one those processes end that no
// other Set has.
func (s *Set) Release() {
	if s.holds.Add(-1) == 0 {
		s.h.leave(s)
		if s.atEnd != nil {
			s.atEnd()
		}
	}
}

// leave ends what only s had.
func (h *Host) leave(s *Set) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range s.seq {
		p.sets = slices.DeleteFunc(p.sets, func(in inSet) bool { return in.set == s })
		if len(p.sets) > 0 {
			continue
		}
		p.end()
		if p.started {
			go h.forget(p)
		}
	}
}

// launcherFor gives what starts a process of p: that of a Set that has p and
// that somebody holds, as we do then until release. The one that p was made for
// may be gone for long, and with it what its Launcher knows.
func (h *Host) launcherFor(p *proc) (l Launcher, release func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, in := range slices.Backward(p.sets) {
		if in.set.Hold() {
			return in.launcher, in.set.Release, nil
		}
	}
	return nil, nil, ErrDown
}

// forget waits until p is gone, which Stop need not care about then.
func (h *Host) forget(p *proc) {
	p.wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.live, p)
}

// Chain gives the filter or chain of that name; one that asks nothing for ""
// and for a name that is not in the configuration.
func (s *Set) Chain(name string) *Chain {
	if c := s.chains[name]; c != nil {
		return c
	}
	return s.none
}

// Kept counts the filter processes that s shares with other, workers aside.
func (s *Set) Kept(other *Set) (n int) {
	for _, p := range s.seq {
		if other.procs[p.name] == p {
			n++
		}
	}
	return n
}

// Len counts the filter processes of s, workers aside.
func (s *Set) Len() int { return len(s.seq) }
