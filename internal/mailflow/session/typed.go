package session

import (
	"bytes"
	"io"
)

// typedLines lets people type into a listener that has bare-lf: nc and the
// like end lines with LF alone. The first line that a client sends decides. If
// that ended with LF alone, so must all others, and each LF becomes CR LF
// here; a CR is then the fault that a bare LF is elsewhere. A client that
// began with CR LF, as every mail server does, is held to it. So nobody can
// bring one kind of line end into a session of the other kind, which is what
// smuggling needs.
type typedLines struct {
	src     io.Reader
	decided bool
	lf      bool   // lines end with LF alone
	rest    []byte // expanded, not handed out yet
}

// Read reads from the source; LF becomes CR LF where the session is of that kind.
func (t *typedLines) Read(p []byte) (int, error) {
	if len(t.rest) > 0 {
		n := copy(p, t.rest)
		t.rest = t.rest[n:]
		return n, nil
	}
	n, err := t.src.Read(p)
	if !t.decided {
		t.decide(p[:n])
	}
	if !t.lf || n == 0 {
		return n, err
	}
	t.rest = bytes.ReplaceAll(p[:n], []byte("\n"), []byte("\r\n"))
	n = copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, err
}

// isTyped reports whether the session's lines end with LF alone.
func (s *Session) isTyped() bool { return s.typed != nil && s.typed.lf }

// decide looks for the end of the first line. A CR before it, wherever a read
// was cut, makes the session one of CR LF.
func (t *typedLines) decide(p []byte) {
	lf, cr := bytes.IndexByte(p, '\n'), bytes.IndexByte(p, '\r')
	switch {
	case cr >= 0 && (lf < 0 || cr < lf):
		t.decided = true
	case lf >= 0:
		t.decided, t.lf = true, true
	}
}
