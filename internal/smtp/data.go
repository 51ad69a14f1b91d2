package smtp

import (
	"bytes"
	"io"
)

// MaxDataLine is the longest message line that we take, in octets without its
// CR LF. RFC 5321 s4.5.3.1.6 asks for 998; mail in the field has longer ones.
const MaxDataLine = 65535

// DataReader reads a message after DATA (RFC 5321 s4.1.1.4) from a Reader. It
// gives it in chunks of whole lines, each ended by a single LF, still
// dot-escaped (s4.5.2), so that they can be handed to filters as they are.
//
// Only CR LF "." CR LF ends a message. A bare CR or LF does not end a line
// here, whatever stands around it: reading goes on to the true end, and Bare
// tells that the message is to be refused. In the lines of such a message
// every bare LF is replaced by a space, because a chunk could otherwise hold
// a line "." that the client smuggled in; all other bytes are kept.
type DataReader struct {
	r    *Reader
	bare bool
	done bool
}

// NewDataReader gives a reader of the message that follows in r, whose CR LF
// before the first line has been consumed with the DATA command.
func NewDataReader(r *Reader) *DataReader { return &DataReader{r: r} }

// Bare reports whether a bare CR or a bare LF has been read so far.
func (d *DataReader) Bare() bool { return d.bare }

// Next gives the next lines, valid and free to be changed until the next call
// of any method that reads. It blocks only while no whole line is there. After
// the last line it gives io.EOF, for ever. ErrLineTooLong and errors of the
// stream (io.ErrUnexpectedEOF if it ended) leave the session no way on.
func (d *DataReader) Next() (lines []byte, err error) {
	scanned := 0
	for !d.done {
		lines, err = d.frame(scanned)
		if len(lines) > 0 || err != nil {
			return lines, err
		}
		if d.done {
			break
		}
		// The line's beginning; a line of MaxDataLine octets has its LF one
		// octet behind its CR.
		scanned = d.r.Buffered()
		if scanned > MaxDataLine+1 {
			return nil, ErrLineTooLong
		}
		if err := d.r.fill(true); err != nil {
			return nil, inReply(err, true)
		}
	}
	return nil, io.EOF
}

// frame turns the whole lines at the beginning of the buffer into LF-ended
// ones, in place, and consumes them. The first scanned bytes hold no LF.
func (d *DataReader) frame(scanned int) ([]byte, error) {
	b := d.r.buf[d.r.pos:d.r.end]
	w, start, next := 0, 0, scanned // end of output, of input, place to look from
	var err error
	for {
		i := bytes.IndexByte(b[next:], '\n')
		if i < 0 {
			break
		}
		lf := next + i
		next = lf + 1
		if lf == start || b[lf-1] != '\r' {
			d.bare = true
			b[lf] = ' '
			continue
		}
		line := b[start : lf-1]
		if len(line) > MaxDataLine {
			err = ErrLineTooLong
			break
		}
		start = next
		if len(line) == 1 && line[0] == '.' {
			d.done = true
			break
		}
		if w != lf-1-len(line) {
			copy(b[w:], line)
		}
		w += len(line)
		b[w] = '\n'
		w++
	}
	d.r.pos += start
	// One pass over the chunk is cheaper than one more per line.
	if bytes.IndexByte(b[:w], '\r') >= 0 {
		d.bare = true
	}
	if err != nil {
		return nil, err
	}
	return b[:w], nil
}
