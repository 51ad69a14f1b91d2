package filter

import (
	"strings"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/routing"
)

// Chain is what a listener names as its filter: one filter, several in order,
// or none. It is safe for concurrent use.
type Chain struct {
	h     *Host
	set   *Set
	links []link
	procs []*proc // those of links, each once
	// versions of the protocol that procs speak, for what a session keeps.
	versions []filterwire.Protocol
}

// link is one filter of a chain.
type link struct {
	name    string
	when    []config.Condition
	builtin *config.Builtin
	phase   filterwire.Phase // of builtin
	proc    *proc
	seat    int // index of proc in Chain.procs
}

// newChain builds the chain of a filter of the configuration; nil is none.
func (s *Set) newChain(f *config.Filter) *Chain {
	c := &Chain{h: s.h, set: s}
	switch {
	case f == nil:
	case f.Proc != nil || f.Builtin != nil:
		c.add(f, nil)
	default:
		for i := range f.Chain {
			c.add(f.Chain[i].Filter, f.Chain[i].When)
		}
	}
	for _, p := range c.procs {
		known := false
		for _, v := range c.versions {
			known = known || v == p.protocol
		}
		if !known {
			c.versions = append(c.versions, p.protocol)
		}
	}
	return c
}

func (c *Chain) add(f *config.Filter, when []config.Condition) {
	l := link{name: f.Name, when: when}
	if f.Builtin != nil {
		l.builtin = f.Builtin
		l.phase, _ = filterwire.ParsePhase(f.Builtin.Phase)
	} else {
		l.proc = c.set.procs[f.Proc.Name]
		for l.seat = 0; l.seat < len(c.procs) && c.procs[l.seat] != l.proc; {
			l.seat++
		}
		if l.seat == len(c.procs) {
			c.procs = append(c.procs, l.proc)
		}
	}
	c.links = append(c.links, l)
}

// PhaseOrder is what a chain asks at one phase, in order.
type PhaseOrder struct {
	Phase   filterwire.Phase
	Filters []Step
}

// Step is one filter that is asked at a phase.
type Step struct {
	Name    string
	Builtin bool
	When    string // conditions of its when, "" if it is always asked
}

// Order gives what is asked at each phase at which anything is. It follows
// the registrations of the running processes; one that has never been ready
// is not in it.
func (c *Chain) Order() []PhaseOrder {
	var all []PhaseOrder
	for ph := filterwire.Connect; ph <= filterwire.Wiz; ph++ {
		o := PhaseOrder{Phase: ph}
		for i := range c.links {
			l := &c.links[i]
			if l.builtin == nil {
				p := l.proc.workers[0].latest.Load()
				if p == nil || !p.registered(ph) {
					continue
				}
			} else if l.phase != ph {
				continue
			}
			o.Filters = append(o.Filters, Step{Name: l.name, Builtin: l.builtin != nil, When: conditionText(l.when)})
		}
		if o.Filters != nil {
			all = append(all, o)
		}
	}
	return all
}

func conditionText(conds []config.Condition) string {
	var s []string
	for i := range conds {
		s = append(s, conds[i].Text)
	}
	return strings.Join(s, " ")
}

// Open begins a session. f is the session's own: it is read when a condition
// is looked at, by the goroutine that calls the Session's methods.
func (c *Chain) Open(id mail.SessionID, f *routing.Facts) *Session {
	s := &Session{chain: c, id: id, facts: f, size: -1}
	if len(c.procs) > 0 {
		s.seats = make([]seat, len(c.procs))
		for i, p := range c.procs {
			s.seats[i].s, s.seats[i].w = s, p.pick()
			s.seats[i].answer = make(chan struct{}, 1)
		}
	}
	return s
}
