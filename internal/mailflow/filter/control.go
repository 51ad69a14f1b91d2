package filter

import (
	"context"
	"errors"
	"fmt"
)

// find gives the process, or processes alike, of that name.
func (h *Host) find(name string) (*proc, error) {
	if p := h.Set().procs[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no filter process is called %q", name)
}

// Restart starts the processes of a filter again, one after the other. Each new
// one is ready before sessions go over to it, and the one before it ends when
// the transactions that began on it are over: no mail is refused. One that
// does not become ready is an error; the old one goes on then, and so do the
// workers that were not reached yet. It returns early when ctx ends; the
// worker at hand goes on nevertheless. Where a new configuration takes the
// filter's place meanwhile it is that one's that is restarted.
func (h *Host) Restart(ctx context.Context, name string) error {
	for {
		p, err := h.find(name)
		if err != nil {
			return err
		}
		err = p.restart(ctx)
		if now, _ := h.find(name); errors.Is(err, ErrDown) && now != nil && now != p {
			continue
		}
		return err
	}
}

func (p *proc) restart(ctx context.Context) error {
	for _, w := range p.workers {
		done := make(chan error, 1)
		select {
		case w.renew <- done:
		case <-w.done:
			return fmt.Errorf("filter %s: %w", p.name, ErrDown)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case err := <-done:
			switch {
			case err == nil:
			case w.current(noWait) != nil:
				return fmt.Errorf("filter %s: the new process is not ready: %w; the one before it goes on", p.name, err)
			default:
				return fmt.Errorf("filter %s: the new process is not ready: %w", p.name, err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Pause keeps a filter from being asked: its policy applies, with ErrPaused, to
// questions and messages that would have been its. Its processes go on, and hear
// what they registered. To pause one that is paused does nothing.
func (h *Host) Pause(name string) error { return h.pause(name, true) }

// Resume undoes Pause.
func (h *Host) Resume(name string) error { return h.pause(name, false) }

func (h *Host) pause(name string, paused bool) error {
	p, err := h.find(name)
	if err != nil {
		return err
	}
	p.paused.Store(paused)
	return nil
}
