// Package mail is the vocabulary of mail that every stage speaks: addresses,
// identifiers, messages and envelopes.
//
// It holds values only. It does not read or write files, sockets or SMTP
// syntax (package smtp does the latter) and knows nothing of the queue.
package mail

import (
	"fmt"
	"time"
)

// Address is a mailbox as it stands between the angle brackets of a path
// (RFC 5321 s4.1.2), without source route and parameters. The zero value is
// the null reverse-path. Domain is empty where the client gave a local part
// only (RFC 5321 s4.5.1 allows it for postmaster; smtpd.conf(5) for anyone).
// Both parts keep the bytes that the client sent, case included.
type Address struct {
	Local  string
	Domain string
}

// IsNull reports whether a is the null reverse-path, "<>".
func (a Address) IsNull() bool { return a == Address{} }

// String gives "local@domain", "local" without a domain, and "" for the null
// reverse-path.
func (a Address) String() string {
	if a.Domain == "" {
		return a.Local
	}
	return a.Local + "@" + a.Domain
}

// SessionID names one SMTP session; 16 hex digits on the wire.
type SessionID uint64

// String gives the 16 lower-case hex digits that replies, reports and logs show.
func (id SessionID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// MessageID names one message of the queue; 8 hex digits. Zero is no message.
type MessageID uint32

// String gives the 8 lower-case hex digits that replies, reports and logs show.
func (id MessageID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

// EnvelopeID names one envelope; its upper half is the message's id.
type EnvelopeID uint64

// String gives the 16 lower-case hex digits that reports and logs show.
func (id EnvelopeID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Message gives the id of the message that the envelope belongs to.
func (id EnvelopeID) Message() MessageID { return MessageID(id >> 32) }

// NewEnvelopeID joins a message's id and a number that is unique within it.
func NewEnvelopeID(m MessageID, n uint32) EnvelopeID {
	return EnvelopeID(uint64(m)<<32 | uint64(n))
}

// Message is what all envelopes of one transaction share. Its body is not in
// it: the queue hands that out as a stream.
type Message struct {
	ID       MessageID
	Sender   Address   // reverse-path; null for bounces
	Size     int64     // bytes of the body as stored, line ends counted as one LF
	Received time.Time // when the transaction was accepted
	Session  SessionID // session that brought it; 0 for messages of our own (bounces)
	Helo     string    // name that the client gave in HELO or EHLO
	Source   string    // client address without port, "local" for the socket
	Rdns     string    // name of the client's address, "" if none
	Junk     bool      // a filter marked it at commit; "X-Spam: Yes" goes on top of the body
	AuthUser string    // user that authenticated, "" if none
	Tag      string    // tag of the listener
	EightBit bool      // BODY=8BITMIME was declared (RFC 6152)
	UTF8     bool      // SMTPUTF8 was declared (RFC 6531)
	Ret      Ret       // RET parameter (RFC 3461 s4.3)
	EnvID    string    // ENVID parameter, still in xtext (RFC 3461 s4.4)
}

// Ret says how much of a message a delivery report returns (RFC 3461 s4.3).
type Ret uint8

// The values of the RET parameter.
const (
	RetUnset Ret = iota
	RetFull
	RetHdrs
)

// Notify is the set of conditions under which a recipient's sender wants to
// hear of it (RFC 3461 s4.1). Zero means that nothing was said.
type Notify uint8

// The values of the NOTIFY parameter; Never excludes all others.
const (
	NotifySuccess Notify = 1 << iota
	NotifyFailure
	NotifyDelay
	NotifyNever
)

// Envelope is one copy of a message on its way to one destination.
type Envelope struct {
	ID     EnvelopeID
	Rcpt   Address // forward-path as accepted from the client
	Dest   Address // address after aliases and virtual tables; for a relay, where it goes
	Action string  // name of the action in the configuration; looked up at each attempt
	Local  Local   // set where a local user, file or command receives the copy
	Notify Notify  // NOTIFY parameter (RFC 3461 s4.1)
	ORcpt  string  // ORCPT parameter, still in xtext (RFC 3461 s4.2)

	Expires  time.Time // no attempt begins after this
	Next     time.Time // when the next attempt is due
	Attempts int       // attempts made so far
	Warned   int       // how many delay warnings its sender has had
	LastErr  string    // what the last attempt ended with, "" if none
	Held     bool      // suspended: attempts wait until somebody releases it
}

// Local says who receives an envelope on this machine. The zero value is
// nobody: the envelope is relayed.
type Local struct {
	User    string // user whose rights and home directory apply
	File    string // absolute path of an mbox, from an alias "/path" or .forward
	Command string // command, from an alias "|command" or .forward
}
