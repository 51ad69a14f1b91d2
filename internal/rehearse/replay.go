package rehearse

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/weirmail/weir/internal/filterwire"
)

// Mark says what a line of a comparison is.
type Mark byte

// The marks, as they are printed.
const (
	Sent    Mark = '<' // of the server, sent to the filter
	Same    Mark = '=' // of the filter, now as then
	Missing Mark = '-' // of the filter then, and not now
	New     Mark = '+' // of the filter now, and not then
)

// Compared is one line of a comparison.
type Compared struct {
	Mark Mark
	Line string
}

// Comparison is what a filter answered beside what was answered then.
type Comparison struct {
	Lines    []Compared // in the order of the recording
	Findings []*Finding // what it did against the protocol
}

// Same reports whether the answers are those of the recording, and no fault
// was found.
func (c *Comparison) Same() bool {
	return !slices.ContainsFunc(c.Lines, func(l Compared) bool { return l.Mark == Missing || l.Mark == New }) &&
		!slices.ContainsFunc(c.Findings, func(f *Finding) bool { return !f.Remark })
}

// Replay plays a recording to a filter, with its sessions and tokens as they
// are, and compares what it answers. Like a server it sends only what the
// filter registers now; what was answered then to something that it no
// longer asks for is left out, and the missing registration is told.
// Lines of one session are compared in their order, lines of different
// sessions are independent. Errors are those of Check.
func Replay(ctx context.Context, o Options, sc *Scene) (*Comparison, error) {
	o = o.withDefaults()
	if len(sc.config()) == 0 { // a recording that began later
		sc = &Scene{Name: sc.Name, steps: append(newScript("").sc.steps, sc.steps...)}
	}
	pl, err := open(ctx, &o, sc)
	if err != nil {
		return nil, err
	}
	pl.strict = true
	now := make(map[uint64][]string) // by session; registrations and what has no session are of 0
	pl.tap = func(h heard) {
		if h.kind != heardEnd && h.line != nil {
			id, line := ownerOf(h.line)
			now[id] = append(now[id], line)
		}
	}
	pl.handshake()
	if !pl.over {
		pl.play(sc)
	}
	pl.close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return compare(sc, now, pl.j), nil
}

// ownerOf gives the session that an answer is for, 0 for any other line.
func ownerOf(line []byte) (uint64, string) {
	if st, err := parseStep(line); err == nil && strings.HasPrefix(st.kind, "filter-") {
		return st.session, string(line)
	}
	return 0, string(line)
}

// compare lays what came now beside the recording.
func compare(sc *Scene, now map[uint64][]string, j *judge) *Comparison {
	c := &Comparison{Findings: j.found}
	for line := range bytes.Lines(sc.config()) {
		c.Lines = append(c.Lines, Compared{Sent, string(bytes.TrimSuffix(line, []byte{'\n'}))})
	}
	c.registrations(sc, now)
	then := make(map[uint64][]string)
	for _, st := range sc.steps {
		if st.answer && asksFor(sc, &st, j) {
			then[st.session] = append(then[st.session], string(st.line))
		}
	}
	edits := make(map[uint64][]Compared)
	for id := range then {
		edits[id] = diff(then[id], now[id])
	}
	for _, st := range sc.steps {
		switch {
		case !st.answer:
			if j.wants(st.kind, st.name) {
				c.Lines = append(c.Lines, Compared{Sent, string(st.line)})
			}
		case strings.HasPrefix(st.kind, "filter-") && asksFor(sc, &st, j):
			c.upTo(edits, st.session)
		}
	}
	// What is left came behind the last recorded answer of its session.
	for _, id := range sc.sessions() {
		c.Lines = append(c.Lines, edits[id]...)
		if then[id] == nil {
			c.news(now[id])
		}
		delete(now, id)
	}
	for id, lines := range now {
		if id != 0 {
			c.news(lines)
		}
	}
	return c
}

func (c *Comparison) news(lines []string) {
	for _, line := range lines {
		c.Lines = append(c.Lines, Compared{New, line})
	}
}

// upTo takes the session's comparison to its next recorded answer, and what
// was said in its place.
func (c *Comparison) upTo(edits map[uint64][]Compared, id uint64) {
	e := edits[id]
	n := 0
	for n < len(e) && e[n].Mark == New {
		n++
	}
	n = min(n+1, len(e))
	for n < len(e) && e[n-1].Mark == Missing && e[n].Mark == New {
		n++
	}
	c.Lines, edits[id] = append(c.Lines, e[:n]...), e[n:]
}

// registrations compares what was registered, in any order, if the recording
// has that; and shows what has no session.
func (c *Comparison) registrations(sc *Scene, now map[uint64][]string) {
	var then []string
	for _, st := range sc.steps {
		if st.answer && !strings.HasPrefix(st.kind, "filter-") {
			then = append(then, string(st.line))
		}
	}
	isRegister := func(s string) bool { return strings.HasPrefix(s, "register|") }
	for _, line := range now[0] {
		switch {
		case slices.Contains(then, line):
			c.Lines = append(c.Lines, Compared{Same, line})
		case !isRegister(line) || slices.ContainsFunc(then, isRegister):
			c.Lines = append(c.Lines, Compared{New, line})
		}
	}
	for _, line := range then {
		if !slices.Contains(now[0], line) {
			c.Lines = append(c.Lines, Compared{Missing, line})
		}
	}
}

// asksFor reports whether the filter still asks for what the recorded answer
// st was given to.
func asksFor(sc *Scene, st *step, j *judge) bool {
	if st.kind == "filter-dataline" {
		return j.wants("filter", filterwire.DataLine.String())
	}
	for _, q := range sc.steps {
		if q.kind == "filter" && !q.answer && q.session == st.session && q.token == st.token {
			return j.wants("filter", q.name)
		}
	}
	return st.kind == "filter-result" // it answered what nobody had asked
}

// maxDiff bounds the comparison of two messages, in pairs of lines; beyond it
// what lies between the first and the last difference counts as different.
const maxDiff = 4 << 20

// diff gives the least list of lines missing and new that makes now of then.
func diff(then, now []string) []Compared {
	var head, tail []Compared
	for len(then) > 0 && len(now) > 0 && then[0] == now[0] {
		head = append(head, Compared{Same, then[0]})
		then, now = then[1:], now[1:]
	}
	for len(then) > 0 && len(now) > 0 && then[len(then)-1] == now[len(now)-1] {
		tail = append(tail, Compared{Same, then[len(then)-1]})
		then, now = then[:len(then)-1], now[:len(now)-1]
	}
	slices.Reverse(tail)
	return slices.Concat(head, diffMiddle(then, now), tail)
}

func diffMiddle(then, now []string) []Compared {
	var out []Compared
	i, k := 0, 0
	if len(then)*len(now) <= maxDiff {
		common := commonLengths(then, now)
		for i < len(then) && k < len(now) {
			switch {
			case then[i] == now[k]:
				out = append(out, Compared{Same, then[i]})
				i, k = i+1, k+1
			case common[i+1][k] >= common[i][k+1]:
				out = append(out, Compared{Missing, then[i]})
				i++
			default:
				out = append(out, Compared{New, now[k]})
				k++
			}
		}
	}
	for ; i < len(then); i++ {
		out = append(out, Compared{Missing, then[i]})
	}
	for ; k < len(now); k++ {
		out = append(out, Compared{New, now[k]})
	}
	return out
}

// commonLengths gives, for each pair of ends, how many lines they have in
// common in the same order.
func commonLengths(a, b []string) [][]int32 {
	c := make([][]int32, len(a)+1)
	for i := range c {
		c[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for k := len(b) - 1; k >= 0; k-- {
			if a[i] == b[k] {
				c[i][k] = c[i+1][k+1] + 1
			} else {
				c[i][k] = max(c[i+1][k], c[i][k+1])
			}
		}
	}
	return c
}

// String gives the line behind its mark.
func (l Compared) String() string { return fmt.Sprintf("%c %s", l.Mark, l.Line) }
