// Package rehearse runs filters without a server: it plays sessions to one
// and says what it did wrong.
//
// Check plays scenes to a filter, those of protocol/transcripts and odder ones
// of its own, and names every breach of protocol/FILTER.md. Replay plays one
// recording and compares the answers with those recorded. NewFilter writes
// the beginning of a filter.
//
// The judge, the scenes, the comparison and the diagnosis of lines are pure;
// only a process and its player touch the system. What a filter decides is
// its own affair: it is judged by the protocol alone. It is not package
// mailflow/filter: that one serves mail and gives up on a filter at its first
// fault, this one wants to know which fault it was.
package rehearse

import (
	"errors"
	"io"
	"time"
)

// The limits of Options that are zero.
const (
	// DefaultTimeout is how long a filter may take for an answer. A server
	// allows more; this is enough for two questions to a silent name server.
	DefaultTimeout = 15 * time.Second
	// DefaultStartTimeout is how long it may take to say register|ready.
	DefaultStartTimeout = 20 * time.Second
)

// ErrNotRun is in the error of a filter that could not be started at all: it
// was never there, so nothing is said about it.
var ErrNotRun = errors.New("cannot run the filter")

// Options say how a filter is run.
type Options struct {
	Argv         []string      // the program and its arguments
	Dir          string        // its working directory, "" for the caller's
	Env          []string      // its environment, nil for the caller's
	Timeout      time.Duration // for an answer, for room in its pipe, for its end
	StartTimeout time.Duration // until register|ready
	Log          io.Writer     // gets what it writes to standard error; nil keeps the end of it alone
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.StartTimeout <= 0 {
		o.StartTimeout = max(DefaultStartTimeout, o.Timeout)
	}
	return o
}
