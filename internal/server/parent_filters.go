package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/privsep"
)

// startFilter starts a process of a filter with the descriptors of the call.
func (p *Parent) startFilter(r *privsep.Request) (privsep.Reply, error) {
	return with(r, func(a startArgs) (privsep.Reply, error) {
		if len(r.Files) != 3 {
			return privsep.Reply{}, fmt.Errorf("%d descriptors for a filter, it needs 3", len(r.Files))
		}
		g, c := p.proc(a)
		if c == nil {
			return privsep.Reply{}, fmt.Errorf("the configuration has no filter process %q", a.Name)
		}
		begun, err := p.admit(c)
		if err != nil {
			return privsep.Reply{}, err
		}
		defer begun()
		argv, err := p.programs.Argv(c)
		if err != nil {
			return privsep.Reply{}, err
		}
		run, err := p.launch(ownLauncher{g.launcher}, c, argv, [3]*os.File(r.Files))
		if err != nil {
			return privsep.Reply{}, err
		}
		return privsep.Reply{Value: started{run.id, run.PID()}}, nil
	})
}

// maxRuns is how many processes there are for each worker of a filter: the one
// that serves, and those that were replaced and have sessions still.
const maxRuns = 16

// admit refuses one more process of a filter that has so many which were not
// waited for. begun is called when it runs, or does not.
func (p *Parent) admit(c *config.Proc) (begun func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.beginning[c.Name]
	for _, run := range p.filters {
		if run.name == c.Name {
			n++
		}
	}
	if n >= maxRuns*c.Workers {
		return nil, fmt.Errorf("filter %q has %d processes already", c.Name, n)
	}
	if p.beginning == nil {
		p.beginning = make(map[string]int)
	}
	p.beginning[c.Name]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.beginning[c.Name]--
	}, nil
}

// proc finds a filter process in the configuration that the engine has it from.
// One of the same name in another may be anything.
func (p *Parent) proc(a startArgs) (*parentGeneration, *config.Proc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.gens[a.Generation]
	if g == nil {
		return nil, nil
	}
	for _, c := range g.cfg.Procs {
		if c.Name == a.Name {
			return g, c
		}
	}
	return nil, nil
}

// filterRun is a filter's process that was started for an engine.
type filterRun struct {
	filter.Process
	id   uint64
	name string        // of the filter
	done chan struct{} // closed when it has ended
	how  string        // in words, then
}

// launch starts a process and sees it to its end. It dies with the thread that
// started it, which is not used again.
func (p *Parent) launch(l ownLauncher, c *config.Proc, argv []string, stdio [3]*os.File) (*filterRun, error) {
	run := &filterRun{name: c.Name, done: make(chan struct{})}
	begun := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		var err error
		if run.Process, err = l.Start(c, argv, stdio); err != nil {
			begun <- err
			return
		}
		p.mu.Lock()
		p.lastID++
		run.id = p.lastID
		p.filters[run.id] = run
		p.mu.Unlock()
		begun <- nil
		run.how = run.Wait()
		close(run.done)
	}()
	return run, <-begun
}

// running finds a process by the number under which the engine knows it.
func (p *Parent) running(id uint64) (*filterRun, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if run := p.filters[id]; run != nil {
		return run, nil
	}
	return nil, fmt.Errorf("there is no filter process %d", id)
}

func (p *Parent) signalFilter(a signalArgs) (rep privsep.Reply, err error) {
	run, err := p.running(a.ID)
	if err != nil {
		return rep, err
	}
	s := syscall.Signal(a.Signal)
	if s != syscall.SIGTERM && s != syscall.SIGKILL {
		return rep, fmt.Errorf("signal %d is not sent", a.Signal)
	}
	run.Signal(s)
	return rep, nil
}

// waitFilter answers when a process has ended. It is forgotten then.
func (p *Parent) waitFilter(ctx context.Context, a runArgs) (rep privsep.Reply, err error) {
	run, err := p.running(a.ID)
	if err != nil {
		return rep, err
	}
	select {
	case <-run.done:
	case <-ctx.Done():
		return rep, context.Cause(ctx)
	}
	p.mu.Lock()
	delete(p.filters, a.ID)
	p.mu.Unlock()
	return privsep.Reply{Value: ended{run.how}}, nil
}

func (p *Parent) show(a processArgs) (privsep.Reply, error) {
	out, err := p.launcher.Show(a.PID)
	if errors.Is(err, os.ErrNotExist) {
		return privsep.Reply{Value: shown{}}, nil
	}
	return privsep.Reply{Value: shown{true, out}}, err
}

// shown is what applies to a process, if it is there.
type shown struct {
	Found   bool
	Process admin.FilterProcess
}
