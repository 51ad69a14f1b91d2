package filter

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
)

// proc is one filter program of a configuration. Later ones in which it is
// defined alike share it.
type proc struct {
	name     string
	conf     *config.Proc // of the first configuration that has it
	protocol filterwire.Protocol
	policy   policy
	greeting []byte   // the server's part of the handshake
	launcher Launcher // of the configuration that it was made for; see Host.launcherFor
	hidden   []string // what the launcher keeps from its processes
	workers  []*worker
	next     atomic.Uint32 // round robin over workers

	stop    chan struct{} // closed by end
	endOnce sync.Once
	sets    []inSet // that have it, the newest last; guarded by Host.mu
	started bool    // guarded by Host.mu

	paused    atomic.Bool
	questions atomic.Uint64
	decisions [filterwire.Bypass + 1]atomic.Uint64
	latency   histogram
	lastFault atomic.Pointer[Fault]
}

// inSet is a Set that has a proc, with what starts processes of its
// configuration.
type inSet struct {
	set      *Set
	launcher Launcher
}

// defaultSessionTimeout is told to filters by a configuration without one.
const defaultSessionTimeout = 5 * time.Minute // RFC 5321 s4.5.3.2.7

// newProc makes the proc of c, without workers.
func (h *Host) newProc(cfg *config.Config, c *config.Proc, l Launcher) (*proc, error) {
	v, ok := filterwire.ParseProtocol(c.Protocol)
	if !ok {
		return nil, fmt.Errorf("%v: filter process %q: protocol %q: expected 0.6 or 0.7", c.Pos, c.Name, c.Protocol)
	}
	p := &proc{
		name: c.Name, conf: c, protocol: v, policy: policy{timeout: c.Timeout, onFailure: c.OnFailure},
		launcher: l, hidden: l.Hidden(c), stop: make(chan struct{}),
	}
	if p.policy.timeout <= 0 {
		p.policy.timeout = h.opt.AnswerTimeout
	}
	timeout := cfg.SMTP.Timeout / time.Second
	if timeout <= 0 {
		timeout = defaultSessionTimeout / time.Second
	}
	p.greeting = filterwire.AppendConfig(nil, &filterwire.Config{
		Version: h.opt.Version, Protocol: v, SessionTimeout: int(timeout), ADMD: cfg.ADMD,
		Features: []string{FeatureMessageSize, FeatureFinalAddress},
	})
	return p, nil
}

// same reports whether the processes of p are what those of q would be: defined
// alike, told alike, kept from the same.
func (p *proc) same(q *proc) bool {
	a, b := *p.conf, *q.conf
	a.Pos, b.Pos = config.Pos{}, config.Pos{}
	return reflect.DeepEqual(a, b) && bytes.Equal(p.greeting, q.greeting) && slices.Equal(p.hidden, q.hidden)
}

// end has the processes end, for good.
func (p *proc) end() { p.endOnce.Do(func() { close(p.stop) }) }

func (p *proc) stopping() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// wait waits until the processes have ended, of a proc that was started.
func (p *proc) wait() {
	for _, w := range p.workers {
		<-w.done
	}
}

// pick gives the worker of a new session: the next in turn, passing over those
// that have no process at the moment.
func (p *proc) pick() *worker {
	n := uint32(len(p.workers))
	first := p.next.Add(1) % n
	for i := range n {
		w := p.workers[(first+i)%n]
		if w.current(noWait) != nil {
			return w
		}
	}
	return p.workers[first]
}

// asksInTx reports whether a process that is started again is to be waited for
// when a transaction begins: if it is asked at all, and within transactions.
func (p *proc) asksInTx() bool {
	latest := p.workers[0].latest.Load()
	if latest == nil || p.paused.Load() {
		return false
	}
	for ph := filterwire.MailFrom; ph <= filterwire.Commit; ph++ {
		if ofTransaction(ph) && latest.registered(ph) {
			return true
		}
	}
	return false
}

func (p *proc) count(d filterwire.Decision) { p.decisions[d].Add(1) }
