package session

import (
	"context"
	"io"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/trace"
)

// OpenFilters makes the filters' view of a new session. The session fills f
// in as the client speaks.
type OpenFilters func(id mail.SessionID, f *routing.Facts) Filters

// Filters are the filters of one session's listener. All methods are called
// by the session's goroutine.
type Filters interface {
	trace.Sink // reports

	// Flush lets go the reports that still wait for something to leave with.
	Flush()

	// Ask gives the chain's verdict on one question. It returns when ctx ends.
	Ask(ctx context.Context, phase filterwire.Phase, arg string) filter.Verdict

	// Message begins to carry a message through the filters that want its
	// lines; nil if none does. What they return is written to out, by another
	// goroutine, until Finish or Abort has returned. It fails when ctx ends.
	Message(ctx context.Context, out io.Writer) MessageFilter

	// SetMessageSize tells the size of the message that commit is asked for.
	SetMessageSize(n int64)

	// Close ends the view; nothing is called after it.
	Close()
}

// MessageFilter carries one message through filters. Lines are dot-escaped
// and each ends in LF.
type MessageFilter interface {
	// Write hands in whole lines; it waits while the filters are behind.
	io.Writer
	// Finish says that the message is over and waits for the rest of it.
	Finish(ctx context.Context) filter.Verdict
	// Abort gives the message up.
	Abort()
}

// Router decides where a recipient's mail goes.
type Router interface {
	Route(ctx context.Context, f *routing.Facts) routing.Result
}

// Queue takes messages in.
type Queue interface {
	// NewID gives an id that no other message of this queue has.
	NewID() (mail.MessageID, error)
	// Spool begins to take a message's body.
	Spool(id mail.MessageID) (Spool, error)
}

// Spool takes one body. Exactly one of Commit and Discard ends it; Discard
// after either does nothing.
type Spool interface {
	io.Writer
	// Size gives the bytes written so far.
	Size() int64
	// Commit makes message and envelopes durable; nil means that they would
	// survive a crash.
	Commit(ctx context.Context, m *mail.Message, envelopes []mail.Envelope) error
	Discard()
}
