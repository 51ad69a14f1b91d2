package config

import (
	"fmt"
	"slices"
	"time"
)

// DefaultFilterTimeout is how long a filter may take for one answer.
const DefaultFilterTimeout = time.Minute

// MaxWorkers is the largest number of processes of one filter.
const MaxWorkers = 256

// The versions of the filter protocol that a process can be spoken to in.
const (
	Protocol07 = "0.7"
	Protocol06 = "0.6"
)

var procOptions = map[string]func(*parser, *Proc){
	"chroot": func(p *parser, f *Proc) { f.Chroot = p.path() },
	"group":  func(p *parser, f *Proc) { f.Group = p.str("a group").text },
	"user":   func(p *parser, f *Proc) { f.User = p.str("a user").text },

	// Ours.
	"env":        (*parser).procEnv,
	"limit":      (*parser).procLimit,
	"network":    (*parser).procNetwork,
	"on-failure": (*parser).procOnFailure,
	"protocol":   (*parser).procProtocol,
	"read":       (*parser).procRead,
	"timeout":    func(p *parser, f *Proc) { f.Timeout = p.duration() },
	"workers":    func(p *parser, f *Proc) { f.Workers = p.number(1, MaxWorkers) },
	"write":      (*parser).procWrite,
}

var procNotYet = []string{"stats"}

// procRepeat are those that may come several times.
var procRepeat = []string{"env", "limit", "read", "write"}

func (p *parser) procProtocol(f *Proc) {
	t := p.next()
	if t.kind != tokWord || t.text != Protocol06 && t.text != Protocol07 {
		p.expected(t, Protocol06, Protocol07)
		return
	}
	f.Protocol = t.text
}

func (p *parser) procOnFailure(f *Proc) {
	t := p.next()
	i := slices.Index(onFailureNames[:], t.text)
	if t.kind != tokWord || i < 0 {
		p.expected(t, "accept", "hold", "reject", "tempfail")
		return
	}
	f.OnFailure = OnFailure(i)
}

// path reads an absolute path.
func (p *parser) path() string {
	t := p.str("a path in quotes")
	if !p.failed && (t.text == "" || t.text[0] != '/') {
		p.failf(t, "found %q, expected a path that begins with /", t.text)
	}
	return t.text
}

// proc reads `proc NAME "COMMAND" OPTIONS`.
func (p *parser) proc() {
	name := p.str("a proc name")
	f := p.newProc(name)
	f.Command = p.command("a command in quotes")
	options(p, f, procOptions, procNotYet, procRepeat...)
	p.addProc(name, f)
}

func (p *parser) newProc(name token) *Proc {
	return &Proc{Pos: name.pos, Name: name.text, Workers: 1, Protocol: Protocol07, Timeout: DefaultFilterTimeout}
}

func (p *parser) command(what string) string {
	t := p.str(what)
	if !p.failed && t.text == "" {
		p.failf(t, "found nothing in quotes, expected %s", what)
	}
	return t.text
}

func (p *parser) addProc(name token, f *Proc) bool {
	if p.failed {
		return false
	}
	if p.findProc(name.text) != nil {
		p.failf(name, "proc %q is declared twice; a filter with a process of its own declares one, too", name.text)
		return false
	}
	p.cfg.Procs = append(p.cfg.Procs, f)
	return true
}

func (p *parser) findProc(name string) *Proc {
	i := slices.IndexFunc(p.cfg.Procs, func(f *Proc) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return p.cfg.Procs[i]
}

// filter reads `filter NAME` and one of proc, proc-exec, python, perl, phase
// and chain.
func (p *parser) filter() {
	name := p.str("a filter name")
	if !p.failed && p.cfg.Filters[name.text] != nil {
		p.failf(name, "filter %q is declared twice", name.text)
	}
	f := &Filter{Pos: name.pos, Name: name.text}
	kind := p.next()
	switch {
	case kind.is("chain"):
		f.Chain = p.links()
	case kind.is("phase"):
		f.Builtin = p.builtin()
	case kind.is("proc"):
		f.Proc = p.filterProc()
	case kind.is("proc-exec"), kind.is("python"), kind.is("perl"):
		f.Proc = p.ownProc(name, kind)
	default:
		p.expected(kind, "chain", "perl", "phase", "proc", "proc-exec", "python")
	}
	if p.done() && !p.failed {
		p.addFilter(f)
	}
}

func (p *parser) addFilter(f *Filter) {
	p.cfg.Filters[f.Name] = f
	p.cfg.FilterSeq = append(p.cfg.FilterSeq, f.Name)
}

// filterProc reads the name of a process that is declared.
func (p *parser) filterProc() *Proc {
	name := p.str("a proc name")
	if p.failed {
		return nil
	}
	f := p.findProc(name.text)
	if f == nil {
		p.failf(name, "proc %q is not declared above", name.text)
	}
	return f
}

// ownProc reads what belongs to proc-exec, python and perl: a filter and its
// process in one.
func (p *parser) ownProc(name, kind token) *Proc {
	f := p.newProc(name)
	switch kind.text {
	case "proc-exec":
		f.Command = p.command("a command in quotes")
	case "python":
		f.Python = p.command("a script in quotes")
	case "perl":
		f.Perl = p.command("a script in quotes")
	}
	options(p, f, procOptions, procNotYet, procRepeat...)
	if !p.addProc(name, f) {
		return nil
	}
	return f
}

// findFilter looks up a filter that is declared.
func (p *parser) findFilter(name token) *Filter {
	f := p.cfg.Filters[name.text]
	if f == nil {
		msg := fmt.Sprintf("filter %q is not declared above", name.text)
		if near := nearest(name.text, p.cfg.FilterSeq); near != "" {
			msg += fmt.Sprintf(" (did you mean %q?)", near)
		}
		p.failf(name, "%s", msg)
	}
	return f
}

// links reads `{ a, b when CONDITIONS, ... }`. Commas may be left out but
// after conditions.
func (p *parser) links() []Link {
	open := p.peek()
	p.want("{")
	var links []Link
	for !p.failed && !p.accept("}") {
		name := p.str(`a filter name or "}"`)
		if p.failed {
			break
		}
		f := p.findFilter(name)
		if f == nil {
			break
		}
		p.checkLink(name, f, links)
		link := Link{Filter: f}
		if p.accept("when") {
			link.When = p.when()
		}
		links = append(links, link)
		p.accept(",")
	}
	if len(links) == 0 {
		p.failf(open, "a chain needs at least one filter")
	}
	return links
}

// when reads the conditions of a link, up to "," or "}".
func (p *parser) when() []Condition {
	conds := []Condition{p.condition(whenConditions)}
	for !p.failed && !p.peek().is(",") && !p.peek().is("}") {
		if t := p.peek(); !t.is("!") && whenConditions[t.text].kind == 0 {
			p.expected(t, append([]string{",", "}", "!"}, sortedKeys(whenConditions)...)...)
			break
		}
		conds = append(conds, p.condition(whenConditions))
	}
	return conds
}

// checkLink refuses what smtpd.conf(5) refuses in a chain: chains, and the
// same filter or process twice.
func (p *parser) checkLink(name token, f *Filter, links []Link) {
	if f.Chain != nil {
		p.failf(name, "filter %q is a chain; chains cannot be in chains", f.Name)
	}
	for _, other := range links {
		switch {
		case other.Filter == f:
			p.failf(name, "filter %q is in this chain already", f.Name)
		case f.Proc != nil && other.Filter.Proc == f.Proc:
			p.failf(name, "filters %q and %q have the same proc %q; a chain can have it once", other.Filter.Name, f.Name, f.Proc.Name)
		}
	}
}

// phases are the phases of built-in filters, each with what is known of the
// session then beyond its source.
var phases = map[string][]string{
	"connect":   nil,
	"helo":      {"helo"},
	"ehlo":      {"helo"},
	"starttls":  {"helo"},
	"auth":      {"helo", "auth"},
	"mail-from": {"helo", "auth", "mail-from"},
	"rcpt-to":   {"helo", "auth", "mail-from", "rcpt-to"},
	"data":      {"helo", "auth", "mail-from"},
	"commit":    {"helo", "auth", "mail-from"},
	"noop":      {"helo", "auth"},
	"quit":      {"helo", "auth"},
	"rset":      {"helo", "auth"},
}

var decisions = map[string]func(*parser, token) string{
	"bypass":     func(*parser, token) string { return "" },
	"disconnect": (*parser).reply,
	"junk":       func(*parser, token) string { return "" },
	"reject":     (*parser).reply,
	"report":     (*parser).text,
	"rewrite":    (*parser).text,
}

// builtin reads `PHASE match CONDITIONS DECISION`.
func (p *parser) builtin() *Builtin {
	phase := p.next()
	known, ok := phases[phase.text]
	switch {
	case phase.is("data-line"):
		p.failf(phase, "lines of a message are for filters that are programs; found phase %q", phase.text)
	case phase.kind != tokWord || !ok:
		p.expected(phase, sortedKeys(phases)...)
	}
	p.want("match")
	b := &Builtin{Phase: phase.text}
	for !p.failed {
		t := p.peek()
		if t.kind == tokWord && !t.quoted && decisions[t.text] != nil && len(b.Conditions) > 0 {
			break
		}
		if len(b.Conditions) > 0 && !t.is("!") && whenConditions[t.text].kind == 0 {
			p.expected(t, append(sortedKeys(decisions), sortedKeys(whenConditions)...)...)
			return b
		}
		first := p.i
		b.Conditions = append(b.Conditions, p.condition(whenConditions))
		word := p.toks[first]
		if word.is("!") {
			word = p.toks[first+1]
		}
		if knownFrom[word.text] && !slices.Contains(known, word.text) {
			p.failf(word, "%s is not known at phase %s", word.text, phase.text)
		}
	}
	p.decision(b)
	return b
}

// knownFrom are the conditions that need something the client has said.
var knownFrom = map[string]bool{"helo": true, "auth": true, "mail-from": true, "rcpt-to": true}

func (p *parser) decision(b *Builtin) {
	t := p.next()
	if p.failed {
		return
	}
	if b.Phase == "commit" && (t.text == "junk" || t.text == "bypass") {
		p.failf(t, "%s comes too late at commit: the message is complete", t.text)
		return
	}
	b.Decision = t.text
	b.Param = decisions[t.text](p, t)
}

// reply reads the text of reject and disconnect.
func (p *parser) reply(decision token) string {
	t := p.str(`a reply in quotes, as in "550 5.7.1 Go away"`)
	if p.failed {
		return ""
	}
	if err := checkReply(t.text); err != nil {
		p.failf(t, "%s: %q: %v", decision.text, t.text, err)
	}
	return t.text
}

// text reads the text of report and rewrite, which goes into one line.
func (p *parser) text(decision token) string {
	t := p.str("a text in quotes")
	if !p.failed && (t.text == "" || !isPrintable(t.text)) {
		p.failf(t, "%s: found %q, expected a text without control characters", decision.text, t.text)
	}
	return t.text
}
