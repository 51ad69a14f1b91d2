package filterwire

import (
	"bytes"
	"fmt"

	"github.com/weirmail/weir/internal/mail"
)

// MaxLine is the longest line, in bytes and without its LF, that a filter may
// send: a message line of the longest that SMTP brings (64 KB) and as much
// again for what a filter adds.
const MaxLine = 128 << 10

// Kind says what a filter's line is.
type Kind uint8

// The lines of a filter.
const (
	RegisterReport  Kind = iota + 1 // Events
	RegisterFilter                  // Phase
	RegisterFeature                 // Text: name
	RegisterReady
	Result    // Session, Token, Decision, Text: parameter
	DataOut   // Session, Token, Text: one message line, dot-escaped
	OwnReport // Session if the line carries one, Text
)

// Line is a filter's line. Text is a slice of what was parsed.
type Line struct {
	Kind     Kind
	Decision Decision
	Phase    Phase
	Events   Events
	Session  mail.SessionID
	Token    uint64
	Text     []byte
}

// ProtocolError is a line that the protocol does not know.
type ProtocolError struct {
	Line     string // the line, cut after maxQuoted bytes
	Expected string // what was expected in its place
}

// maxQuoted bounds what an error keeps of an offending line, in bytes.
const maxQuoted = 200

// Error gives the line, quoted, and the expectation.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("line %q: expected %s", e.Line, e.Expected)
}

// NewProtocolError makes the error for line, of which it keeps the beginning.
func NewProtocolError(line []byte, expected string) *ProtocolError {
	s := string(line[:min(len(line), maxQuoted)])
	if len(line) > maxQuoted {
		s += "..."
	}
	return &ProtocolError{Line: s, Expected: expected}
}

// What is expected, by place.
const (
	wantLine     = "register|..., filter-result|..., filter-dataline|... or report|..."
	wantStream   = "register|report|..., register|filter|..., register|feature|... or register|ready"
	wantReport   = "register|report|smtp-in|EVENT with an event of smtpd-filters(7), or *"
	wantFilter   = "register|filter|smtp-in|PHASE with a phase of smtpd-filters(7)"
	wantFeature  = "register|feature|NAME"
	wantSession  = "a session of up to 16 hex digits in the second field"
	wantToken    = "a token of up to 16 hex digits in the third field"
	wantRest     = "a decision or message line in the fourth field"
	wantDecision = "proceed, junk, reject|TEXT, disconnect|TEXT, rewrite|VALUE or report|TEXT, and LF after it"
	wantPlain    = "no parameter with this decision"
	wantParam    = "a parameter with this decision"
)

// Parse reads one line, without its LF, into l. Its error is a *ProtocolError;
// l is then not to be used. It allocates nothing for lines that are right.
func Parse(line []byte, l *Line) error {
	*l = Line{}
	word, rest, _ := bytes.Cut(line, sep)
	switch string(word) {
	case "filter-dataline":
		l.Kind = DataOut
		return parseAnswer(line, rest, l)
	case "filter-result":
		l.Kind = Result
		if err := parseAnswer(line, rest, l); err != nil {
			return err
		}
		return parseDecision(line, l)
	case "register":
		return parseRegister(line, rest, l)
	case "report":
		if len(rest) > 0 {
			parseOwnReport(rest, l)
			return nil
		}
	}
	return NewProtocolError(line, wantLine)
}

var sep = []byte{'|'}

// parseAnswer reads "session|token|rest".
func parseAnswer(line, s []byte, l *Line) error {
	id, s, ok := cutHex(s)
	if !ok {
		return NewProtocolError(line, wantSession)
	}
	token, s, ok := cutHex(s)
	if !ok {
		return NewProtocolError(line, wantToken)
	}
	if s == nil {
		return NewProtocolError(line, wantRest)
	}
	l.Session, l.Token, l.Text = mail.SessionID(id), token, s
	return nil
}

// cutHex reads a number of 1 to 16 hex digits of either case: some filters
// parse ids and print them again. rest is nil if the line ends after it.
func cutHex(s []byte) (v uint64, rest []byte, ok bool) {
	for i, c := range s {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		case c == '|':
			return v, s[i+1:], i > 0
		default:
			return 0, nil, false
		}
		if i == 16 {
			return 0, nil, false
		}
		v = v<<4 | uint64(c)
	}
	return v, nil, len(s) > 0
}

// parseDecision splits l.Text into decision and parameter.
func parseDecision(line []byte, l *Line) error {
	word, param, has := bytes.Cut(l.Text, sep)
	switch string(word) {
	case "proceed":
		l.Decision = Proceed
	case "junk":
		l.Decision = Junk
	case "reject":
		l.Decision = Reject
	case "disconnect":
		l.Decision = Disconnect
	case "rewrite":
		l.Decision = Rewrite
	case "report":
		l.Decision = Report
	default:
		return NewProtocolError(line, wantDecision)
	}
	l.Text = param
	if plain := l.Decision == Proceed || l.Decision == Junk; plain && has {
		return NewProtocolError(line, wantPlain)
	} else if !plain && !has {
		return NewProtocolError(line, wantParam)
	}
	return nil
}

func parseRegister(line, s []byte, l *Line) error {
	stream, s, more := bytes.Cut(s, sep)
	switch string(stream) {
	case "ready":
		if !more {
			l.Kind = RegisterReady
			return nil
		}
	case "feature":
		if len(s) == 0 || bytes.Contains(s, sep) {
			return NewProtocolError(line, wantFeature)
		}
		l.Kind, l.Text = RegisterFeature, s
		return nil
	case "report":
		sub, name, _ := bytes.Cut(s, sep)
		ev, ok := ParseEvents(string(name))
		switch {
		case !ok:
			return NewProtocolError(line, wantReport)
		case string(sub) == "smtp-out":
			ev = 0 // accepted; there are no such events yet
		case string(sub) != "smtp-in":
			return NewProtocolError(line, wantReport)
		}
		l.Kind, l.Events = RegisterReport, ev
		return nil
	case "filter":
		sub, name, _ := bytes.Cut(s, sep)
		ph, ok := ParsePhase(string(name))
		if !ok || string(sub) != "smtp-in" {
			return NewProtocolError(line, wantFilter)
		}
		l.Kind, l.Phase = RegisterFilter, ph
		return nil
	}
	return NewProtocolError(line, wantStream)
}

// parseOwnReport reads what follows "report|" in a filter's own report. Two
// forms are in use: "time|smtp-in|session|text", and one with the server's
// own fields, "version|time|smtp-in|filter-report|session|proc|name|text".
// The manual page knows neither, so nothing is wrong with any other: it is
// all text, and of no session.
func parseOwnReport(s []byte, l *Line) {
	l.Kind, l.Text = OwnReport, s
	_, rest, _ := bytes.Cut(s, sep)
	field, rest, _ := bytes.Cut(rest, sep)
	if string(field) == "smtp-in" {
		if id, text, ok := cutHex(rest); ok {
			l.Session, l.Text = mail.SessionID(id), text
		}
		return
	}
	field, rest, _ = bytes.Cut(rest, sep)
	if string(field) != "smtp-in" {
		return
	}
	event, rest, _ := bytes.Cut(rest, sep)
	id, text, ok := cutHex(rest)
	if !ok {
		return
	}
	l.Session, l.Text = mail.SessionID(id), text
	if string(event) == "filter-report" {
		if _, text, ok = bytes.Cut(text, sep); ok {
			if _, text, ok = bytes.Cut(text, sep); ok {
				l.Text = text
			}
		}
	}
}
