package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Bounds of ReadReply, used where a ReplyLimits leaves them at zero. RFC 5321
// s4.5.3.1.5 allows 512 octets a line; servers are known that send more.
const (
	DefaultReplyLine  = 4096 // octets of one line, without its line end
	DefaultReplyLines = 128  // lines of one reply
)

// ReplyLimits bounds what ReadReply takes from a server.
type ReplyLimits struct {
	Line  int // octets of one line, without its line end; 0: DefaultReplyLine
	Lines int // lines of one reply; 0: DefaultReplyLines
}

// ErrServerReply is what ReadReply wraps when the server does not speak SMTP.
// The connection is of no use after it.
var ErrServerReply = errors.New("server broke the SMTP protocol")

// ReadReply reads one reply of a server (RFC 5321 s4.2). A line may end in LF
// alone, as some servers do it: nothing follows from where a reply's line
// ends, other than for a command. Control bytes in texts become "?". The
// error is that of r, io.ErrUnexpectedEOF inside a reply, or wraps
// ErrServerReply.
func ReadReply(r *bufio.Reader, lim ReplyLimits) (Reply, error) {
	if lim.Line == 0 {
		lim.Line = DefaultReplyLine
	}
	if lim.Lines == 0 {
		lim.Lines = DefaultReplyLines
	}
	var rep Reply
	for {
		line, err := readServerLine(r, lim.Line)
		if err != nil {
			return Reply{}, inReply(err, rep.code != 0)
		}
		more, err := rep.addServerLine(line)
		if err != nil {
			return Reply{}, err
		}
		if !more {
			return rep, nil
		}
		if len(rep.lines) >= lim.Lines {
			return Reply{}, fmt.Errorf("%w: a reply of more than %d lines", ErrServerReply, lim.Lines)
		}
	}
}

// addServerLine adds one line to the reply that is being read and reports
// whether another one follows.
func (r *Reply) addServerLine(line []byte) (more bool, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return false, fmt.Errorf("%w: reply line %q has no code", ErrServerReply, clip(line))
	}
	code := digits(string(line[:3]))
	if r.code != 0 && code != r.code {
		return false, fmt.Errorf("%w: code %d within a reply %d", ErrServerReply, code, r.code)
	}
	text := ""
	if len(line) > 3 { // RFC 5321 s4.2: a client accepts a code without text
		if line[3] != ' ' && line[3] != '-' {
			return false, fmt.Errorf("%w: reply line %q has neither space nor hyphen after the code", ErrServerReply, clip(line))
		}
		more = line[3] == '-'
		text = printable(line[4:])
	}
	enhanced, rest := cutEnhanced(text, line[0])
	if validEnhanced(text, line[0]) { // nothing behind it
		enhanced, rest = text, ""
	}
	switch {
	case r.code == 0:
		r.code, r.enhanced = code, enhanced
		text = rest
	case enhanced != "" && enhanced == r.enhanced:
		text = rest
	}
	r.lines = append(r.lines, text)
	return more, nil
}

// readServerLine gives one line without its line end, valid until the next
// read of r.
func readServerLine(r *bufio.Reader, max int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, inReply(err, len(line) > 0)
	}
	if err != nil {
		// The buffer of r is smaller than the line.
		line = append([]byte(nil), line...)
		for err != nil {
			if len(line) > max+2 {
				break
			}
			var part []byte
			part, err = r.ReadSlice('\n')
			line = append(line, part...)
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return nil, inReply(err, true)
			}
		}
	}
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		n--
	}
	if n > 0 && line[n-1] == '\r' {
		n--
	}
	if n > max {
		return nil, fmt.Errorf("%w: a reply line of more than %d octets", ErrServerReply, max)
	}
	return line[:n], nil
}

// inReply turns the end of the stream within a line into an error of its own.
func inReply(err error, begun bool) error {
	if begun && errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// printable gives b with every control byte replaced by "?". It works on a
// copy made byte by byte: the text need not be UTF-8.
func printable(b []byte) string {
	s := string(b)
	if controlByte(s) < 0 {
		return s
	}
	out := []byte(s)
	for i, c := range out {
		if c < ' ' && c != '\t' || c == 0x7f {
			out[i] = '?'
		}
	}
	return string(out)
}

// clip shortens what a peer sent for an error text.
func clip(b []byte) []byte {
	if len(b) > 80 {
		return b[:80]
	}
	return b
}
