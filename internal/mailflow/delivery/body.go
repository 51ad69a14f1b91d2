package delivery

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
)

// chunkSize is how much of a message is in memory at once. A message that
// fits is written with one system call.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

// body is the message of one attempt, read in chunks. Its header was looked
// at before the first chunk is handed out.
type body struct {
	r      io.ReadCloser
	buf    *[]byte
	n      int   // bytes of buf that are filled
	fresh  bool  // buf has not been handed out
	err    error // what ended reading: io.EOF or worse
	open   bool  // what was handed out does not end in a line end
	header headerScan
}

// openBody opens the message and looks at its header; loop holds the addresses
// that no Delivered-To line may name.
func openBody(j *Job, loop [2]string) (*body, error) {
	r, err := j.Open()
	if err != nil {
		return nil, deferred("4.3.0", "cannot open the message: %w", err)
	}
	b := &body{r: r, buf: chunks.Get().(*[]byte), header: headerScan{loop: loop}}
	b.fill()
	b.fresh = true
	b.header.feed((*b.buf)[:b.n])
	if b.err == nil && !b.header.done {
		err = b.scanRest(j)
	} else if b.err != nil && b.err != io.EOF {
		err = b.readError()
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// newBody gives the message that r has, whose header was looked at before.
func newBody(r io.ReadCloser) *body {
	b := &body{r: r, buf: chunks.Get().(*[]byte), fresh: true, header: headerScan{done: true}}
	b.fill()
	return b
}

// scanRest looks at a header that is longer than a chunk, through a reader of
// its own so that b stays at the first byte.
func (b *body) scanRest(j *Job) error {
	r, err := j.Open()
	if err != nil {
		return deferred("4.3.0", "cannot open the message: %w", err)
	}
	defer r.Close()
	b.header = headerScan{loop: b.header.loop}
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for !b.header.done {
		n, err := r.Read(*buf)
		b.header.feed((*buf)[:n])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return deferred("4.3.0", "cannot read the message: %w", err)
		}
	}
	return nil
}

// fill reads the next chunk into buf.
func (b *body) fill() {
	b.n, b.err = io.ReadFull(b.r, *b.buf)
	if errors.Is(b.err, io.ErrUnexpectedEOF) {
		b.err = io.EOF
	}
}

// next gives the next chunk, valid until the call after, and whether it is the
// last one. The last may be empty.
func (b *body) next() (chunk []byte, last bool, err error) {
	if !b.fresh {
		if b.err == nil {
			b.fill()
		} else {
			b.n = 0
		}
	}
	b.fresh = false
	if b.err != nil && b.err != io.EOF {
		return nil, false, b.readError()
	}
	chunk = (*b.buf)[:b.n]
	if b.n > 0 {
		b.open = chunk[b.n-1] != '\n'
	}
	return chunk, b.err == io.EOF, nil
}

func (b *body) readError() error {
	return deferred("4.3.0", "cannot read the message: %w", b.err)
}

func (b *body) close() {
	b.r.Close()
	chunks.Put(b.buf)
	b.buf = nil
}

// maxHeaderLine is how much of a header line is looked at: "Delivered-To: "
// and the longest path (RFC 5321 s4.5.3.1.3), with room.
const maxHeaderLine = 1024

// headerScan reads a header as it comes, in pieces of any size.
type headerScan struct {
	loop [2]string // addresses to look for in Delivered-To; "" for none

	junk     bool // X-Spam says yes
	looped   bool // Delivered-To has one of loop
	eightBit bool // a byte of the header is not ASCII
	done     bool // the header is over

	line []byte // begun in an earlier piece
}

// feed takes the next piece of the message.
func (h *headerScan) feed(p []byte) {
	for len(p) > 0 && !h.done {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			h.line = append(h.line, p[:min(len(p), maxHeaderLine-len(h.line))]...)
			h.eightBit = h.eightBit || !isASCII(p)
			return
		}
		line := p[:i]
		h.eightBit = h.eightBit || !isASCII(line)
		if len(h.line) > 0 {
			line = append(h.line, line[:min(len(line), maxHeaderLine-len(h.line))]...)
			h.line = h.line[:0]
		}
		h.look(line)
		p = p[i+1:]
	}
}

// look judges one line of the header. The spellings are those of OpenSMTPD's
// mail.maildir and of its check for loops.
func (h *headerScan) look(line []byte) {
	const deliveredTo = "Delivered-To:"
	switch {
	case len(line) == 0:
		h.done = true
	case foldEqual(line, "X-Spam: yes"), foldEqual(line, "X-Spam-Flag: yes"):
		h.junk = true
	case len(line) > len(deliveredTo) && foldEqual(line[:len(deliveredTo)], deliveredTo):
		addr := strings.TrimSpace(string(line[len(deliveredTo):]))
		for _, l := range h.loop {
			h.looped = h.looped || l != "" && strings.EqualFold(addr, l)
		}
	}
}

// foldEqual reports whether b is s but for the case of ASCII letters.
func foldEqual(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

func isASCII[T string | []byte](s T) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
