package server

import (
	"context"
	"net"
	"os"
	"syscall"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/privsep"
)

// engineLauncher has the parent start filters.
type engineLauncher struct {
	e          *engine
	generation int
	own        *privsep.Launcher // knows what is hidden from whom; starts nothing
	s          *Server
}

func (s *Server) newEngineLauncher(own *privsep.Launcher, cfg *config.Config) launcher {
	return engineLauncher{s.opt.parent, s.opt.parent.of(cfg).n, own.For(cfg), s}
}

func (l engineLauncher) For(cfg *config.Config) launcher { return l.s.newEngineLauncher(l.own, cfg) }

func (l engineLauncher) Hidden(c *config.Proc) []string { return l.own.Hidden(c) }

// Start has the parent start the program that it knows by the name of c.
func (l engineLauncher) Start(c *config.Proc, _ []string, stdio [3]*os.File) (filter.Process, error) {
	var st started
	if _, err := l.e.call(callStart, startArgs{l.generation, c.Name}, &st, stdio[:]...); err != nil {
		return nil, err
	}
	return engineProcess{l.e, st}, nil
}

// Close has nothing to do: the parent outlives us.
func (l engineLauncher) Close() {}

func (l engineLauncher) Show(pid int) (admin.FilterProcess, error) {
	var sh shown
	_, err := l.e.call(callShow, processArgs{pid}, &sh)
	if err == nil && !sh.Found {
		err = os.ErrNotExist
	}
	return sh.Process, err
}

func (l engineLauncher) Guard(ln net.Listener) net.Listener {
	return privsep.Guard(ln, l.s.log, func(pid int) (string, error) {
		var name nameArgs
		_, err := l.e.call(callCaller, processArgs{pid}, &name)
		return name.Name, err
	})
}

// engineProcess is a filter's process, a child of the parent.
type engineProcess struct {
	e *engine
	started
}

func (p engineProcess) PID() int { return p.started.PID }

func (p engineProcess) Signal(s syscall.Signal) {
	p.e.call(callSignal, signalArgs{p.ID, int(s)}, nil) // one that has ended is none any more
}

func (p engineProcess) Wait() string {
	var how ended
	if _, err := p.e.ch.Call(context.Background(), callWait, runArgs{p.ID}, &how); err != nil {
		return err.Error()
	}
	return how.How
}
