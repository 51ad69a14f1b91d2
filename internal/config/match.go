package config

import (
	"fmt"
	"maps"
)

// match reads `match CONDITIONS action NAME` and `match CONDITIONS reject`.
func (p *parser) match() {
	m := &Match{Pos: p.toks[0].pos, Text: textOf(p.toks)}
	hasFor, hasFrom := false, false
	var seen [CondFromSrc + 1]bool
	for !p.failed && !p.peek().is("action") && !p.peek().is("reject") {
		t := p.peek()
		if !p.isCondition() {
			words := maps.Clone(matchConditions)
			words["action"], words["reject"] = conditionWord{}, conditionWord{}
			p.expected(t, sortedKeys(words)...)
			return
		}
		c := p.condition(matchConditions)
		if p.failed {
			return
		}
		switch {
		case c.Kind.isFor() && hasFor:
			p.failf(t, "a rule has one for, this is the second")
		case c.Kind.isFrom() && hasFrom:
			p.failf(t, "a rule has one from, this is the second")
		case seen[c.Kind]:
			p.failf(t, "%s stands twice in one rule", c.Text)
		}
		seen[c.Kind] = true
		hasFor = hasFor || c.Kind.isFor()
		hasFrom = hasFrom || c.Kind.isFrom()
		m.Conditions = append(m.Conditions, c)
	}
	if !p.accept("reject") {
		p.want("action")
		m.Action = p.findAction()
	}
	p.end()
	if p.failed {
		return
	}
	if !hasFrom {
		m.Conditions = append(m.Conditions, Condition{Pos: m.Pos, Kind: CondFromLocal, Text: "from local"})
	}
	if !hasFor {
		m.Conditions = append(m.Conditions, Condition{Pos: m.Pos, Kind: CondForLocal, Text: "for local"})
	}
	p.cfg.Matches = append(p.cfg.Matches, m)
}

// isCondition reports whether the next token begins a condition of match.
func (p *parser) isCondition() bool {
	t := p.peek()
	_, ok := matchConditions[t.text]
	return t.is("!") || ok && t.kind == tokWord && !t.quoted
}

func (p *parser) findAction() *Action {
	name := p.str("an action name")
	if p.failed {
		return nil
	}
	a := p.cfg.Actions[name.text]
	if a == nil {
		msg := fmt.Sprintf("action %q is not declared above", name.text)
		if near := nearest(name.text, sortedKeys(p.cfg.Actions)); near != "" {
			msg += fmt.Sprintf(" (did you mean %q?)", near)
		}
		p.failf(name, "%s", msg)
	}
	return a
}
