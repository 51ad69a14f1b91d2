package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weirmail/weir/internal/table"
)

// use says what a directive wants of a table.
type use struct {
	what    string // for messages: `table "x" is a list; WHAT needs a mapping`
	mapping bool
	either  bool // the keys count; a mapping will do as well
	check   func(*table.Table) error
}

var (
	useDomain   = use{what: "a list of domains", check: (*table.Table).CheckDomain}
	useNetAddr  = use{what: "a list of networks", check: (*table.Table).CheckNetAddr}
	useMailAddr = use{what: "a list of addresses", check: (*table.Table).CheckMailAddr}
	useString   = use{what: "a list"}
	useRegexp   = use{what: "a list of regular expressions", check: (*table.Table).CheckRegexp}
	useUser     = use{what: "a list of users", either: true}
	useSource   = use{what: "a list of source addresses", check: (*table.Table).CheckAddr}

	useAlias       = use{what: "aliases", mapping: true}
	useCredentials = use{what: "credentials", mapping: true, check: (*table.Table).CheckCredentials}
	useUserinfo    = use{what: "a userbase", mapping: true, check: (*table.Table).CheckUserinfo}
	useHostnames   = use{what: "hostnames", mapping: true, check: (*table.Table).CheckAddr}
)

// table reads `table NAME [TYPE:]FILE` and `table NAME { ... }`.
func (p *parser) table() {
	name := p.str("a table name")
	if p.failed {
		return
	}
	if p.cfg.Tables[name.text] != nil {
		p.failf(name, "table %q is declared twice", name.text)
		return
	}
	var t *table.Table
	if p.peek().is("{") {
		t = p.inline(name.text)
	} else {
		t = p.fileTable(name.text)
	}
	if t != nil {
		p.cfg.Tables[name.text] = t
	}
}

func (p *parser) fileTable(name string) *table.Table {
	at := p.str(`a file or "{"`)
	if p.failed {
		return nil
	}
	path := at.text
	if !strings.HasPrefix(path, "/") {
		kind, rest, _ := strings.Cut(path, ":")
		switch {
		case kind != "file" && kind != "static" && rest == "":
			p.failf(at, "%q is no file: its path must begin with /", path)
			return nil
		case kind != "file" && kind != "static":
			p.failf(at, "tables of type %q are not supported yet; expected file:/path", kind)
			return nil
		case !strings.HasPrefix(rest, "/"):
			p.failf(at, "%q: the path must begin with /", path)
			return nil
		}
		path = rest
	}
	t, err := p.env.openTable(name, path)
	if err != nil {
		p.failf(at, "table %q: %v", name, err)
		return nil
	}
	p.tables = append(p.tables, t)
	return t
}

// inline reads "{ a, b }" or "{ k = v, ... }". Commas may be left out.
func (p *parser) inline(name string) *table.Table {
	open := p.peek()
	p.want("{")
	var pairs []table.Pair
	var at []Pos
	mapping := false
	for !p.failed && !p.accept("}") {
		key := p.str(`a value or "}"`)
		isPair := p.accept("=") || p.accept("=>")
		var value string
		if isPair {
			value = p.str("a value").text
		}
		if len(pairs) == 0 {
			mapping = isPair
		} else if mapping != isPair {
			p.failf(key, "%q: a table has values or pairs of key = value, not both", key.text)
		}
		pairs = append(pairs, table.Pair{Key: key.text, Value: value})
		at = append(at, key.pos)
		p.accept(",")
	}
	if len(pairs) == 0 {
		p.failf(open, "a table needs at least one value")
	}
	if p.failed {
		return nil
	}
	var t *table.Table
	if mapping {
		t = table.NewMapping(name, pairs)
	} else {
		keys := make([]string, len(pairs))
		for i := range pairs {
			keys[i] = pairs[i].Key
		}
		t = table.NewList(name, keys)
	}
	p.entries[t] = at
	p.tables = append(p.tables, t)
	return t
}

// isOperand reports whether the next token begins a table or value.
func (p *parser) isOperand() bool {
	t := p.peek()
	return isStr(t) || t.is("{") || t.is("<")
}

// operand reads a value, "{ ... }" or "<table>" and checks that it can be
// used so. It gives nil after an error.
func (p *parser) operand(u use) *table.Table {
	first := p.peek()
	var t *table.Table
	switch {
	case first.is("<"):
		t = p.tableRef()
	case first.is("{"):
		t = p.inline(first.pos.String())
	default:
		value := p.str(`a value, "{" or <table>`)
		if p.failed {
			return nil
		}
		t = table.NewList(value.pos.String(), []string{value.text})
		p.entries[t] = []Pos{value.pos}
		p.tables = append(p.tables, t)
	}
	if t != nil {
		p.checkUse(first, t, u)
	}
	return t
}

func (p *parser) tableRef() *table.Table {
	p.want("<")
	name := p.str("a table name")
	p.want(">")
	if p.failed {
		return nil
	}
	t := p.cfg.Tables[name.text]
	if t == nil {
		msg := fmt.Sprintf("table %q is not declared above", name.text)
		if near := nearest(name.text, sortedKeys(p.cfg.Tables)); near != "" {
			msg += fmt.Sprintf(" (did you mean %q?)", near)
		}
		p.failf(name, "%s", msg)
	}
	return t
}

func (p *parser) checkUse(at token, t *table.Table, u use) {
	if t.Len() > 0 && !u.either && t.IsMapping() != u.mapping {
		is, needs := "a list", "a mapping"
		if t.IsMapping() {
			is, needs = needs, is
		}
		p.failf(at, "this table is %s; %s must be %s", is, u.what, needs)
		return
	}
	if u.check == nil {
		return
	}
	var e *table.EntryError
	switch err := u.check(t); {
	case err == nil:
	case errors.As(err, &e) && e.Path == "" && e.Index < len(p.entries[t]):
		// The fault is where the entry stands, not where the table is used.
		p.reportf(p.entries[t][e.Index], "%v", err)
	default:
		p.reportf(at.pos, "table %q: %v", t.Name(), err)
	}
}
