package smtp

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

// Sizes of the buffers that a Reader borrows. The large one holds the longest
// message line with its CR LF and something over, so that a line never has to
// be put together from pieces.
const (
	smallBuffer = 4 << 10
	largeBuffer = 72 << 10
)

// maxLarge is how many large buffers are borrowed before a Reader makes do with
// a small one, unless a line is longer than that: ten thousand clients that send
// at the same time do not have 700 MB of buffers, they have many small reads.
const maxLarge = 256

// The ways a command line can be wrong.
var (
	// ErrLineTooLong: the line is longer than allowed. It has not been
	// consumed: SkipLine drops it, or the session ends.
	ErrLineTooLong = errors.New("line too long")
	// ErrBareCR: a CR within the line. The line is consumed.
	ErrBareCR = errors.New("bare CR in a line")
	// ErrBareLF: a LF that no CR precedes. The line is consumed up to that LF.
	ErrBareLF = errors.New("bare LF in a line")
	// ErrNUL: a NUL within the line. The line is consumed.
	ErrNUL = errors.New("NUL in a line")
)

// Reader splits what a client sends into command lines, message lines
// (DataReader) and counted chunks (ChunkReader). CR LF alone ends a line: RFC
// 5321 s2.3.8.
//
// It borrows its buffers from a pool. Over a Socket it holds none while that
// waits and everything read has been consumed. A Reader is for one goroutine.
type Reader struct {
	src    io.Reader
	socket Socket // src, if it is one
	buf    []byte // borrowed, nil if none
	pos    int    // buf[pos:end] is read and not consumed
	end    int
	data   bool  // what is being read is a message, not a command
	large  bool  // borrow large buffers: data comes in large pieces
	err    error // of the stream, given once the buffer is empty
}

// A Socket is a stream that can wait without a buffer: most sessions of a busy
// server wait, and their buffers would be most of its memory.
type Socket interface {
	io.Reader
	// ReadTo reads once into r.Room() and gives how many bytes that were, as
	// Read does. Before it waits for the peer it calls r.Park; then what Room
	// gave is not its own any more.
	ReadTo(r *Reader) (int, error)
}

var (
	largeOut  atomic.Int32 // large buffers that Readers have
	smallPool = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largePool = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// NewReader gives a Reader over src.
func NewReader(src io.Reader) *Reader {
	r := new(Reader)
	r.Reset(src)
	return r
}

// Reset makes the Reader read from src, as after STARTTLS. What was buffered
// is dropped (RFC 3207 s4.2: nothing read in the clear may count afterwards).
func (r *Reader) Reset(src io.Reader) {
	r.pos, r.end = 0, 0
	r.Idle()
	r.src, r.err, r.large = src, nil, false
	r.socket, _ = src.(Socket)
}

// Buffered gives the number of bytes that are read and not consumed.
func (r *Reader) Buffered() int { return r.end - r.pos }

// HasLine reports whether a whole line is buffered, so that the next ReadLine
// does not block.
func (r *Reader) HasLine() bool {
	return bytes.IndexByte(r.buf[r.pos:r.end], '\n') >= 0
}

// Idle gives an empty buffer back to the pool. A session calls it before it
// waits for something else than its client. Slices handed out are invalid
// after it.
func (r *Reader) Idle() {
	if r.pos != r.end || r.buf == nil {
		return
	}
	r.swap(nil)
	r.pos, r.end = 0, 0
}

// swap takes b, which may be nil, in place of the buffer.
func (r *Reader) swap(b []byte) {
	if len(r.buf) == largeBuffer {
		largeOut.Add(-1)
	}
	if len(b) == largeBuffer {
		largeOut.Add(1)
	}
	putBuffer(r.buf)
	r.buf = b
}

// Room gives where a Socket reads to. It is not empty.
func (r *Reader) Room() []byte {
	if r.end == len(r.buf) || r.data && r.large {
		_ = r.makeRoom(r.data) // was there, or Park has left some
	}
	return r.buf[r.end:]
}

// Park gives up what memory can be spared while a Socket waits: all of it, or
// all but the beginning of a line.
func (r *Reader) Park() {
	rest := r.buf[r.pos:r.end]
	switch {
	case len(rest) == 0:
		r.Idle()
	case len(r.buf) == largeBuffer && len(rest) < smallBuffer/2:
		small := getBuffer(smallBuffer)
		n := copy(small, rest)
		r.swap(small)
		r.pos, r.end = 0, n
	}
}

// ReadLine gives the next command line without its CR LF, valid until the
// next call of any method that reads. max is the longest line allowed, in
// octets without CR LF. The errors are those of the stream (io.EOF only
// between two lines, else io.ErrUnexpectedEOF), ErrLineTooLong, ErrBareCR,
// ErrBareLF and ErrNUL; after the last three the next line can be read.
func (r *Reader) ReadLine(max int) ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(r.buf[r.pos+scanned:r.end], '\n'); i >= 0 {
			return r.takeLine(r.pos+scanned+i, max)
		}
		scanned = r.end - r.pos
		// A line of max octets has its LF at max+1.
		if scanned >= max+2 {
			return nil, ErrLineTooLong
		}
		if err := r.fill(false); err != nil {
			return nil, err
		}
	}
}

// takeLine checks and consumes the line that ends with the LF at lf.
func (r *Reader) takeLine(lf, max int) ([]byte, error) {
	line := r.buf[r.pos:lf]
	crlf := len(line) > 0 && line[len(line)-1] == '\r'
	if crlf {
		line = line[:len(line)-1]
	}
	if len(line) > max {
		return nil, ErrLineTooLong
	}
	r.pos = lf + 1
	switch {
	case !crlf:
		return nil, ErrBareLF
	case bytes.IndexByte(line, '\r') >= 0:
		return nil, ErrBareCR
	case bytes.IndexByte(line, 0) >= 0:
		return nil, ErrNUL
	}
	return line, nil
}

// SkipLine drops what is left of a line after ErrLineTooLong: everything up to
// and with its LF, but at most limit octets. It reports whether the line ended
// within them.
func (r *Reader) SkipLine(limit int) (ended bool, err error) {
	for limit > 0 {
		if r.pos == r.end {
			if err := r.fill(false); err != nil {
				return false, err
			}
		}
		part := r.buf[r.pos:min(r.end, r.pos+limit)]
		if i := bytes.IndexByte(part, '\n'); i >= 0 {
			r.pos += i + 1
			return true, nil
		}
		r.pos += len(part)
		limit -= len(part)
	}
	return false, nil
}

// Discard drops the next n octets, those of a BDAT chunk that was refused
// (RFC 3030 s2: they must be read even then).
func (r *Reader) Discard(n int64) error {
	for n > 0 {
		if r.pos == r.end {
			if err := r.fill(true); err != nil {
				return inReply(err, true)
			}
		}
		part := min(n, int64(r.end-r.pos))
		r.pos += int(part)
		n -= part
	}
	return nil
}

// fill reads once and adds at least one byte to the buffer, or gives an
// error. With data set it goes over to large buffers as soon as reads fill
// small ones. A full large buffer is ErrLineTooLong.
func (r *Reader) fill(data bool) error {
	if r.err != nil {
		return inReply(r.err, r.pos != r.end)
	}
	r.data = data
	if err := r.makeRoom(data); err != nil {
		return err
	}
	for range maxEmptyReads {
		n, err := r.read()
		r.end += n
		r.large = data && (r.end == len(r.buf) || n >= smallBuffer)
		if err != nil {
			r.err = err
			if n == 0 {
				return inReply(err, r.pos != r.end)
			}
		}
		if n > 0 {
			return nil
		}
	}
	return io.ErrNoProgress
}

func (r *Reader) read() (int, error) {
	if r.socket != nil {
		return r.socket.ReadTo(r)
	}
	return r.src.Read(r.buf[r.end:])
}

// maxEmptyReads is how often a stream may give neither bytes nor an error.
const maxEmptyReads = 100

// makeRoom sees to it that buf[end:] is not empty.
func (r *Reader) makeRoom(data bool) error {
	if r.pos == r.end {
		r.pos, r.end = 0, 0
		if len(r.buf) != r.wanted(data) {
			r.Idle()
		}
		if r.buf == nil {
			r.swap(getBuffer(r.wanted(data)))
		}
		return nil
	}
	full := r.end == len(r.buf)
	grow := len(r.buf) == smallBuffer && r.wanted(data) == largeBuffer
	if !full && !grow && !(data && r.large) {
		return nil
	}
	rest := r.buf[r.pos:r.end]
	switch {
	case grow, full && r.pos == 0 && len(r.buf) == smallBuffer:
		// More comes than fits, or the line does not.
		big := getBuffer(largeBuffer)
		copy(big, rest)
		r.swap(big)
	case r.pos > 0:
		copy(r.buf, rest)
	case full:
		return ErrLineTooLong
	}
	r.pos, r.end = 0, len(rest)
	return nil
}

// wanted gives the size of the buffer that is right for what comes next.
func (r *Reader) wanted(data bool) int {
	if data && r.large && (len(r.buf) == largeBuffer || largeOut.Load() < maxLarge) {
		return largeBuffer
	}
	return smallBuffer
}

func getBuffer(size int) []byte {
	if size == largeBuffer {
		return largePool.Get().(*[largeBuffer]byte)[:]
	}
	return smallPool.Get().(*[smallBuffer]byte)[:]
}

// putBuffer gives a whole buffer back; its length is that of its pool.
func putBuffer(b []byte) {
	switch len(b) {
	case smallBuffer:
		smallPool.Put((*[smallBuffer]byte)(b))
	case largeBuffer:
		largePool.Put((*[largeBuffer]byte)(b))
	}
}
