package rehearse

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
)

// play plays a scene, or as much of it as the filter takes.
func (pl *player) play(sc *Scene) {
	pl.j.scene = sc.Name
	asked := make(map[uint64]int) // by session: its newest question or dot
	for i := range sc.steps {
		st := &sc.steps[i]
		if st.kind == "config" || st.answer || pl.left[st.session] {
			continue
		}
		if k, ok := asked[st.session]; ok && !st.pause {
			delete(asked, st.session)
			pl.outcome(sc, k)
		}
		if pl.over {
			return
		}
		if pl.left[st.session] {
			continue
		}
		pl.step(st)
		if st.awaited {
			asked[st.session] = i
		}
	}
	for _, k := range slices.Sorted(maps.Values(asked)) { // the recording ends with them
		if !pl.over {
			pl.outcome(sc, k)
		}
	}
	pl.flush()
	pl.hear()
}

// outcome waits for the answer to step k, and ends the session if a real one
// would.
func (pl *player) outcome(sc *Scene, k int) {
	st := &sc.steps[k]
	if _, _, waits := pl.j.waiting(st.session); waits {
		pl.await(st.session)
	}
	if !pl.strict && !pl.over {
		pl.giveUp(st, sc, k)
	}
}

// await waits for what the session waits for.
func (pl *player) await(id uint64) {
	answered := func() bool { _, _, waits := pl.j.waiting(id); return !waits }
	pl.flush()
	_, since, waits := pl.j.waiting(id)
	if !waits || pl.until(pl.o.Timeout-time.Since(since), answered) || pl.over {
		return
	}
	// It is late. A while more tells whether it comes at all, and a message
	// that is still coming is late and not lost.
	m := pl.j.session(id).message
	lines := func() int {
		if m == nil {
			return 0
		}
		return len(m.got)
	}
	before := lines()
	more := min(pl.o.Timeout, maxLate)
	if pl.until(more, answered) || pl.over {
		return
	}
	if lines() > before {
		pl.add(breach("too-late", fmt.Sprintf("%d lines of a message of %d came back within %v", lines(), len(m.sent), pl.o.Timeout+more), nil,
			"the message within "+pl.o.Timeout.String()), id, filterwire.DataLine.String())
		return
	}
	pl.j.silent(id)
	pl.over = true
}

// giveUp ends a session that the filter refused where the scene goes on: a
// filter is told what its own decision led to.
func (pl *player) giveUp(asked *step, sc *Scene, k int) {
	v := pl.j.session(asked.session).verdict
	if asked.name == filterwire.DataLine.String() || v.decision != filterwire.Reject && v.decision != filterwire.Disconnect {
		return
	}
	for _, st := range sc.steps[k+1:] {
		if st.session == asked.session && st.kind == "filter-result" {
			if strings.HasPrefix(st.rest, "reject") || strings.HasPrefix(st.rest, "disconnect") {
				return // the scene knows
			}
			break
		}
	}
	id := asked.session
	phase, _ := filterwire.ParsePhase(asked.name)
	report := func(event, rest string) {
		pl.step(&step{kind: "report", name: event, session: id, head: asked.head, rest: rest})
	}
	report("filter-response", phase.ReportName()+"|"+v.decision.String()+"|"+v.param)
	report("protocol-server", v.param)
	if tx := pl.tx[id]; tx != "" {
		report("tx-rollback", tx)
		report("tx-reset", tx)
	}
	report("link-disconnect", "")
	pl.left[id] = true
}

// step sends a step, if the filter wants it.
func (pl *player) step(st *step) {
	now := time.Now()
	switch {
	case st.pause:
		pl.flush()
		m := pl.j.session(st.session).message
		pl.until(settle, func() bool { return m != nil && len(m.got) >= len(m.sent) && !m.done })
		return
	case st.kind == "report":
		pl.report(st)
		return
	}
	phase, known := filterwire.ParsePhase(st.name)
	if !known || !pl.j.wants("filter", st.name) {
		return
	}
	rest := st.rest
	if phase == filterwire.DataLine {
		pl.j.line(st.session, st.token, []byte(rest), now)
	} else {
		pl.j.asked(st.session, phase, st.token, now)
	}
	if phase == filterwire.Commit {
		rest = ""
		if pl.j.wanted["feature|message-size"] {
			rest = pl.size(st)
		}
	}
	if pl.strict {
		pl.put(append(slices.Clone(st.line), '\n'))
		return
	}
	pl.put(fmt.Appendf(nil, "filter|%s|%s|%016x|%016x|%s\n", st.head, st.name, st.session, st.token, rest))
}

// size is the argument of commit: the message as it came out of the filter.
func (pl *player) size(st *step) string {
	if s := pl.j.session(st.session); pl.j.wants("filter", filterwire.DataLine.String()) && s.message != nil {
		return strconv.FormatInt(s.size, 10)
	}
	return st.rest
}

func (pl *player) report(st *step) {
	id, rest := st.session, st.rest
	s := pl.j.session(id)
	switch st.name {
	case "tx-begin":
		pl.tx[id] = rest
	case "tx-rollback":
		pl.j.gone(id, false)
		delete(pl.tx, id)
	case "tx-reset":
		delete(pl.tx, id)
	case "link-disconnect":
		pl.j.gone(id, true)
	case "filter-response":
		rest = told(rest, s.verdict)
	}
	if !pl.j.wants("report", st.name) {
		return
	}
	if pl.strict {
		pl.put(append(slices.Clone(st.line), '\n'))
		return
	}
	if st.name != "link-disconnect" && st.name != "timeout" {
		rest = "|" + rest
	}
	pl.put(fmt.Appendf(nil, "report|%s|%s|%016x%s\n", st.head, st.name, id, rest))
}

// told gives the filter-response report for what the filter really said: a
// scene knows of proceed and its own refusals only.
func told(rest string, v verdict) string {
	phase, said, _ := strings.Cut(rest, "|")
	if said != "proceed" {
		return rest
	}
	switch v.decision {
	case filterwire.Junk:
		return phase + "|junk"
	case filterwire.Rewrite, filterwire.Report:
		return phase + "|" + v.decision.String() + "|" + v.param
	}
	return rest
}
