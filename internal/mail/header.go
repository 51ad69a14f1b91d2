package mail

import "bytes"

// appendDomains appends the value of an address field, folded lines and all,
// with "@domain" put behind every bare name (RFC 5321 s3.6 wants no bare names
// to leave a server; RFC 6409 s8.1 lets it complete them). Addresses with a
// domain, groups, empty places and whatever cannot be parsed stay as they are.
func appendDomains(dst, value []byte, domain string) []byte {
	if domain == "" {
		return append(dst, value...)
	}
	var lex lexer
	group := false
	start := 0
	for i := 0; i <= len(value); i++ {
		if i < len(value) {
			if !lex.step(value[i]) || value[i] != ',' || lex.bracket {
				continue
			}
		}
		part := value[start:i]
		at, opens, closes := insertPoint(part)
		if at < 0 || group || opens {
			dst = append(dst, part...)
		} else {
			dst = append(dst, part[:at]...)
			dst = append(dst, '@')
			dst = append(dst, domain...)
			dst = append(dst, part[at:]...)
		}
		group = (group || opens) && !closes
		if i < len(value) {
			dst = append(dst, ',')
		}
		start = i + 1
	}
	return dst
}

// insertPoint finds where in one address of a list its domain is to stand: at
// the end of what is between the brackets, else of the last word outside of
// comments. It is -1 where nothing is to be done. opens and closes tell of a
// group's colon and semicolon (RFC 5322 s3.4).
func insertPoint(part []byte) (at int, opens, closes bool) {
	var lex lexer
	domain, bracketed := false, false
	quotes := false // what stands before at would quote what is put there
	at = -1
	for i, c := range part {
		before := lex
		if lex.step(c) {
			switch c {
			case '@':
				domain = true
			case ':':
				opens = opens || !lex.bracket
			case ';':
				closes = true
			case '<':
				bracketed, at = true, -1
			}
		}
		inComment := before.comment > 0 || lex.comment > 0
		inBracket := before.bracket && lex.bracket
		if !inComment && !isSpace(c) && (inBracket || !bracketed) {
			at, quotes = i+1, lex.escape
		}
	}
	if domain || closes || quotes || !lex.balanced() {
		return -1, opens, closes
	}
	return at, opens, closes
}

// lexer follows the nesting of RFC 5322 s3.2: quoted strings, comments,
// quoted pairs, and angle brackets.
type lexer struct {
	comment int
	quote   bool
	escape  bool
	bracket bool
}

// step takes the next byte and reports whether it is syntax: neither quoted
// nor in a comment nor their delimiter.
func (l *lexer) step(c byte) bool {
	switch {
	case l.escape:
		l.escape = false
	case c == '\\':
		l.escape = true
	case l.quote:
		l.quote = c != '"'
	case c == '(':
		l.comment++
	case l.comment > 0:
		if c == ')' {
			l.comment--
		}
	case c == '"':
		l.quote = true
	default:
		switch c {
		case '<':
			l.bracket = true
		case '>':
			l.bracket = false
		}
		return true
	}
	return false
}

func (l *lexer) balanced() bool {
	return l.comment == 0 && !l.quote && !l.escape && !l.bracket
}

// nameIs compares the name of a field with a lower-case one.
func nameIs(name []byte, lower string) bool {
	return len(name) == len(lower) && bytes.EqualFold(name, []byte(lower))
}

// isFolded reports whether line begins with white space: a continuation (RFC
// 5322 s2.2.3).
func isFolded(line []byte) bool {
	return len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func appendLF(dst, line []byte) []byte {
	dst = append(dst, line...)
	return append(dst, '\n')
}
