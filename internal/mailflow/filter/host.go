package filter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
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

	// LibexecDirs are searched for commands without a path, before the
	// directory of our own program; DefaultLibexecDirs by default.
	LibexecDirs []string

	// PythonBridge and PerlBridge are the programs filter-python and
	// filter-perl; without one, filters of its kind do not start.
	PythonBridge string
	PerlBridge   string

	// AnswerTimeout is the time limit of filters whose configuration has none.
	AnswerTimeout time.Duration

	// MaxMessage is the most that a filter may make of one message, in bytes;
	// by default twice the largest message, and at least 64 MB.
	MaxMessage int64
}

// Host runs the filters of a configuration. It is safe for concurrent use.
type Host struct {
	opt            Options
	admd           string
	sessionTimeout int // seconds
	procs          map[string]*proc
	seq            []*proc
	chains         map[string]*Chain
	none           *Chain

	stop                chan struct{} // closed by Stop
	hurry               chan struct{} // closed when Stop's time is up
	stopOnce, hurryOnce sync.Once
	mu                  sync.Mutex
	started             bool
}

// New prepares the filters of cfg; it starts none. Its errors are those of a
// configuration that was not checked.
func New(cfg *config.Config, opt Options) (*Host, error) {
	h := &Host{
		opt: opt.withDefaults(cfg), admd: cfg.ADMD, sessionTimeout: int(cfg.SMTP.Timeout / time.Second),
		procs: make(map[string]*proc), chains: make(map[string]*Chain),
		stop: make(chan struct{}), hurry: make(chan struct{}),
	}
	if h.sessionTimeout <= 0 {
		h.sessionTimeout = 300
	}
	for _, c := range cfg.Procs {
		v, ok := filterwire.ParseProtocol(c.Protocol)
		if !ok {
			return nil, fmt.Errorf("%v: filter process %q: protocol %q: expected 0.6 or 0.7", c.Pos, c.Name, c.Protocol)
		}
		p := &proc{name: c.Name, conf: c, protocol: v, policy: policy{timeout: c.Timeout, onFailure: c.OnFailure}}
		if p.policy.timeout <= 0 {
			p.policy.timeout = h.opt.AnswerTimeout
		}
		for n := range max(c.Workers, 1) {
			p.workers = append(p.workers, newWorker(h, p, n))
		}
		h.procs[c.Name] = p
		h.seq = append(h.seq, p)
	}
	h.none = h.newChain(nil)
	for name, f := range cfg.Filters {
		if err := h.check(f); err != nil {
			return nil, fmt.Errorf("%v: filter %q: %w", f.Pos, name, err)
		}
		h.chains[name] = h.newChain(f)
	}
	return h, nil
}

// check refuses what newChain cannot use.
func (h *Host) check(f *config.Filter) error {
	switch {
	case f.Proc != nil:
		if h.procs[f.Proc.Name] == nil {
			return fmt.Errorf("process %q is not declared", f.Proc.Name)
		}
	case f.Builtin != nil:
		if _, ok := filterwire.ParsePhase(f.Builtin.Phase); !ok {
			return fmt.Errorf("unknown phase %q", f.Builtin.Phase)
		}
	default:
		for _, l := range f.Chain {
			if len(l.Filter.Chain) > 0 {
				return fmt.Errorf("filter %q in it is a chain itself", l.Filter.Name)
			}
			if err := h.check(l.Filter); err != nil {
				return fmt.Errorf("filter %q: %w", l.Filter.Name, err)
			}
		}
	}
	return nil
}

func (o Options) withDefaults(cfg *config.Config) Options {
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
	if o.LibexecDirs == nil {
		o.LibexecDirs = DefaultLibexecDirs
	}
	if o.AnswerTimeout <= 0 {
		o.AnswerTimeout = DefaultAnswerTimeout
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = max(2*cfg.SMTP.MaxMessageSize, minMaxMessage)
	}
	return o
}

// Start starts all filters and returns when each has registered or failed, or
// has had its time limit to do so; a filter that failed is started again
// later and is no error. The only errors are ctx's and a second start.
func (h *Host) Start(ctx context.Context) error {
	h.mu.Lock()
	again := h.started
	h.started = true
	h.mu.Unlock()
	if again || h.stopping() {
		return errors.New("filters were started before")
	}
	h.each(func(w *worker) { go w.run() })
	var err error
	h.each(func(w *worker) {
		if err != nil {
			return
		}
		select {
		case <-w.settled:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	})
	return err
}

// Stop ends all filters: end of input, then SIGTERM, then SIGKILL. It returns
// when no process is left; when ctx ends, the graces between those steps do.
func (h *Host) Stop(ctx context.Context) {
	h.stopOnce.Do(func() { close(h.stop) })
	h.mu.Lock()
	started := h.started
	h.mu.Unlock()
	if !started {
		return
	}
	cut := context.AfterFunc(ctx, func() { h.hurryOnce.Do(func() { close(h.hurry) }) })
	defer cut()
	h.each(func(w *worker) { <-w.done })
}

func (h *Host) stopping() bool {
	select {
	case <-h.stop:
		return true
	default:
		return false
	}
}

func (h *Host) each(f func(*worker)) {
	for _, p := range h.seq {
		for _, w := range p.workers {
			f(w)
		}
	}
}

// Chain gives the filter or chain of that name; one that asks nothing for ""
// and for a name that is not in the configuration.
func (h *Host) Chain(name string) *Chain {
	if c := h.chains[name]; c != nil {
		return c
	}
	return h.none
}

// failed tells a fault.
func (h *Host) failed(f *Fault) {
	h.opt.Sink.Event(&trace.Event{
		Kind: trace.FilterFailed, Time: time.Now(), Session: f.Session,
		Filter: f.Filter, Phase: f.Phase, Text: f.line(), Cause: f,
	})
}
