package filter

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
)

// The ways in which a filter fails that are no wrong line. A Fault wraps one.
var (
	// ErrTimeout: no answer, or a full pipe, for the filter's time limit.
	ErrTimeout = errors.New("did not answer in time")
	// ErrExited: the process ended or closed its standard output.
	ErrExited = errors.New("process ended")
	// ErrDown: there is no process to ask, or none that has heard of the
	// transaction from its beginning.
	ErrDown = errors.New("is not running")
	// ErrTooLarge: the filter wrote more for one message than Options.MaxMessage.
	ErrTooLarge = errors.New("wrote too much for one message")
	// ErrPaused: an operator keeps it from being asked.
	ErrPaused = errors.New("is paused")
	// ErrReplaced: an operator had it started again, and the transaction was
	// not over when the old process had to go.
	ErrReplaced = errors.New("was started again")
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
	// timeout is for the start, for an answer, for room in the pipe, and from
	// the end of a message to the filter's own end of it.
	timeout   time.Duration
	onFailure config.OnFailure
}

// passesOver reports whether the chain goes on without a filter that failed at
// phase.
//
// RSET, NOOP and QUIT always go on: no mail depends on them, RFC 5321
// s4.1.1.10 lets QUIT always succeed, and a client that cannot leave hangs.
func (p policy) passesOver(phase filterwire.Phase) bool {
	switch phase {
	case filterwire.Rset, filterwire.Noop, filterwire.Quit:
		return true
	}
	return p.onFailure == config.Accept || p.onFailure == config.Hold
}

// verdict is what a question that filter name did not answer counts as. The
// client is told which filter, and in which session the log has more.
func (p policy) verdict(name string, phase filterwire.Phase, f *Fault) Verdict {
	v := Verdict{Decision: filterwire.Reject, Filter: name, Err: f}
	switch {
	case p.passesOver(phase):
		v.Decision = filterwire.Proceed
	case p.onFailure == config.Reject:
		v.Param = fmt.Sprintf("550 5.7.1 Filter %s failed in session %v", replyName(name), f.Session)
	default:
		v.Param = fmt.Sprintf("451 4.7.1 Filter %s failed in session %v, try again later", replyName(name), f.Session)
	}
	return v
}

// maxReplyName is how much of a filter's name a reply shows, in bytes.
const maxReplyName = 64

// replyName makes name fit for a reply: RFC 5321 s4.2 has printable ASCII.
func replyName(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name[:min(len(name), maxReplyName)])
}

// ofTransaction reports whether a question at phase is about a transaction. A
// filter that failed one has failed it to its end.
func ofTransaction(phase filterwire.Phase) bool {
	switch phase {
	case filterwire.MailFrom, filterwire.RcptTo, filterwire.Data, filterwire.DataLine, filterwire.Commit:
		return true
	}
	return false
}

// shellSays gives what a shell means by the exit status of a program that never
// was ready.
func (p *process) shellSays() string {
	select {
	case <-p.ready:
		return ""
	default:
	}
	switch p.status {
	case "exit status 126":
		return " (its program cannot be run)"
	case "exit status 127":
		return " (its program was not found)"
	}
	return ""
}
