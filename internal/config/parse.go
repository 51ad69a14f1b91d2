package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirmail/weir/internal/table"
)

const (
	// maxIncludeDepth is how deep files may include each other.
	maxIncludeDepth = 16

	// maxIncludes is how many files one configuration may include.
	maxIncludes = 256
)

// parser reads directives one after the other. Within a directive it stops at
// the first error: everything it is asked after that gives zero values, so
// that callers need to look only where they would act on a value.
type parser struct {
	env    environment
	lex    *lexer
	cfg    *Config
	fixed  map[string]string // macros of the command line
	errs   Errors
	full   bool // MaxErrors were reported
	chains int  // inline chains made so far
	files  int  // files included so far

	toks   []token // the directive that is being read; the last is its end
	i      int
	failed bool

	tables  []*table.Table         // all of them, those without name too
	entries map[*table.Table][]Pos // where the entries of static tables stand
}

// directives are the first words of the grammar.
var directives map[string]func(*parser)

func init() {
	// Here, because the functions reach the table through isDirective.
	directives = map[string]func(*parser){
		"action":  (*parser).action,
		"admd":    (*parser).admd,
		"bounce":  (*parser).bounce,
		"filter":  (*parser).filter,
		"include": (*parser).include,
		"listen":  (*parser).listen,
		"match":   (*parser).match,
		"mta":     (*parser).mta,
		"pki":     (*parser).pki,
		"proc":    (*parser).proc,
		"queue":   (*parser).queue,
		"smtp":    (*parser).smtp,
		"table":   (*parser).table,
	}
}

// directivesNotYet are those that the grammar has and weir does not do yet.
var directivesNotYet = []string{"ca", "mda", "scheduler", "srs"}

func isDirective(word string) bool {
	return directives[word] != nil || slices.Contains(directivesNotYet, word)
}

// reserved are the words of smtpd.conf(5): as names they need quotes. Words
// of our own are not among them, so that no old configuration breaks.
var reserved = wordSet(`action admd alias any auth auth-optional backup bounce bypass ca cert chain chroot ciphers
	commit compression connect data data-line dhe disconnect domain ehlo encryption expand-only fcrdns filter for
	forward-only from group helo helo-src host hostname hostnames include inet4 inet6 junk key limit listen lmtp
	local mail-from maildir mask-src masquerade match max-deferred max-message-size mbox mda mta mx no-dsn
	no-verify noop on phase pki port proc proc-exec protocols proxy-v2 queue quit rcpt-to rdns received-auth
	recipient regex reject relay report rewrite rset scheduler senders smtp smtp-in smtp-out smtps socket src srs
	sub-addr-delim table tag tagged tls tls-require ttl user userbase verify virtual warn-interval wrapper`)

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		set[w] = true
	}
	return set
}

// load reads text with all that it includes and checks the whole.
func load(env environment, path string, text []byte, macros map[string]string) (*Config, error) {
	p := parse(env, path, text, macros)
	if len(p.errs) > 0 {
		return nil, p.errs
	}
	return p.cfg, nil
}

// parse gives the parser that has read and checked text, with what it found
// wrong.
func parse(env environment, path string, text []byte, macros map[string]string) *parser {
	p := &parser{
		env:     env,
		cfg:     defaults(path),
		fixed:   macros,
		lex:     &lexer{macros: map[string]string{}},
		entries: map[*table.Table][]Pos{},
	}
	p.lex.report = func(pos Pos, msg string) { p.add(&Error{Pos: pos, Msg: msg}) }
	for name, value := range macros {
		if !isName(name) {
			p.reportf(Pos{File: path}, "macro %q of the command line: a name has letters, digits and underscores only", name)
		}
		p.lex.macros[name] = value
	}
	p.lex.push(&source{name: path, text: string(text), line: 1, col: 1})
	for more := true; more && !p.full; {
		var toks []token
		if toks, more = p.lex.directive(); toks != nil {
			p.directive(toks)
		}
	}
	if !p.full {
		p.finish()
	}
	return p
}

// directive reads one directive or macro definition.
func (p *parser) directive(toks []token) {
	p.toks, p.i, p.failed = toks, 0, false
	first := p.next()
	if p.peek().is("=") {
		p.macro(first)
		return
	}
	switch read := directives[first.text]; {
	case first.kind == tokWord && !first.quoted && read != nil:
		read(p)
		p.end()
	case slices.ContainsFunc(directivesNotYet, first.is):
		p.notYet(first)
	default:
		p.expected(first, sortedKeys(directives)...)
	}
}

// macro reads `NAME = VALUE`. Words of the grammar are names, too, unlike in
// smtpd.conf(5): no directive goes on with "=", and "user" is a fine name.
func (p *parser) macro(name token) {
	p.next()
	if name.kind != tokWord || !isName(name.text) {
		p.failf(name, "a macro's name has letters, digits and underscores only, found %q", name.text)
		return
	}
	value := p.next()
	if value.kind != tokWord {
		p.expected(value, "a value; put it in quotes")
		return
	}
	p.end()
	if _, ok := p.fixed[name.text]; !ok && !p.failed {
		p.lex.macros[name.text] = value.text
	}
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// include reads `include "FILE"`; the file is read next.
func (p *parser) include() {
	t := p.str("a file in quotes")
	p.end()
	if p.failed {
		return
	}
	path := t.text
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(t.pos.File), path)
	}
	if len(p.lex.stack) > maxIncludeDepth {
		p.failf(t, "files include each other more than %d deep", maxIncludeDepth)
		return
	}
	if p.files++; p.files > maxIncludes {
		p.failf(t, "more than %d files are included", maxIncludes)
		return
	}
	for _, s := range p.lex.stack {
		if filepath.Clean(s.name) == filepath.Clean(path) {
			p.failf(t, "%s includes itself", path)
			return
		}
	}
	text, err := p.env.readFile(path)
	if err != nil {
		p.failf(t, "cannot include: %v", err)
		return
	}
	p.lex.push(&source{name: path, text: string(text), line: 1, col: 1})
}

// peek gives the next token; after an error always the end of the line.
func (p *parser) peek() token {
	if p.failed {
		return p.toks[len(p.toks)-1]
	}
	return p.toks[p.i]
}

// next gives the next token and steps over it.
func (p *parser) next() token {
	t := p.peek()
	if t.kind != tokEOL {
		p.i++
	}
	return t
}

// accept steps over the word or sign s if it is next.
func (p *parser) accept(s string) bool {
	if !p.peek().is(s) {
		return false
	}
	p.i++
	return true
}

// want steps over the word or sign s, which must be next.
func (p *parser) want(s string) {
	if !p.accept(s) {
		p.expected(p.peek(), s)
	}
}

// done reports whether the directive is at its end.
func (p *parser) done() bool { return p.peek().kind == tokEOL }

// end reports what is left of the directive.
func (p *parser) end() {
	if !p.done() {
		p.expected(p.peek(), "end of line")
	}
}

// isStr reports whether t can be a name or value: reserved words need quotes.
func isStr(t token) bool {
	return t.kind == tokWord && (t.quoted || !reserved[t.text])
}

// str reads a name or value; what describes it in errors.
func (p *parser) str(what string) token {
	t := p.peek()
	switch {
	case isStr(t):
		return p.next()
	case t.kind == tokWord:
		p.failf(t, "found %q, expected %s; %s is a word of the grammar, as a name it needs quotes", t.text, what, t.text)
	default:
		p.expected(t, what)
	}
	return token{pos: t.pos}
}

// options reads words until the end of the directive, each with what belongs
// to it. A word may come once, except for those of repeat.
func options[T any](p *parser, x T, opts map[string]func(*parser, T), notYet []string, repeat ...string) {
	seen := map[string]bool{}
	for !p.done() {
		t := p.next()
		read := opts[t.text]
		switch {
		case t.kind == tokWord && !t.quoted && read != nil:
			if seen[t.text] && !slices.Contains(repeat, t.text) {
				p.failf(t, "%q stands twice in one directive", t.text)
				return
			}
			seen[t.text] = true
			read(p, x)
		case slices.ContainsFunc(notYet, t.is):
			p.notYet(t)
		default:
			p.expected(t, append(sortedKeys(opts), "end of line")...)
		}
	}
}

// expected reports that t is not what could stand there.
func (p *parser) expected(t token, words ...string) {
	if p.failed {
		return
	}
	found := t.text
	if t.kind != tokEOL && found == "" {
		found = `""`
	}
	p.fail(&Error{Pos: t.pos, Found: found, Expected: words})
}

// notYet refuses a word of the grammar.
func (p *parser) notYet(t token) { p.failf(t, "%q is not supported yet", t.text) }

// failf reports an error at t and gives the directive up.
func (p *parser) failf(t token, format string, args ...any) {
	if p.failed {
		return
	}
	p.fail(&Error{Pos: t.pos, Msg: fmt.Sprintf(format, args...)})
}

func (p *parser) fail(e *Error) {
	p.failed = true
	p.add(e)
}

// reportf reports an error and goes on with the directive.
func (p *parser) reportf(pos Pos, format string, args ...any) {
	p.add(&Error{Pos: pos, Msg: fmt.Sprintf(format, args...)})
}

func (p *parser) add(e *Error) {
	if !p.full {
		p.errs = append(p.errs, e)
		p.full = len(p.errs) == MaxErrors
	}
}
