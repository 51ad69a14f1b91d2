// Package trace tells each event of the mail's way once (docs/decisions, D9).
//
// A stage that does something worth knowing builds an Event and gives it to
// its Sink. Everything that wants to know reads the same events: the report
// stream to filters, the log, metrics, recordings. The package holds the
// events and their readers that need nothing else; it never decides anything.
package trace

import (
	"slices"
	"time"

	"github.com/weirmail/weir/internal/mail"
)

// Kind says what happened. The names of the first group are those of the
// report events of smtpd-filters(7).
type Kind uint8

// The events. The comment names the fields of Event that are set besides
// Time and Session.
const (
	LinkConnect    Kind = iota + 1 // Rdns, Fcrdns, Src, Dest
	LinkGreeting                   // Text: host name of the banner
	LinkIdentify                   // Method: HELO or EHLO; Text: name given
	LinkTLS                        // Text: version:cipher:bits
	LinkAuth                       // Result: pass, fail, error; User
	LinkDisconnect                 // nothing more
	TxReset                        // Message
	TxBegin                        // Message
	TxMail                         // Message, Result, Text: address as given; Addr: as it counts (rewritten)
	TxRcpt                         // Message, Result, Text: address as given; Addr: as it counts (rewritten)
	TxEnvelope                     // Message, Envelope
	TxData                         // Message, Result
	TxCommit                       // Message, Size
	TxRollback                     // Message
	ProtocolClient                 // Text: command line, credentials masked
	ProtocolServer                 // Text: one reply line
	FilterReport                   // Method: builtin or proc; Filter; Text
	FilterResponse                 // Phase (as in the report), Result: decision, Text: parameter
	Timeout                        // nothing more

	// Events that no filter is told of.
	Accepted       // Message, Size, Addr: sender, Count: recipients; queued durably
	Refused        // Phase, Text: reply; Filter if one decided; Cause
	FilterFailed   // Filter, Phase, Cause: a filter's fault, Text: offending line
	FilterState    // Filter, Result: started, ready, exited, restarting; Text
	DeliveryResult // Message, Envelope, Addr: destination, Result: delivered, deferred, failed, expired; Text: answer; Filter: action; Dest: host
	BounceSent     // Message: of the bounce, Envelope: what it reports
)

// Event is one thing that happened. Which fields are set depends on Kind.
// A Sink that keeps an Event copies it: the pointer is reused.
type Event struct {
	Kind     Kind
	Time     time.Time
	Session  mail.SessionID
	Message  mail.MessageID
	Envelope mail.EnvelopeID
	Addr     mail.Address
	Size     int64
	Count    int

	Phase  string // filter phase, in the spelling of the event
	Result string // ok, permfail, tempfail; pass, fail, error; a decision; a state
	Method string // HELO, EHLO; builtin, proc
	Text   string // address, reply line, command line, name: see Kind
	User   string
	Rdns   string
	Fcrdns string // pass, fail, error
	Src    string // addr:port or unix:/path
	Dest   string
	Filter string
	Cause  error // private; never shown to a peer
}

// Sink receives events. Event is called by the goroutine to which it happens,
// in order for one session; a Sink that serves several sessions is safe for
// concurrent use. It does not keep e.
type Sink interface {
	Event(e *Event)
}

// Reader is a Sink that does not look at every kind of event. Telling it of one
// that it does not read does no harm; a text that nobody would read need not be
// made.
type Reader interface {
	Sink
	// Reads reports whether events of kind k make a difference.
	Reads(k Kind) bool
}

// Reads reports whether s looks at events of kind k.
func Reads(s Sink, k Kind) bool {
	r, ok := s.(Reader)
	return !ok || r.Reads(k)
}

// Discard is a Sink that ignores everything.
var Discard Sink = discard{}

type discard struct{}

func (discard) Event(*Event)    {}
func (discard) Reads(Kind) bool { return false }

// Tee gives a Sink that tells each of sinks in order. Nil sinks are left out.
func Tee(sinks ...Sink) Sink {
	var t tee
	for _, s := range sinks {
		if s != nil && s != Discard {
			t = append(t, s)
		}
	}
	switch len(t) {
	case 0:
		return Discard
	case 1:
		return t[0]
	}
	return t
}

type tee []Sink

func (t tee) Event(e *Event) {
	for _, s := range t {
		s.Event(e)
	}
}

func (t tee) Reads(k Kind) bool {
	return slices.ContainsFunc(t, func(s Sink) bool { return Reads(s, k) })
}
