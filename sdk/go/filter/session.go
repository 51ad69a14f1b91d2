package filter

import (
	"strconv"
	"sync/atomic"
	"time"
)

// Session is one SMTP session. The package fills it in from the link reports,
// which it registers always, before it calls the handler of the same line;
// handlers may read it, goroutines of their own should copy what they need.
type Session struct {
	ID       string // 16 hex digits, as in the server's log
	Hostname string // name of the client's address, "<unknown>" without one
	FCrDNS   string // pass, fail or error: whether that name leads back
	Remote   string // client's address without port, "local" for the socket
	Local    string // our address without port, "local" for the socket
	Server   string // name that the server greeted with
	Helo     string // name that the client gave last
	TLS      string // version:cipher:bits, empty without TLS
	User     string // user that authenticated, empty without

	// Value is the program's own: whatever it wants to find again in the
	// session's next handler.
	Value any

	ended   atomic.Bool
	message *Message     // the one whose lines are coming, nil between messages
	last    *Message     // the one that Commit is asked about
	tx      *Transaction // of the easy level
}

// Question is something the server asks. It is answered once, by any
// goroutine, at any time; the session waits, others do not.
type Question struct {
	Session *Session
	Phase   Phase
	Arg     string // see the phases

	token    string
	out      *output
	answered atomic.Bool
}

// Answer gives the decision to the server. It panics if the question was
// answered already. If the session ended meanwhile it does nothing.
func (q *Question) Answer(d Decision) {
	if q.answered.Swap(true) {
		panic("filter: session " + q.Session.ID + ", " + string(q.Phase) + ": answered twice")
	}
	if q.Session.ended.Load() {
		return
	}
	buf := append(q.out.begin(), "filter-result|"...)
	buf = append(buf, q.Session.ID...)
	buf = append(buf, '|')
	buf = append(buf, q.token...)
	buf = append(buf, '|')
	switch d.word {
	case "":
		buf = append(buf, "proceed"...)
	case "junk":
		buf = append(buf, "junk"...)
	default:
		buf = append(buf, d.word...)
		buf = append(buf, '|')
		buf = append(buf, d.arg...)
	}
	q.out.end(append(buf, '\n'))
}

// Size gives the message's size in bytes. It is known at Commit if the Filter
// wanted MessageSize and the server offers it.
func (q *Question) Size() (int64, bool) {
	n, err := strconv.ParseInt(q.Arg, 10, 64)
	return n, err == nil && q.Phase == Commit
}

// Report is something that happened. Which fields are set depends on Event.
type Report struct {
	Session *Session
	Event   Event
	Time    time.Time // by the server's clock, to the microsecond
	Message string    // message id, 8 hex digits
	Result  string    // ok, permfail, tempfail; pass, fail, error
	Method  string    // HELO, EHLO; builtin, proc; a phase
	Text    string
}

// parseTime reads seconds, a dot and six digits of microseconds.
func parseTime(b []byte) time.Time {
	var n [2]int64
	part := 0
	for _, c := range b {
		switch {
		case c == '.' && part == 0:
			part = 1
		case c >= '0' && c <= '9':
			n[part] = n[part]*10 + int64(c-'0')
		default:
			return time.Time{}
		}
	}
	return time.Unix(n[0], n[1]*1000)
}
