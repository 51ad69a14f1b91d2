package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrBdatArgs is what ParseBdatArgs wraps.
var ErrBdatArgs = errors.New("BDAT wants a size and perhaps LAST")

// ParseBdatArgs reads the arguments of BDAT: the size of the chunk in octets
// and whether it is the last one (RFC 3030 s2). After an error the stream is
// lost, since nobody knows where the chunk ends.
func ParseBdatArgs(args []byte) (size int64, last bool, err error) {
	number, word, found := strings.Cut(string(args), " ")
	if !isDigits(number, 20) {
		return 0, false, fmt.Errorf("%w: size %q", ErrBdatArgs, clip([]byte(number)))
	}
	if size, err = strconv.ParseInt(number, 10, 64); err != nil {
		return 0, false, fmt.Errorf("%w: size %q", ErrBdatArgs, number)
	}
	if found && !strings.EqualFold(word, "LAST") {
		return 0, false, fmt.Errorf("%w: %q", ErrBdatArgs, clip([]byte(word)))
	}
	return size, found, nil
}

// ChunkReader reads a message that comes in BDAT chunks (RFC 3030) and gives
// it as DataReader does: whole lines, each ended by a single LF, dot-escaped,
// although there is no escaping on the wire. One ChunkReader serves all chunks
// of a message; a line may begin in one and end in another.
//
// A bare CR or LF does not end a line; Bare tells of it and the LF becomes a
// space, as with DataReader.
type ChunkReader struct {
	r    *Reader
	left int64 // octets of the current chunk that are not read
	last bool
	bare bool
	part []byte // beginning of a line that has not ended, with its CR if that came
	buf  []byte // borrowed, nil if none
}

// NewChunkReader gives a reader of a message's chunks from r.
func NewChunkReader(r *Reader) *ChunkReader { return &ChunkReader{r: r} }

// Begin announces a chunk of size octets; it follows in the Reader.
func (c *ChunkReader) Begin(size int64, last bool) { c.left, c.last = size, last }

// Left gives the number of octets of the current chunk that are still to be
// read; after an error Reader.Discard can drop them.
func (c *ChunkReader) Left() int64 { return c.left }

// Bare reports whether a bare CR or a bare LF has been read so far.
func (c *ChunkReader) Bare() bool { return c.bare }

// Next gives the next whole lines, valid until the next call of any method
// that reads, and io.EOF at the end of the chunk. A last line without CR LF is
// given at the end of the last chunk, with its line end. The other errors are
// ErrLineTooLong and those of the stream, as with DataReader.
func (c *ChunkReader) Next() (lines []byte, err error) {
	for c.left > 0 {
		if c.r.Buffered() == 0 {
			c.release()
			if err := c.r.fill(true); err != nil {
				return nil, inReply(err, true)
			}
		}
		raw := c.r.buf[c.r.pos:c.r.end]
		raw = raw[:min(int64(len(raw)), c.left)]
		c.r.pos += len(raw)
		c.left -= int64(len(raw))
		lines, err := c.frame(raw)
		if len(lines) > 0 || err != nil {
			return lines, err
		}
	}
	if c.last && len(c.part) > 0 {
		lines = appendLine(nil, c.part)
		c.note(lines)
		c.part = nil
		return lines, nil
	}
	c.release()
	return nil, io.EOF
}

// frame turns the whole lines of what is kept and raw into LF-ended, escaped
// ones and keeps the rest.
func (c *ChunkReader) frame(raw []byte) ([]byte, error) {
	if c.buf == nil {
		c.buf = getBuffer(largeBuffer)
	}
	out := c.buf[:0]
	for {
		i := bytes.IndexByte(raw, '\n')
		if i < 0 {
			c.part = append(c.part, raw...)
			break
		}
		line := raw[:i]
		raw = raw[i+1:]
		if len(c.part) > 0 {
			c.part = append(c.part, line...)
			line = c.part
		}
		if len(line) == 0 || line[len(line)-1] != '\r' {
			c.bare = true
			if len(c.part) == 0 {
				c.part = append(c.part, line...)
			}
			c.part = append(c.part, ' ')
			continue
		}
		if len(line)-1 > MaxDataLine {
			return nil, ErrLineTooLong
		}
		out = appendLine(out, line[:len(line)-1])
		c.part = c.part[:0]
	}
	if len(c.part) > MaxDataLine+1 {
		return nil, ErrLineTooLong
	}
	c.note(out)
	return out, nil
}

// note looks for bare CRs in lines that go out.
func (c *ChunkReader) note(lines []byte) {
	if bytes.IndexByte(lines, '\r') >= 0 {
		c.bare = true
	}
}

func (c *ChunkReader) release() {
	if c.buf != nil {
		putBuffer(c.buf)
		c.buf = nil
	}
}

// appendLine appends a line, dot-escaped (RFC 5321 s4.5.2), with its LF.
func appendLine(dst, line []byte) []byte {
	if len(line) > 0 && line[0] == '.' {
		dst = append(dst, '.')
	}
	dst = append(dst, line...)
	return append(dst, '\n')
}
