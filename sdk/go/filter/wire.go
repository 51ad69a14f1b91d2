package filter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// errLine is the cause of every complaint about a line of the server.
var errLine = errors.New("the server broke the protocol")

func lineError(line []byte, want string) error {
	const shown = 200
	if len(line) > shown {
		line = line[:shown]
	}
	return fmt.Errorf("filter: %w: want %s, got %q", errLine, want, line)
}

// request is one line "filter|..." or "report|...", cut up. Its slices are
// parts of the line.
type request struct {
	report  bool
	version []byte
	time    []byte
	name    []byte // phase or event
	session []byte
	token   []byte // of a question
	rest    []byte // all that follows, separators and all
}

const (
	wantFilter = "filter|VERSION|TIME|smtp-in|PHASE|SESSION|TOKEN|ARGUMENT"
	wantReport = "report|VERSION|TIME|smtp-in|EVENT|SESSION"
)

// parseRequest cuts up a line that follows the handshake. It gives false for
// a kind of line that it does not know: later versions may have some.
func parseRequest(line []byte) (r request, known bool, err error) {
	want := wantFilter
	switch {
	case bytes.HasPrefix(line, []byte("filter|")):
	case bytes.HasPrefix(line, []byte("report|")):
		r.report = true
		want = wantReport
	default:
		return r, false, nil
	}
	rest := line[len("filter|"):]
	var ok [5]bool
	r.version, rest, ok[0] = bytes.Cut(rest, []byte{'|'})
	r.time, rest, ok[1] = bytes.Cut(rest, []byte{'|'})
	_, rest, ok[2] = bytes.Cut(rest, []byte{'|'}) // subsystem: only smtp-in is registered
	r.name, rest, ok[3] = bytes.Cut(rest, []byte{'|'})
	r.session, rest, ok[4] = bytes.Cut(rest, []byte{'|'})
	if r.report {
		ok[4] = true // link-disconnect ends after the session
	} else {
		r.token, rest, _ = bytes.Cut(rest, []byte{'|'})
	}
	r.rest = rest
	for _, o := range ok {
		if !o {
			return r, true, lineError(line, want)
		}
	}
	if !r.report && len(r.token) == 0 {
		return r, true, lineError(line, want)
	}
	return r, true, nil
}

// parseID reads the hex digits of a session id.
func parseID(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 16 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | uint64(c)
	}
	return n, true
}

// appendDataLine appends one line of a message, escaped, behind its head.
func appendDataLine(dst, head, line []byte) []byte {
	dst = append(dst, head...)
	if len(line) > 0 && line[0] == '.' { // RFC 5321 s4.5.2
		dst = append(dst, '.')
	}
	dst = append(dst, line...)
	return append(dst, '\n')
}

// hostOf gives the address of "addr:port", "[v6]:port" or "[v6]", and "local"
// for a unix socket.
func hostOf(endpoint string) string {
	if strings.HasPrefix(endpoint, "unix:") {
		return "local"
	}
	if strings.HasPrefix(endpoint, "[") {
		host, _, _ := strings.Cut(endpoint[1:], "]")
		return host
	}
	if strings.Count(endpoint, ":") == 1 {
		endpoint, _, _ = strings.Cut(endpoint, ":")
	}
	return endpoint
}
