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
	"github.com/weirmail/weir/internal/filterwire"
)

// Verdict is what a chain says to one question.
type Verdict struct {
	// Decision is Proceed, Junk, Reject, Disconnect, Rewrite or Bypass. A
	// filter's Report never ends up here: it becomes an event and the chain
	// goes on.
	Decision filterwire.Decision
	Param    string // Reject, Disconnect: reply text as the filter gave it, unchecked; Rewrite: new argument
	Filter   string // name of the filter that decided, "" if all proceeded

	// Err is set if a filter failed to answer (Filter names it): Decision is
	// then what its policy says, today always Reject with a 451 4.7.1 text.
	Err error
}
