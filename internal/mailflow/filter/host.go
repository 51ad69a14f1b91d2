package filter

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/trace"
)

// The features that are announced to filters, in this order.
const (
	FeatureMessageSize  = "message-size"  // the question to commit carries the size of the message
	FeatureFinalAddress = "final-address" // tx-mail and tx-rcpt carry addresses as rewritten
)

// Defaults of Options.
const (
	DefaultAnswerTimeout = 60 * time.Second
	defaultVersion       = "weir"
	minMaxMessage        = 64 << 20
)

// Options are what a Host needs besides the configuration. The zero value of
// each field has a meaning.
type Options struct {
	Log  *slog.Logger // standard error of filters, and warnings; nil discards
	Sink trace.Sink   // FilterState, FilterFailed and reports of no session; safe for concurrent use

	Version string // config|smtpd-version; "weir" by default

	// Launcher starts the processes; by default they have all our rights, and
	// user, group, chroot and sandbox of the configuration count for nothing.
	Launcher Launcher

	// Where programs are: see Programs.
	LibexecDirs  []string
	PythonBridge string
	PerlBridge   string

	// Elsewhere says that the Launcher itself finds the programs of filters;
	// the argv of its Start is nil.
	Elsewhere bool

	// AnswerTimeout is the time limit of filters whose configuration has none.
	AnswerTimeout time.Duration

	// MaxMessage is the most that a filter may make of one message, in bytes;
	// by default twice the largest message, and at least 64 MB.
	MaxMessage int64
}

// Host runs the filters of a configuration, and of those that take its place.
// It is safe for concurrent use.
type Host struct {
	opt Options

	shelfs budget       // of messages that filters have written
	asking atomic.Int32 // sessions that wait for an answer of a filter

	hurry     chan struct{} // closed when Stop's time is up
	hurryOnce sync.Once

	mu      sync.Mutex
	set     *Set               // in use
	live    map[*proc]struct{} // started, and not known to have ended; some of earlier Sets
	started bool
	stopped bool
}

// New prepares the filters of cfg; it starts none. Its errors are those of a
// configuration that was not checked.
func New(cfg *config.Config, opt Options) (*Host, error) {
	h := &Host{opt: opt.withDefaults(), live: make(map[*proc]struct{}), hurry: make(chan struct{})}
	h.shelfs.give(spoolShelfs)
	var err error
	h.set, err = h.Prepare(cfg, nil)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Sink == nil {
		o.Sink = trace.Discard
	}
	if o.Version == "" {
		o.Version = defaultVersion
	}
	if o.Launcher == nil {
		o.Launcher = plain{}
	}
	if o.AnswerTimeout <= 0 {
		o.AnswerTimeout = DefaultAnswerTimeout
	}
	return o
}

// errStopped says that a Host was stopped.
var errStopped = errors.New("filters were stopped")

// Start is Set.Start of the configuration of New, once.
func (h *Host) Start(ctx context.Context) error {
	h.mu.Lock()
	again, s := h.started, h.set
	h.started = true
	h.mu.Unlock()
	if again {
		return errors.New("filters were started before")
	}
	return s.Start(ctx)
}

// Stop ends all filters, those of earlier Sets among them: end of input, then
// SIGTERM, then SIGKILL. It returns when no process is left; when ctx ends, the
// graces between those steps do.
func (h *Host) Stop(ctx context.Context) {
	h.mu.Lock()
	h.stopped = true
	var live []*proc
	for p := range h.live {
		p.end()
		live = append(live, p)
	}
	h.mu.Unlock()
	cut := context.AfterFunc(ctx, func() { h.hurryOnce.Do(func() { close(h.hurry) }) })
	defer cut()
	for _, p := range live {
		p.wait()
	}
}

// Set gives the Set in use. Who opens sessions on it holds it.
func (h *Host) Set() *Set {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.set
}

// Chain is Set.Chain of the Set in use.
func (h *Host) Chain(name string) *Chain { return h.Set().Chain(name) }

// failed tells a fault.
func (h *Host) failed(f *Fault) {
	h.opt.Sink.Event(&trace.Event{
		Kind: trace.FilterFailed, Time: time.Now(), Session: f.Session,
		Filter: f.Filter, Phase: f.Phase, Text: f.line(), Cause: f,
	})
}
