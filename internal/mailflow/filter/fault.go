package filter

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
)

// The ways in which a filter fails that are no wrong line. A Fault wraps one.
var (
	// ErrTimeout: no answer, or a full pipe, for Options.AnswerTimeout.
	ErrTimeout = errors.New("did not answer in time")
	// ErrExited: the process ended or closed its standard output.
	ErrExited = errors.New("process ended")
	// ErrDown: there is no process to ask, or none that has heard of the
	// transaction from its beginning.
	ErrDown = errors.New("is not running")
	// ErrTooLarge: the filter wrote more for one message than Options.MaxMessage.
	ErrTooLarge = errors.New("wrote too much for one message")
)

// Fault is what a filter did wrong. It is private: a client is told which
// filter failed and no more.
type Fault struct {
	Filter  string
	Phase   string         // phase that was asked, "" if none
	Session mail.SessionID // session that was served, 0 if none
	Cause   error          // a *filterwire.ProtocolError or one of the errors above
}

// Error gives filter, phase and cause in one line.
func (f *Fault) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "filter %s", f.Filter)
	if f.Phase != "" {
		fmt.Fprintf(&b, " at %s", f.Phase)
	}
	fmt.Fprintf(&b, ": %v", f.Cause)
	return b.String()
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Cause }

// line gives the offending line, "" if the fault is none.
func (f *Fault) line() string {
	var pe *filterwire.ProtocolError
	if errors.As(f.Cause, &pe) {
		return pe.Line
	}
	return ""
}

// policy says what a filter's fault means to those who wait for it. Every
// fault becomes a Verdict here and nowhere else.
type policy struct {
	timeout time.Duration // for an answer, for room in the pipe, for the end of a message
}

// verdict is what a question that filter name did not answer counts as.
//
// RSET, NOOP and QUIT go on: no mail depends on them, RFC 5321 s4.1.1.10 lets
// QUIT always succeed, and a client that cannot leave hangs.
func (p policy) verdict(name string, phase filterwire.Phase, err error) Verdict {
	switch phase {
	case filterwire.Rset, filterwire.Noop, filterwire.Quit:
		return Verdict{Decision: filterwire.Proceed, Filter: name, Err: err}
	}
	return Verdict{
		Decision: filterwire.Reject,
		Param:    "451 4.7.1 Filter " + name + " failed, try again later",
		Filter:   name,
		Err:      err,
	}
}
