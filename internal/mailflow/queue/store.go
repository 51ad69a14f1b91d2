package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/weirmail/weir/internal/mail"
)

// InlineBody is the size in bytes up to which a body is kept in memory while
// it arrives and is stored together with its message; larger ones stream to
// the store as they come.
const InlineBody = 64 << 10

// Errors that a Store gives and that callers tell apart with errors.Is.
var (
	// ErrNoSpace says that there is no room: disk full or quota reached.
	// Nothing was stored; the session answers 452.
	ErrNoSpace = errors.New("no space left for the queue")

	// ErrInDoubt says that nobody knows whether a change was stored: the
	// machine or the network failed in the middle of its commit.
	ErrInDoubt = errors.New("it is not known whether the change was stored")

	// ErrNotFound says that no such message or envelope is in the queue.
	ErrNotFound = errors.New("not in the queue")
)

// Store keeps messages, envelopes and bodies. It decides nothing: when an
// envelope is tried and what becomes of it is the Queue's business. All
// methods are safe for concurrent use. The suite in package storetest says
// the same as this comment, in code; every Store passes it.
//
// An envelope is in one of four states. It waits: Next is the time from which
// on Claim gives it out. It stands in line: it is due, but there is no room for
// it; ClaimLine gives it out when there is, and Claim from Line.Until on. It is
// claimed: one Queue, the one that was told so by Claim or that added it with
// New.Claimed, works on it, and nobody else gets it. It is held: nobody gets
// it until it is released.
//
// A claim has a fence, a number that grows from claim to claim of one
// envelope, and every part of a Change that ends a claim carries it. A claim
// lasts until such a Change, until Admin removes the envelope, or until the
// process that has it dies: the next one to open the store, or in a store of
// several machines the next one to look after the owner's lease ran out,
// finds the envelope waiting again. Renewing that lease is the Store's work.
type Store interface {
	// Reserve sets n numbers aside: First and those that follow it. They are
	// durably taken when Reserve returns and will not be given again, also
	// after a crash. The Key is random, made once, and always the same.
	Reserve(ctx context.Context, n int) (Block, error)

	// Create begins the body of a message that is too large for memory.
	Create(id mail.MessageID) (Body, error)

	// Open gives the body of a stored message from its first byte, or
	// ErrNotFound.
	Open(ctx context.Context, id mail.MessageID) (io.ReadCloser, error)

	// Apply makes a change durable: all of it when the result is nil, nothing
	// when it is an error, except that with ErrInDoubt it may be either. A
	// *LostError names claims of the change that are no longer held; the
	// caller leaves those out and applies the rest. Apply does not give up
	// when ctx ends once it has begun to write. Changes of several callers may
	// share one write; c is not kept after Apply returns.
	Apply(ctx context.Context, c *Change) error

	// Claim takes up to limit envelopes that wait and whose Next is not after now,
	// earliest first, and gives the time at which the next one is due: not
	// after now if there are more, zero if nothing waits.
	Claim(ctx context.Context, now time.Time, limit int) ([]Claimed, time.Time, error)

	// ClaimLine takes up to limit envelopes that stand in the line of that
	// name, earliest Next first. They stand in it no more.
	ClaimLine(ctx context.Context, name string, limit int) ([]Claimed, error)

	// Lines gives the names of the lines in which envelopes stand. It is asked
	// once, by who begins to work.
	Lines(ctx context.Context) ([]string, error)

	// List gives up to f.Max() envelopes, those of one message one after the
	// other. f.After continues where a page ended.
	List(ctx context.Context, f Filter) ([]Item, error)

	// Count counts the queue.
	Count(ctx context.Context) (Counts, error)

	// Admin does op to the envelopes that refs name, to all of them if refs is
	// nil, and says how many that were. See Op for what each does to claimed
	// envelopes.
	Admin(ctx context.Context, op Op, refs []Ref, now time.Time) (int, error)

	// Close lets changes under way end and frees what the Store holds. Claims
	// that are left end with it.
	Close() error
}

// Block is a range of numbers of messages, and the key that makes ids of them.
type Block struct {
	First uint64 // modulo 2^32
	Key   Key
}

// Body is a body on its way into a Store. Write may be called until Seal,
// which makes it durable; it belongs to the queue from the Change on that
// adds its message. Discard throws it away and is safe at any time and more
// than once: after that Change it does nothing. One goroutine at a time.
type Body interface {
	io.Writer
	Seal() error
	Discard()
}

// Change is what Apply does at once. A bounce is added by the change that
// drops the envelopes it reports, so that a crash neither loses nor doubles it.
type Change struct {
	Add   []New
	Done  []Claim    // envelopes that leave the queue; the message goes with its last one
	Defer []Deferral // envelopes that wait again
}

// New is a message that enters the queue with all of its envelopes.
type New struct {
	Message   *mail.Message
	Envelopes []mail.Envelope
	Inline    []byte // the body, unless Body is set; at most InlineBody bytes
	Body      Body   // sealed

	// Claimed says that the caller works on the envelopes at once; their
	// claims have fence 1. Held envelopes are not claimed.
	Claimed bool

	// Lines says for each of the envelopes where it stands in line; a zero
	// Line is none. Nil: nowhere. Held and claimed ones do not stand in line.
	Lines []Line
}

// Line is where an envelope waits for room instead of a time.
type Line struct {
	Name  string    // "": the envelope stands in none
	Until time.Time // from then on Claim gives it out, whether there is room or not
}

// Claim names a claimed envelope.
type Claim struct {
	ID    mail.EnvelopeID
	Fence uint64
}

// Deferral ends a claim: the envelope waits until Next, or in line if Line is
// set, or is held if somebody asked for that meanwhile.
type Deferral struct {
	Claim
	Next     time.Time
	Line     Line
	Attempts int
	Warned   int
	LastErr  string
}

// Claimed is an envelope given out by Claim. Envelopes of one message share
// Message.
type Claimed struct {
	Message  *mail.Message
	Envelope *mail.Envelope
	Fence    uint64
}

// LostError says which claims of a Change are not held any more: the envelope
// was removed, or somebody else has claimed it. Nothing was changed.
type LostError struct {
	IDs []mail.EnvelopeID
}

func (e *LostError) Error() string {
	return fmt.Sprintf("queue: %d claims are lost, the first is envelope %v", len(e.IDs), e.IDs[0])
}

// Ref names a message with all of its envelopes, or, if Envelope is not zero,
// that one envelope.
type Ref struct {
	Message  mail.MessageID
	Envelope mail.EnvelopeID
}

// ParseRef reads what a person types: the 8 hex digits of a message id or the
// 16 of an envelope id.
func ParseRef(s string) (Ref, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	switch {
	case err == nil && n != 0 && len(s) == 8:
		return Ref{Message: mail.MessageID(n)}, nil
	case err == nil && n>>32 != 0 && len(s) == 16:
		return Ref{Message: mail.EnvelopeID(n).Message(), Envelope: mail.EnvelopeID(n)}, nil
	}
	return Ref{}, fmt.Errorf("%q is neither a message id (8 hex digits) nor an envelope id (16)", s)
}

// String gives the digits that ParseRef reads.
func (r Ref) String() string {
	if r.Envelope != 0 {
		return r.Envelope.String()
	}
	return r.Message.String()
}

// Covers reports whether r names the envelope.
func (r Ref) Covers(id mail.EnvelopeID) bool {
	return r.Envelope == id || r.Envelope == 0 && r.Message == id.Message()
}

// Op is what Admin does.
type Op uint8

// The operations. They count the envelopes that they changed.
const (
	OpRemove  Op = iota + 1 // gone, without report; a claim on it is lost
	OpRetry                 // due now, unless held; those claimed or in line stay as they are, in line they count
	OpHold                  // held; a claimed one from the moment its claim ends without Done
	OpRelease               // no longer held; due now, and expires as if it had been received now; why it was held is forgotten
)

// Filter chooses what List gives. Zero fields choose everything.
type Filter struct {
	Ref   Ref    // only this message or envelope
	Held  bool   // only held ones
	After uint64 // only what comes after the Item with this Position
	Limit int    // at most so many; DefaultList if zero, at most MaxList
}

// The number of envelopes that one List gives.
const (
	DefaultList = 1000
	MaxList     = 10000
)

// Max gives the number of envelopes that List gives at most.
func (f Filter) Max() int {
	if f.Limit <= 0 {
		return DefaultList
	}
	return min(f.Limit, MaxList)
}

// Item is one line of a listing. Envelopes of one message that follow each
// other share Message.
type Item struct {
	Message  *mail.Message
	Envelope *mail.Envelope
	Claimed  bool   // being worked on, or about to be
	Position uint64 // place in the whole listing, for Filter.After
}

// Counts are the numbers that the queue shows of itself.
type Counts struct {
	Messages  int64
	Envelopes int64
	Held      int64 // envelopes that wait to be released
	Claimed   int64 // envelopes being worked on, or about to be
}
