// Package filter runs the filters: it starts their processes, asks them,
// carries reports and messages through them, and answers for those that fail.
//
// One Host runs all processes of a configuration. A listener's filter or
// chain is a Chain; each SMTP session opens a Session on it. A filter's fault
// (exit, garbage, silence) ends in a Verdict with Err set, never in the
// server; the process is ended and started again with growing pauses. The
// package knows nothing of SMTP syntax: arguments and texts pass unread.
package filter

import (
	"io"

	"github.com/weirmail/weir/internal/filterwire"
)

// Verdict is what a chain says to one question.
type Verdict struct {
	// Decision is Proceed, Junk, Reject, Disconnect, Rewrite or Bypass (once,
	// where it is decided; later questions get Proceed). A filter's Report never ends up here: it becomes an event and the chain
	// goes on.
	Decision filterwire.Decision
	Param    string // Reject, Disconnect: reply text as the filter gave it, unchecked; Rewrite: new argument
	Filter   string // name of the filter that decided, "" if all proceeded

	// Err is set if somebody did not answer. If a filter failed, Filter names
	// it, Err is a *Fault and Decision is what the filter's policy says: Reject
	// with a 451 4.7.1 or 550 5.7.1 text, or Proceed if it was passed over
	// (always at rset, noop and quit, on which no mail depends) and nobody else
	// objected. If the caller's context ended, Err is its cause. If the writer
	// behind a message failed, Filter is empty and Err wraps its error. Both
	// come with Reject and a 451 4.3.0 text.
	Err error

	// Hold, at commit, says why the message is to wait in the queue until
	// somebody releases it; "" if it need not.
	Hold string

	// Before, at commit, is set if what came out of the chain is void, because
	// filters have failed since: it writes the message as it was before them,
	// in the form in which Session.Message's writer got it. It is called once
	// at most, and before the next call of the Session.
	Before func(io.Writer) error
}
