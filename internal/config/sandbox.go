package config

import (
	"path"
	"slices"
	"strings"
	"time"
)

// The bounds of the limits of a filter's processes.
const (
	minMemory    = 1 << 20 // bytes; no program starts with less
	minFiles     = 4       // standard input, output, error, and one to load a library with
	maxFiles     = 1 << 20
	maxProcesses = 1 << 20
)

// maxViewPaths is how many paths read, or write, of one filter may name.
const maxViewPaths = 256

var sandboxLimits = map[string]func(*parser, *Sandbox){
	"cpu":       (*parser).limitCPU,
	"files":     func(p *parser, s *Sandbox) { s.Files = p.number(minFiles, maxFiles) },
	"memory":    (*parser).limitMemory,
	"processes": func(p *parser, s *Sandbox) { s.Processes = p.number(1, maxProcesses) },
}

// procLimit reads `limit NAME VALUE ...`.
func (p *parser) procLimit(f *Proc) {
	for more := true; more; {
		t := p.next()
		read := sandboxLimits[t.text]
		if t.kind != tokWord || t.quoted || read == nil {
			p.expected(t, sortedKeys(sandboxLimits)...)
			return
		}
		read(p, &f.Sandbox)
		t = p.peek()
		more = t.kind == tokWord && !t.quoted && sandboxLimits[t.text] != nil
	}
}

func (p *parser) limitMemory(s *Sandbox) {
	t := p.peek()
	if s.Memory = p.size(); !p.failed && s.Memory < minMemory {
		p.failf(t, "found %q, expected at least 1M: no program starts with less", t.text)
	}
}

// limitCPU reads a time in which a processor may be used: whole seconds, as
// the system counts them.
func (p *parser) limitCPU(s *Sandbox) { s.CPU = p.duration().Truncate(time.Second) }

// procNetwork reads `network on` and `network off`.
func (p *parser) procNetwork(f *Proc) {
	t := p.next()
	switch {
	case t.is("on"), t.is("off"):
		f.Sandbox.NetworkOff = t.text == "off"
	default:
		p.expected(t, "off", "on")
	}
}

func (p *parser) procRead(f *Proc)  { f.Sandbox.Read = p.view(f.Sandbox.Read) }
func (p *parser) procWrite(f *Proc) { f.Sandbox.Write = p.view(f.Sandbox.Write) }

// view reads a path, or several in braces, and adds them to list.
func (p *parser) view(list []string) []string {
	at := p.peek()
	p.several(func() {
		if name := path.Clean(p.path()); !p.failed && !slices.Contains(list, name) {
			list = append(list, name)
		}
	})
	if len(list) > maxViewPaths {
		p.failf(at, "more than %d paths", maxViewPaths)
	}
	return list
}

// procEnv reads `env NAME=VALUE`, or several in braces.
func (p *parser) procEnv(f *Proc) {
	p.several(func() {
		name := p.str("a variable, as in NAME=VALUE")
		p.want("=")
		value := p.str("a value in quotes")
		switch {
		case p.failed:
		case !isName(name.text) || name.text[0] >= '0' && name.text[0] <= '9':
			p.failf(name, "a variable's name has letters, digits and underscores, and begins with no digit; found %q", name.text)
		case !isPrintable(value.text):
			p.failf(value, "%s: found %q, expected a text without control characters", name.text, value.text)
		case slices.ContainsFunc(f.Sandbox.Env, func(v string) bool { return strings.HasPrefix(v, name.text+"=") }):
			p.failf(name, "the variable %s is set twice", name.text)
		default:
			f.Sandbox.Env = append(f.Sandbox.Env, name.text+"="+value.text)
		}
	})
}

// several reads one thing, or a list of them in braces. Commas may be left
// out.
func (p *parser) several(read func()) {
	if !p.accept("{") {
		read()
		return
	}
	for !p.failed && !p.accept("}") {
		read()
		p.accept(",")
	}
}
