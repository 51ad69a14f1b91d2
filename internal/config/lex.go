package config

import (
	"fmt"
	"strings"
)

const (
	// maxWord is the length of a word, in bytes; OpenSMTPD's is 8096.
	maxWord = 8192

	// maxWords is the number of words in one directive. A macro can make
	// many out of little text; a table that long belongs in a file.
	maxWords = 65536
)

type tokenKind uint8

const (
	tokWord tokenKind = iota
	tokPunct
	tokEOL
	tokEOF
	tokBad // was reported
)

// token is one word or sign of the configuration.
type token struct {
	kind   tokenKind
	text   string // without quotes
	quoted bool   // a part of it was in quotes: it is no word of the grammar
	spaced bool   // white space stands before it
	pos    Pos
}

// is reports whether t is the word or sign s of the grammar.
func (t token) is(s string) bool {
	return (t.kind == tokWord && !t.quoted || t.kind == tokPunct) && t.text == s
}

// source is a text that is being read: a file, or the value of a macro.
type source struct {
	name  string
	text  string
	off   int
	line  int
	col   int
	macro bool
	at    Pos // of the "$" for a macro
}

func (s *source) pos() Pos {
	if s.macro {
		return s.at
	}
	return Pos{File: s.name, Line: s.line, Column: s.col}
}

// lexer turns files into tokens. The text of a macro is spliced in where its
// name stands, as in smtpd.conf(5): it may be a word, a part of a word or
// several words. It is not searched for macros again.
type lexer struct {
	stack   []*source
	macros  map[string]string
	pending *token // read already, belongs to the next directive
	report  func(Pos, string)
}

func (l *lexer) push(s *source) { l.stack = append(l.stack, s) }

func (l *lexer) top() *source { return l.stack[len(l.stack)-1] }

// peek gives the next byte; false at the end of a file.
func (l *lexer) peek() (byte, bool) {
	for {
		s := l.top()
		if s.off < len(s.text) {
			return s.text[s.off], true
		}
		if !s.macro {
			return 0, false
		}
		l.stack = l.stack[:len(l.stack)-1]
	}
}

// advance steps over the byte that peek gave.
func (l *lexer) advance() {
	s := l.top()
	if s.text[s.off] == '\n' {
		s.line++
		s.col = 0
	}
	s.off++
	s.col++
}

// continued steps over a backslash that ends its line, and reports whether
// one was there.
func (l *lexer) continued() bool {
	rest := l.top().text[l.top().off:]
	switch {
	case strings.HasPrefix(rest, "\\\r\n"):
		l.advance()
	case strings.HasPrefix(rest, "\\\n"):
	default:
		return false
	}
	l.advance()
	l.advance()
	return true
}

// next gives the next token.
func (l *lexer) next() token {
	if l.pending != nil {
		t := *l.pending
		l.pending = nil
		return t
	}
	spaced := false
	for {
		c, ok := l.peek()
		t := token{pos: l.top().pos(), spaced: spaced}
		switch {
		case !ok:
			t.kind = tokEOF
			return t
		case c == '\n':
			l.advance()
			t.kind = tokEOL
			return t
		case c == ' ' || c == '\t' || c == '\r':
			l.advance()
			spaced = true
		case c == '\\' && l.continued():
		case c == '#':
			l.comment()
		case c == '$' && l.expands():
			if !l.expand() {
				t.kind = tokBad
				return t
			}
		case isPunct(c):
			l.advance()
			t.kind, t.text = tokPunct, string(c)
			if n, ok := l.peek(); c == '=' && ok && n == '>' {
				l.advance()
				t.text = "=>"
			}
			return t
		default:
			return l.word(t)
		}
	}
}

func isPunct(c byte) bool { return strings.IndexByte("{}<>!=,()", c) >= 0 }

// comment steps over the rest of the line. A backslash at its end makes the
// next line part of the comment: one "#" comments out a whole directive.
func (l *lexer) comment() {
	for {
		c, ok := l.peek()
		if !ok || c == '\n' {
			return
		}
		if c != '\\' || !l.continued() {
			l.advance()
		}
	}
}

// word reads a word: any mixture of bare text, quoted text and macros
// without white space between them.
func (l *lexer) word(t token) token {
	var b strings.Builder
	for {
		if b.Len() > maxWord {
			return l.bad(t, fmt.Sprintf("word is longer than %d bytes", maxWord))
		}
		c, ok := l.peek()
		if !ok {
			break
		}
		switch {
		case c == '"' || c == '\'':
			t.quoted = true
			if msg := l.quote(&b, c); msg != "" {
				return l.bad(t, msg)
			}
			continue
		case c == '\\' && l.continued():
			continue
		case c == '\\':
			l.advance()
			if c, ok = l.peek(); !ok || c == '\n' {
				c = '\\'
				b.WriteByte(c)
				continue
			}
		case c == '$' && l.expands():
			if !l.expand() {
				t.kind = tokBad
				return t
			}
			continue
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '#' || isPunct(c):
			t.kind, t.text = tokWord, b.String()
			return t
		}
		if c < ' ' || c == 0x7f {
			t.pos = l.top().pos()
			return l.bad(t, fmt.Sprintf("control character 0x%02x", c))
		}
		b.WriteByte(c)
		l.advance()
	}
	t.kind, t.text = tokWord, b.String()
	return t
}

// quote reads quoted text; peek is at the quote. A backslash protects the
// quote, a blank and the end of the line; before all else it is kept, so that
// regular expressions need no second one. It gives what is wrong, or "".
//
// Differs from smtpd.conf(5): the quote must be closed on its line, because
// otherwise a forgotten one is found far from where it is missing.
func (l *lexer) quote(b *strings.Builder, quote byte) string {
	l.advance()
	for b.Len() <= maxWord {
		c, ok := l.peek()
		switch {
		case !ok || c == '\n':
			return "quote is not closed on its line; to go on below, end the line with a backslash"
		case c == quote:
			l.advance()
			return ""
		case c == 0:
			return "control character 0x00"
		case c == '\\' && l.continued():
			continue
		case c == '\\':
			l.advance()
			if n, ok := l.peek(); ok && (n == quote || n == ' ' || n == '\t') {
				c = n
				l.advance()
			}
			b.WriteByte(c)
			continue
		}
		b.WriteByte(c)
		l.advance()
	}
	return ""
}

// expands reports whether the "$" at peek begins a macro: not in the text of
// a macro, and not without a name.
func (l *lexer) expands() bool {
	s := l.top()
	return !s.macro && s.off+1 < len(s.text) && isNameByte(s.text[s.off+1])
}

// expand replaces the macro at peek by its text.
func (l *lexer) expand() bool {
	s := l.top()
	at := s.pos()
	l.advance()
	start := s.off
	for s.off < len(s.text) && isNameByte(s.text[s.off]) {
		l.advance()
	}
	name := s.text[start:s.off]
	value, ok := l.macros[name]
	if !ok {
		msg := fmt.Sprintf("macro %q is not defined", name)
		if near := nearest(name, sortedKeys(l.macros)); near != "" {
			msg += fmt.Sprintf(" (did you mean %q?)", near)
		}
		l.report(at, msg)
		return false
	}
	l.push(&source{text: value, macro: true, at: at})
	return true
}

func (l *lexer) bad(t token, msg string) token {
	l.report(t.pos, msg)
	t.kind = tokBad
	return t
}

// directive gives the tokens up to the end of a directive, which is the end
// of the line unless a brace is open, with the end as last token. It gives
// nil for a line that is empty or was reported as bad, and false at the end of
// the outermost file.
func (l *lexer) directive() ([]token, bool) {
	var toks []token
	var open []Pos // braces
	startOfLine, bad := true, false
	for {
		t := l.next()
		switch {
		case t.kind == tokBad:
			bad = true
			l.skipLine()
			continue
		case t.kind == tokEOF:
			if len(open) > 0 {
				l.report(open[0], `"{" is not closed`)
				return nil, true
			}
			if len(toks) > 0 {
				// The file stays on the stack: its last line may include another.
				t.kind = tokEOL
				return finish(toks, t, bad), true
			}
			more := len(l.stack) > 1
			if more {
				l.stack = l.stack[:len(l.stack)-1]
			}
			return nil, more
		case t.kind == tokEOL && len(open) == 0:
			return finish(toks, t, bad), true
		case t.kind == tokEOL:
			startOfLine = true
			continue
		case len(open) > 0 && startOfLine && t.kind == tokWord && !t.quoted && isDirective(t.text):
			// The closing brace is missing; begin again with this line.
			l.report(open[0], `"{" is not closed`)
			l.pending = &t
			return nil, true
		case t.is("{"):
			open = append(open, t.pos)
		case t.is("}") && len(open) > 0:
			open = open[:len(open)-1]
		}
		startOfLine = false
		if toks = append(toks, t); len(toks) > maxWords {
			l.report(toks[0].pos, fmt.Sprintf("more than %d words in one directive", maxWords))
			l.skipLine()
			return nil, true
		}
	}
}

func finish(toks []token, end token, bad bool) []token {
	if len(toks) == 0 || bad {
		return nil
	}
	return append(toks, end)
}

// skipLine steps to the end of the line of the file that is being read.
func (l *lexer) skipLine() {
	for l.top().macro {
		l.stack = l.stack[:len(l.stack)-1]
	}
	l.comment()
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// textOf writes tokens as they could stand in a file.
func textOf(toks []token) string {
	var b strings.Builder
	for i, t := range toks {
		if t.kind == tokEOL {
			break
		}
		if i > 0 && t.spaced {
			b.WriteByte(' ')
		}
		if t.quoted || t.kind == tokWord && t.text == "" {
			b.WriteString(`"` + strings.ReplaceAll(t.text, `"`, `\"`) + `"`)
		} else {
			b.WriteString(t.text)
		}
	}
	return b.String()
}
