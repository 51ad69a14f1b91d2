package smtp

import (
	"bytes"
	"errors"
	"io"
)

var lfDot = []byte("\n.")

// Unescape takes the dot-escaping off a chunk of whole LF-ended lines, in
// place: of every line that begins with a dot that dot goes (RFC 5321
// s4.5.2). It gives the shortened chunk.
func Unescape(chunk []byte) []byte {
	var w, r int // chunk[:w] is done, chunk[r:] is to be looked at
	if len(chunk) > 0 && chunk[0] == '.' {
		r = 1
	}
	for {
		i := bytes.Index(chunk[r:], lfDot)
		if i < 0 {
			break
		}
		w += move(chunk[w:], chunk[r:r+i+1])
		r += i + 2
	}
	return chunk[:w+move(chunk[w:], chunk[r:])]
}

// move is copy, except that it does nothing where there is nothing to move.
func move(dst, src []byte) int {
	if len(src) > 0 && &dst[0] == &src[0] {
		return len(src)
	}
	return copy(dst, src)
}

// ErrClosed is what a DotWriter gives after Close.
var ErrClosed = errors.New("message already ended")

// DotWriter writes a message of LF-ended lines in the form of SMTP's and
// LMTP's DATA: CR LF line ends, dots escaped, "." at the end (RFC 5321
// s4.5.2). A CR right before a LF counts as part of the line end; other CRs
// are sent as they are. Writes may be cut anywhere. It is for one goroutine.
type DotWriter struct {
	w    io.Writer
	buf  []byte // borrowed at the first Write, given back by Close
	n    int
	last byte // last byte written; '\n' at the beginning
	err  error
}

// NewDotWriter gives a DotWriter on w. Close must be called, or its buffer is
// left to the garbage collector.
func NewDotWriter(w io.Writer) *DotWriter { return &DotWriter{w: w, last: '\n'} }

// Write takes the next part of the message.
func (d *DotWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && d.err == nil; {
		if d.last == '\n' && rest[0] == '.' {
			d.put('.')
		}
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			d.puts(rest)
			d.last = rest[len(rest)-1]
			break
		}
		if i > 0 {
			d.puts(rest[:i])
			d.last = rest[i-1]
		}
		if d.last != '\r' {
			d.put('\r')
		}
		d.put('\n')
		d.last = '\n'
		rest = rest[i+1:]
	}
	if d.err != nil {
		return 0, d.err
	}
	return len(p), nil
}

// Close ends the last line if need be, writes the final dot and flushes. It
// does not close the writer below.
func (d *DotWriter) Close() error {
	if d.err == nil {
		switch d.last {
		case '\n':
		case '\r':
			d.put('\n')
		default:
			d.puts([]byte("\r\n"))
		}
		d.puts([]byte(".\r\n"))
		d.flush()
	}
	if d.buf != nil {
		putBuffer(d.buf)
		d.buf = nil
	}
	err := d.err
	if err == nil {
		d.err = ErrClosed
	}
	return err
}

func (d *DotWriter) put(c byte) {
	if d.n == len(d.buf) {
		d.flush()
	}
	d.buf[d.n] = c
	d.n++
}

func (d *DotWriter) puts(p []byte) {
	for len(p) > 0 && d.err == nil {
		if d.n == len(d.buf) {
			d.flush()
		}
		n := copy(d.buf[d.n:], p)
		d.n += n
		p = p[n:]
	}
}

// flush writes the buffer out and leaves an empty one, after an error too.
func (d *DotWriter) flush() {
	if d.buf == nil {
		d.buf = getBuffer(largeBuffer)
	}
	if d.n > 0 && d.err == nil {
		_, d.err = d.w.Write(d.buf[:d.n])
	}
	d.n = 0
}
