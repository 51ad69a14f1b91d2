// Package queue keeps accepted mail until it is delivered, returned or removed.
//
// Accepted means durable: Commit returns nil only when the message and all of
// its envelopes would survive a crash of process and machine. The package
// decides when an envelope is tried, with growing intervals, and what happens
// when that fails for good (a delivery report, RFC 3464). How an attempt is
// made is the Deliverer's business, how things are stored a Store's; package
// sqlite below has the embedded one.
//
// Every envelope is attempted at least once, and a second time only if the
// process died between the delivery and its record, which is written within
// milliseconds.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/trace"
)

// Deliverer makes attempts. Its methods are called by many goroutines at once.
type Deliverer interface {
	// Destination names where an envelope goes: the relay, or the local user.
	// Envelopes with the same destination share limits and back-off, and those
	// of one message go in one Job. It is called often and does not wait for
	// anything.
	Destination(e *mail.Envelope) string

	// Deliver makes one attempt and gives one Outcome for each envelope of the
	// job, in their order. It ends soon after ctx does; what it has not told
	// as Delivered or Failed is tried again. A Deferred outcome for all
	// envelopes with an Enhanced code 4.4.x (network and routing, RFC 3463
	// s3.5) says that the destination cannot be reached: the queue then backs
	// off from it. Neither j nor what it points to is kept or changed.
	Deliver(ctx context.Context, j delivery.Job) []delivery.Outcome
}

// Defaults of Options.
const (
	DefaultMaxDeliveries = 100
	DefaultMaxPerDest    = 20
	DefaultMaxDeferred   = 100
	DefaultTTL           = 4 * 24 * time.Hour
	DefaultWarnInterval  = 4 * time.Hour
	DefaultGrace         = 30 * time.Second
	DefaultHostname      = "localhost"
)

// What the queue holds in memory at most, however much the store has.
const (
	maxReadyPerDest = 1000     // envelopes for one destination
	maxSpools       = 32 << 20 // bytes of bodies on their way; what is beyond goes to files
	maxBodies       = 32 << 20 // bytes of bodies between commit and first attempt
	maxUnrecorded   = 2000     // attempts ended but not recorded; none begins above that
)

// maxReady bounds the envelopes in memory of new mail, and of mail that was due.
var maxReady = [kinds]int{fresh: 10000, retry: 4000}

// maxEnvelopes bounds the envelopes of one message.
const maxEnvelopes = 1 << 20

// Options says how a Queue works. The zero value of a field means its default.
type Options struct {
	Log  *slog.Logger // nothing is logged without
	Sink trace.Sink   // told DeliveryResult and BounceSent

	Hostname      string                            // Mailer-Daemon's domain and Reporting-MTA of reports
	WarnIntervals []time.Duration                   // ages at which the sender hears of a delay; empty slice: never; nil: 4h
	TTL           func(action string) time.Duration // how long an envelope is tried; DefaultTTL if that is not above 0
	MaxDeferred   int                               // envelopes kept in memory for a destination that is backed off from

	// Route gives the envelopes that carry the report m to rcpt. None without
	// an error means that nobody takes it: it is logged and dropped. With an
	// error the failed envelopes stay, and both are tried again later.
	// Without Route there are no reports.
	Route func(ctx context.Context, m *mail.Message, rcpt mail.Address) ([]mail.Envelope, error)

	MaxDeliveries int           // attempts at once
	MaxPerDest    int           // attempts at once to one destination
	Grace         time.Duration // how long Run lets attempts end after its context did

	Now  func() time.Time
	Rand func() float64 // in [0, 1), safe for concurrent use; spreads retries
}

// Tuning is those Options that can change while a Queue works.
type Tuning struct {
	Hostname      string
	WarnIntervals []time.Duration
	MaxDeferred   int
}

// Tune sets them, with the defaults of Options; they count for what is looked
// at from now on.
func (q *Queue) Tune(t Tuning) {
	o := Options{Hostname: t.Hostname, WarnIntervals: t.WarnIntervals, MaxDeferred: t.MaxDeferred}
	o.setDefaults()
	q.tuned.Store(&Tuning{Hostname: o.Hostname, WarnIntervals: o.WarnIntervals, MaxDeferred: o.MaxDeferred})
}

// Queue takes messages in, keeps them in its Store and has them delivered
// while Run runs. All methods are safe for concurrent use.
type Queue struct {
	st     Store
	d      Deliverer
	opt    Options
	log    *slog.Logger
	ids    idSource
	sched  scheduler
	rec    recorder
	spools bodyBudget
	cache  bodyBudget

	storing atomic.Int64 // messages that are being stored
	crowded bool         // the poller's: what it claimed last found no room

	tuned atomic.Pointer[Tuning]
}

// Open makes a Queue of what is in st. Nothing is attempted before Run. The
// Store stays the caller's, to close after Run has returned.
func Open(ctx context.Context, st Store, d Deliverer, opt Options) (*Queue, error) {
	if st == nil || d == nil {
		return nil, errors.New("queue: a Store and a Deliverer are needed")
	}
	opt.setDefaults()
	q := &Queue{st: st, d: d, opt: opt, log: opt.Log}
	q.Tune(Tuning{Hostname: opt.Hostname, WarnIntervals: opt.WarnIntervals, MaxDeferred: opt.MaxDeferred})
	q.ids.st = st
	q.spools.give(maxSpools)
	q.cache.give(maxBodies)
	q.sched.init(opt.MaxDeliveries, opt.MaxPerDest)
	q.rec.init(q)
	q.sched.unrecorded = &q.rec.pending
	// The first block also shows that the store can be written.
	if err := q.ids.refill(ctx); err != nil {
		return nil, fmt.Errorf("queue: cannot reserve message ids: %w", err)
	}
	return q, nil
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Sink == nil {
		o.Sink = trace.Discard
	}
	if o.Hostname == "" {
		o.Hostname = DefaultHostname
	}
	if o.WarnIntervals == nil {
		o.WarnIntervals = []time.Duration{DefaultWarnInterval}
	}
	if o.TTL == nil {
		o.TTL = func(string) time.Duration { return DefaultTTL }
	}
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&o.MaxDeferred, DefaultMaxDeferred},
		{&o.MaxDeliveries, DefaultMaxDeliveries},
		{&o.MaxPerDest, DefaultMaxPerDest},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if o.Grace <= 0 {
		o.Grace = DefaultGrace
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
}
