package main

import (
	"bytes"
	"errors"
	"strings"
)

// parseAddresses gives the addresses of a list as it stands in a header field
// or on a command line: mailboxes with or without names and brackets, groups
// and comments (RFC 5322 s3.4). It is made for people's input: a name without
// a domain is an address, and nothing is decoded.
func parseAddresses(list []byte) ([]string, error) {
	p := addressParser{}
	for _, c := range list {
		if err := p.next(c); err != nil {
			return nil, err
		}
	}
	switch {
	case p.quoted:
		return nil, errors.New(`a quote (") is not closed`)
	case p.depth > 0:
		return nil, errors.New("a comment is not closed")
	case p.angle:
		return nil, errors.New("a < is not closed")
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	return p.found, nil
}

// addressParser reads one byte after the other.
type addressParser struct {
	found []string
	word  []byte // the address so far
	depth int    // of comments
	// What the bytes before mean for this one.
	quoted, escaped, angle, closed, gap bool
}

func (p *addressParser) next(c byte) error {
	switch {
	case p.escaped:
		p.escaped = false
		return p.take(c)
	case c == '\\' && (p.quoted || p.depth > 0):
		p.escaped = true
		return p.take(c)
	case p.quoted:
		p.quoted = c != '"'
		return p.take(c)
	case c == '(':
		p.depth++
	case c == ')' && p.depth > 0:
		p.depth--
	case p.depth > 0:
	case c == '"':
		p.quoted = true
		return p.take(c)
	case c == '<':
		p.word, p.angle, p.gap = p.word[:0], true, false
	case c == '>':
		if !p.angle {
			return errors.New("a > without a <")
		}
		p.angle, p.closed = false, true
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		p.gap = len(p.word) > 0
	case p.angle:
		return p.take(c)
	case c == ',' || c == ';':
		return p.end()
	case c == ':': // what stood before it was the name of a group
		p.word, p.gap = p.word[:0], false
	default:
		return p.take(c)
	}
	return nil
}

// take adds a byte to the address. Blanks are allowed around dot and at (RFC
// 5322 s4.4); between two words they are those of a name before a "<", so the
// byte is kept with a blank, which end refuses.
func (p *addressParser) take(c byte) error {
	if p.depth > 0 || p.closed {
		return nil
	}
	if p.gap && !p.quoted && c != '.' && c != '@' && !bytes.HasSuffix(p.word, []byte(".")) && !bytes.HasSuffix(p.word, []byte("@")) {
		p.word = append(p.word, ' ')
	}
	p.gap = false
	p.word = append(p.word, c)
	return nil
}

// end closes one address.
func (p *addressParser) end() error {
	word := string(p.word)
	closed := p.closed
	p.word, p.closed, p.gap = p.word[:0], false, false
	if word == "" {
		return nil
	}
	if local := word[:max(0, strings.LastIndexByte(word, '"'))]; !closed && strings.Contains(word[len(local):], " ") {
		return errors.New("there is a blank in the address " + word + "; is a comma missing?")
	}
	p.found = append(p.found, word)
	return nil
}
