package filter

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirmail/weir/internal/trace"
)

// How a process that has ended is started again, and how one is ended.
const (
	firstPause   = 100 * time.Millisecond // before the first restart; doubled each time
	longestPause = time.Minute
	healthy      = time.Minute            // a process that was ready for so long begins anew with firstPause
	restartGrace = 2 * time.Second        // questions wait so long for a restart that is due, not longer
	killGrace    = 2 * time.Second        // between end of input, SIGTERM and SIGKILL
	statusWait   = 200 * time.Millisecond // for the exit status that explains an end of output
	outputWait   = 2 * time.Second        // for the end of output after that of the program
)

// Ready is the state of a worker whose process can be asked.
const Ready = "ready"

// The states of a worker, as WorkerState shows them.
const (
	stateStarting   = "starting"
	stateReady      = Ready
	stateEnding     = "ending"
	stateRestarting = "restarting"
	stateStopped    = "stopped"
)

// worker keeps one process of a proc running.
type worker struct {
	h    *Host
	proc *proc
	n    int // from 0

	latest  atomic.Pointer[process] // the last that was ready; it may be over
	settled chan struct{}           // closed when the first start has come to something
	done    chan struct{}           // closed when run has returned
	renew   chan chan<- error       // asks for a new process; see Host.Restart
	reports reportLimits
	old     sync.WaitGroup // processes that are leaving

	mu       sync.Mutex
	state    string    // starting, ready, restarting, stopped
	since    time.Time // of state
	pid      int       // 0 if there is no process
	restarts int
	due      time.Time     // until then questions wait for a process
	changed  chan struct{} // closed and replaced when state changes
}

func newWorker(h *Host, p *proc, n int) *worker {
	return &worker{
		h: h, proc: p, n: n, state: stateStopped, since: time.Now(),
		settled: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{}),
		renew: make(chan chan<- error), reports: newReportLimits(),
	}
}

// run starts processes until their filter is to end.
func (w *worker) run() {
	defer close(w.done)
	defer w.old.Wait()
	var once sync.Once
	settle := func() { once.Do(func() { close(w.settled) }) }
	defer settle()
	var renewed chan<- error // somebody waits for the next process
	for pause := firstPause; ; {
		readyFor := w.live(pause, settle, renewed)
		renewed = nil
		settle()
		if w.proc.stopping() {
			w.set(stateStopped, 0, 0)
			return
		}
		if readyFor >= healthy {
			pause = firstPause
		}
		w.set(stateRestarting, 0, pause)
		w.tell(stateRestarting, "in "+pause.String())
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-w.proc.stop:
		case renewed = <-w.renew:
			pause = firstPause / 2 // is doubled below
		}
		t.Stop()
		pause = min(2*pause, longestPause)
		w.mu.Lock()
		w.restarts++
		w.mu.Unlock()
	}
}

// live is the life of one process, and of those that take its place while it
// serves, from the first one's start to the last one's end; the next starts
// after pause. It gives how long the last was ready.
func (w *worker) live(pause time.Duration, settle func(), renewed chan<- error) time.Duration {
	told := func(err error) {
		if renewed != nil {
			renewed <- err // has room
			renewed = nil
		}
	}
	if w.proc.stopping() {
		told(ErrDown)
		return 0
	}
	w.set(stateStarting, 0, pause)
	p, err := w.start()
	if err != nil {
		w.failed(&Fault{Filter: w.proc.name, Cause: err})
		told(err)
		return 0
	}
	w.set(stateStarting, p.pid, pause)
	w.tell("started", fmt.Sprintf("pid %d", p.pid))
	if err := p.awaitReady(); err != nil {
		if !w.proc.stopping() { // whoever waits for settle may want to know
			w.proc.lastFault.Store(&Fault{Filter: w.proc.name, Cause: err})
		}
		settle()
		told(err)
		w.set(stateEnding, p.pid, pause)
		w.end(p)
		return 0
	}
	w.install(p)
	settle()
	told(nil)
	since := time.Now()
	for {
		select {
		case <-p.over:
		case <-w.proc.stop:
		case renewed = <-w.renew:
			next, err := w.replace(p)
			if err == nil {
				p, since = next, time.Now()
			}
			told(err)
			continue
		}
		w.set(stateEnding, p.pid, pause)
		w.end(p)
		return time.Since(since)
	}
}

// install makes p the process that sessions speak to.
func (w *worker) install(p *process) {
	w.latest.Store(p)
	w.set(stateReady, p.pid, 0)
	w.tell(stateReady, fmt.Sprintf("pid %d", p.pid))
}

// awaitReady waits until the process has registered.
func (p *process) awaitReady() error {
	limit := p.w.proc.policy.timeout
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.ready:
		return nil
	case <-p.over:
	case <-p.w.proc.stop:
		return ErrDown
	case <-t.C:
		p.fail(fmt.Errorf("%w: no register|ready for %v", ErrTimeout, limit))
	}
	return p.explain().Cause
}

// replace starts a process beside p and, when it is ready, has sessions go over
// to it. If it is not to be had p stays.
func (w *worker) replace(p *process) (*process, error) {
	next, err := w.start()
	if err != nil {
		w.failed(&Fault{Filter: w.proc.name, Cause: err})
		return nil, err
	}
	w.tell("started", fmt.Sprintf("pid %d", next.pid))
	ready := make(chan error, 1)
	go func() { ready <- next.awaitReady() }()
	select {
	case err = <-ready:
	case <-p.over: // questions wait for next, but not longer than for any other start
		w.set(stateStarting, next.pid, firstPause)
		err = <-ready
	}
	if err != nil {
		w.old.Go(func() { w.end(next) })
		return nil, err
	}
	w.mu.Lock()
	w.restarts++
	w.since = time.Now()
	w.mu.Unlock()
	w.install(next)
	w.old.Go(func() { w.retire(p) })
	return next, nil
}

// leaveLimit is how long a process that was replaced has for the transactions
// that began on it. RFC 5321 s4.5.3.2 gives none of their steps more.
const leaveLimit = 10 * time.Minute

// retire ends a process when its sessions have left it.
func (w *worker) retire(p *process) {
	t := time.NewTimer(leaveLimit)
	defer t.Stop()
	select {
	case <-p.leave():
	case <-p.over: // what it did wrong is still told
		w.end(p)
		return
	case <-w.proc.stop:
	case <-t.C:
	}
	p.fail(&Fault{Filter: w.proc.name, Cause: ErrReplaced})
	p.terminate()
	w.tell("exited", p.status)
}

// end sees a process out, in whatever state it is.
func (w *worker) end(p *process) {
	if w.proc.stopping() {
		p.fail(&Fault{Filter: w.proc.name, Cause: ErrDown})
	} else {
		w.failed(p.explain())
	}
	p.terminate()
	w.tell("exited", p.status)
}

// terminate ends the program: end of input, SIGTERM, SIGKILL. One that broke
// the protocol or has closed a pipe gets no time to read the end of its input.
func (p *process) terminate() {
	p.stdin.close()
	defer func() { p.stderr.SetReadDeadline(time.Now().Add(outputWait)) }()
	if (p.w.proc.stopping() || p.leaving.Load()) && p.wait(killGrace) {
		p.stdout.Close()
		return
	}
	p.run.Signal(syscall.SIGTERM)
	if !p.wait(killGrace) {
		p.run.Signal(syscall.SIGKILL)
		<-p.exited
	}
	p.stdout.Close()
}

// wait waits for the program's end, for d at most or until the host is in a hurry.
func (p *process) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.exited:
		return true
	case <-t.C:
	case <-p.w.h.hurry:
	}
	return false
}

// explain gives the fault that the process ended with, with its exit status
// if the end of its output was the end of the program.
func (p *process) explain() *Fault {
	f := *p.reason()
	if !errors.Is(f.Cause, ErrExited) {
		return &f
	}
	t := time.NewTimer(statusWait)
	defer t.Stop()
	select {
	case <-p.exited:
		f.Cause = fmt.Errorf("%w: %s%s", ErrExited, p.status, p.shellSays())
	case <-t.C:
		f.Cause = fmt.Errorf("%w: standard input or output was closed", ErrExited)
	}
	return &f
}

// inputLost ends a process that has closed its standard input. If that is
// because it has ended, its last answers are still to be read.
func (p *process) inputLost(err error) {
	t := time.NewTimer(statusWait)
	defer t.Stop()
	select {
	case <-p.over:
	case <-t.C:
		p.fail(fmt.Errorf("%w: %w", ErrExited, err))
	}
}

// expectEnd ends a process whose program has ended, but not its output: where
// there is no seccomp, a child that it has left behind may hold the pipes open.
func (p *process) expectEnd() {
	t := time.NewTimer(outputWait)
	defer t.Stop()
	select {
	case <-p.over:
	case <-t.C:
		p.fail(ErrExited)
	}
}

// failed records a fault of the process and tells it.
func (w *worker) failed(f *Fault) {
	w.proc.lastFault.Store(f)
	w.h.failed(f)
}

func (w *worker) tell(state, text string) {
	w.h.opt.Sink.Event(&trace.Event{
		Kind: trace.FilterState, Time: time.Now(), Filter: w.proc.name, Result: state, Text: text,
	})
}

// set changes the state. pause is how long after its end a process is started
// again; questions wait for one that is coming, but not if it failed so often
// that pause is longer than restartGrace.
func (w *worker) set(state string, pid int, pause time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.state != state {
		w.state, w.since = state, now
	}
	w.pid = pid
	patient := pause <= restartGrace
	switch {
	case state == stateReady:
		w.due = now.Add(math.MaxInt64) // should it end, this is set anew at once
	case state == stateEnding && patient:
		w.due = now.Add(2*killGrace + pause + restartGrace)
	case state == stateRestarting && patient:
		w.due = now.Add(pause + restartGrace)
	case state == stateStarting && patient:
		w.due = now.Add(restartGrace)
	default:
		w.due = now
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// noWait is an ended context, for those who do not wait for a process.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// current gives the process that is ready, nil if there is none. It waits for
// one that is due until ctx ends, and no longer than for an answer.
func (w *worker) current(ctx context.Context) *process {
	latest := time.Now().Add(w.proc.policy.timeout)
	for {
		if p := w.latest.Load(); p != nil && !p.ended.Load() {
			return p
		}
		if ctx.Err() != nil || w.proc.stopping() {
			return nil
		}
		w.mu.Lock()
		changed, left := w.changed, time.Until(w.due)
		w.mu.Unlock()
		if p := w.latest.Load(); p != nil && !p.ended.Load() {
			return p
		}
		if left = min(left, time.Until(latest)); left <= 0 {
			return nil
		}
		t := time.NewTimer(left)
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
		case <-w.proc.stop:
		}
		t.Stop()
	}
}
