package mail

import (
	"bytes"
	"io"
	"time"
)

// Limits of a header section. All are in octets except MaxReceived.
const (
	// MaxReceived is the number of Received fields at which a message counts
	// as looping; that of this server is one of them (RFC 5321 s6.3).
	MaxReceived = 100
	// MaxHeaderLine is the longest line of a header section; a longer one is
	// malformed. RFC 5322 s2.1.1 allows 998.
	MaxHeaderLine = 128 << 10
	// MaxEditedField is the longest From, To or Cc that gets domains; a
	// longer one passes as it is.
	MaxEditedField = 128 << 10
	// maxFieldName is the longest name of a field.
	maxFieldName = 1022
)

// Options says what a Fixer does beyond its fixed duties.
type Options struct {
	Domain     string           // appended to bare names; in Message-ID; "" appends nothing
	AddMissing bool             // add Date and Message-ID where they lack (RFC 6409 s8.2, s8.3)
	Now        func() time.Time // time for Date; nil: time.Now
	NewID      func() uint64    // number for Message-ID; needed with AddMissing
}

// Fixer does to a message what the server itself does to it, after all
// filters: it checks the form of the header section, counts Received fields,
// removes Bcc, appends a domain to bare names in From, To and Cc, and adds
// Date and Message-ID if told to. Everything else passes byte for byte.
//
// It takes LF-ended lines without dot-escaping and holds one header field at
// most. Once the message is Malformed or in a Loop nothing more is written. A
// Fixer is for one goroutine.
type Fixer struct {
	w io.Writer
	o Options

	state     fixState
	field     fieldKind
	malformed bool
	received  int
	date      bool // a Date was seen
	id        bool // a Message-ID was seen
	part      []byte
	held      []byte // From, To or Cc with its continuation lines
	nameLen   int    // length of the name in held
	out       []byte // output of the current Write
	err       error
}

type fixState uint8

const (
	inHeader fixState = iota
	inBody
	refused // malformed or a loop: nothing counts any more
)

type fieldKind uint8

const (
	noField    fieldKind = iota // before the first field
	plainField                  // passes
	bccField                    // is removed
	addrField                   // is held
)

// NewFixer gives a Fixer that writes to w.
func NewFixer(w io.Writer, o Options) *Fixer {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Fixer{w: w, o: o}
}

// Malformed reports whether the header section has a line that is neither a
// field nor a continuation of one, so that the message is to be refused. A
// message without any line is well formed, as is one that begins with an
// empty line.
func (f *Fixer) Malformed() bool { return f.malformed }

// Received gives the number of Received fields seen.
func (f *Fixer) Received() int { return f.received }

// Loop reports whether there are MaxReceived Received fields or more.
func (f *Fixer) Loop() bool { return f.received >= MaxReceived }

// Write takes the next part of the message; it may be cut anywhere. The error
// is that of the writer below and stays. What follows a malformed line is
// taken and dropped.
func (f *Fixer) Write(p []byte) (int, error) {
	rest := p
	if f.state == inHeader {
		rest = f.header(p)
		f.flush()
	}
	if f.state == inBody && len(rest) > 0 && f.err == nil {
		_, f.err = f.w.Write(rest)
	}
	if f.err != nil {
		return 0, f.err
	}
	return len(p), nil
}

// Close ends the message. It does not close the writer below. A last header
// line without LF gets one.
func (f *Fixer) Close() error {
	if f.state == inHeader {
		if len(f.part) > 0 {
			f.line(f.part)
		}
		if f.state == inHeader {
			f.endHeader()
			f.state = inBody
		}
		f.flush()
	}
	f.part, f.held, f.out = nil, nil, nil
	return f.err
}

// header takes the lines of p that belong to the header section and gives
// what is left of it.
func (f *Fixer) header(p []byte) (rest []byte) {
	for f.state == inHeader && len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		end := i
		if i < 0 {
			end = len(p)
		}
		if len(f.part)+end > MaxHeaderLine {
			f.malformed = true
			f.refuse()
			break
		}
		if i < 0 {
			f.part = append(f.part, p...)
			return nil
		}
		line := p[:i]
		p = p[i+1:]
		if len(f.part) > 0 {
			line = append(f.part, line...)
			f.part = line[:0]
		}
		f.line(line)
	}
	return p
}

// line takes one line of the header section, without its LF.
func (f *Fixer) line(line []byte) {
	if f.field != noField && isFolded(line) {
		f.continuation(line)
		return
	}
	f.endField()
	colon := bytes.IndexByte(line, ':')
	if colon >= 0 && colon <= maxFieldName && !isFolded(line) {
		f.beginField(line, colon)
		return
	}
	f.endHeader()
	if len(line) > 0 {
		f.malformed = true
		f.refuse()
		return
	}
	f.out = append(f.out, '\n')
	f.state = inBody
	f.part = nil
}

// beginField: the name is all that stands before the colon. One with a space
// at its end is obsolete syntax (RFC 5322 s4.5) and passes as a name of its
// own, as in OpenSMTPD.
func (f *Fixer) beginField(line []byte, colon int) {
	f.field = plainField
	switch name := line[:colon]; {
	case nameIs(name, "bcc"):
		f.field = bccField
		return
	case nameIs(name, "from"), nameIs(name, "to"), nameIs(name, "cc"):
		f.field = addrField
		f.nameLen = colon + 1
		f.held = appendLF(f.held[:0], line)
		return
	case nameIs(name, "received"):
		f.received++
		if f.Loop() {
			f.refuse()
			return
		}
	case nameIs(name, "date"):
		f.date = true
	case nameIs(name, "message-id"):
		f.id = true
	}
	f.out = appendLF(f.out, line)
}

func (f *Fixer) continuation(line []byte) {
	switch f.field {
	case bccField:
		return
	case addrField:
		if len(f.held)+len(line) < MaxEditedField {
			f.held = appendLF(f.held, line)
			return
		}
		f.out = append(f.out, f.held...)
		f.field = plainField
	}
	f.out = appendLF(f.out, line)
}

// endField writes a held field with its domains.
func (f *Fixer) endField() {
	if f.field == addrField {
		f.out = append(f.out, f.held[:f.nameLen]...)
		f.out = appendDomains(f.out, f.held[f.nameLen:], f.o.Domain)
	}
	f.field = noField
}

// endHeader is called where the last field has ended.
func (f *Fixer) endHeader() {
	f.endField()
	if !f.o.AddMissing {
		return
	}
	if !f.date {
		f.out = append(f.out, "Date: "...)
		f.out = AppendDate(f.out, f.o.Now())
		f.out = append(f.out, '\n')
	}
	if !f.id {
		f.out = append(f.out, "Message-ID: <"...)
		f.out = append(f.out, SessionID(f.o.NewID()).String()...)
		f.out = append(f.out, '@')
		f.out = append(f.out, f.o.Domain...)
		f.out = append(f.out, ">\n"...)
	}
}

func (f *Fixer) refuse() {
	f.state = refused
	f.part, f.held = nil, nil
}

// flush writes what the header section gave so far.
func (f *Fixer) flush() {
	if len(f.out) > 0 && f.err == nil {
		_, f.err = f.w.Write(f.out)
	}
	f.out = f.out[:0]
	if f.state != inHeader {
		f.out, f.held = nil, nil
	}
}
