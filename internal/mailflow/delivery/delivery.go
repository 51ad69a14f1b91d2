// Package delivery carries mail out of the queue: to maildir and mbox, to
// commands, over LMTP and over SMTP to a relay.
//
// An attempt is told in a Job and ends with one Outcome for each envelope.
// The package keeps no mail: until an Outcome says Delivered and the queue has
// recorded it, the message is the queue's. It decides nothing about retries.
package delivery

import (
	"io"

	"github.com/weirmail/weir/internal/mail"
)

// Job is one attempt: a message, and those of its envelopes that go the same
// way and can share the attempt.
type Job struct {
	Message   *mail.Message
	Envelopes []*mail.Envelope

	// Open gives the body from its first byte, lines ended by LF alone. It may
	// be called more than once; each reader is closed by who opened it.
	Open func() (io.ReadCloser, error)
}

// Status is how an attempt ended for one envelope.
type Status uint8

// The ends of an attempt.
const (
	Delivered Status = iota + 1
	Deferred         // try again
	Failed           // will never succeed
)

// String gives the word that logs and listings show.
func (s Status) String() string {
	switch s {
	case Delivered:
		return "delivered"
	case Deferred:
		return "deferred"
	case Failed:
		return "failed"
	}
	return "?"
}

// Outcome is the end of an attempt for one envelope.
type Outcome struct {
	Status   Status
	Enhanced string // enhanced status code for delivery reports, "4.4.1" (RFC 3463)
	Text     string // what was answered, or what went wrong; one line
	Remote   string // host that answered, "" for local delivery
	DSN      bool   // Delivered: the next host takes over success reports (RFC 3461 s5.2.1)
}
