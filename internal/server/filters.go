package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// processes gives the state of a filter's processes as commands show it.
func processes(st filter.State) admin.Filter {
	f := admin.Filter{Kind: "proc", Detail: st.Command, LastErr: st.LastFault, Phases: st.Phases, Reports: st.Events}
	load := &admin.Load{Questions: st.Questions, P50: st.P50, P99: st.P99}
	for _, w := range st.Workers {
		if w.PID != 0 {
			f.PIDs = append(f.PIDs, w.PID)
		}
		if f.State == "" || f.State == filter.Ready {
			f.State = w.State // of several the one that is worth a look
		}
		f.Restarts += w.Restarts
		if up := time.Since(w.Since); w.State == filter.Ready && (load.Uptime == 0 || up < load.Uptime) {
			load.Uptime = up
		}
	}
	if st.Paused {
		f.State = "paused"
	}
	for d, n := range st.Decisions {
		if load.Decisions == nil {
			load.Decisions = make(map[string]uint64)
		}
		load.Decisions[d.String()] = n
	}
	f.Load = load
	return f
}

// demandFilters fails if a filter is not ready without which mail is refused.
func (s *Server) demandFilters() error {
	var errs []error
	for _, st := range s.filters.List() {
		if why, failing := st.Failing(); failing && (st.OnFailure == config.Tempfail || st.OnFailure == config.Reject) {
			errs = append(errs, fmt.Errorf("%s; with on-failure %s and --strict the server does not start without it", why, st.OnFailure))
		}
	}
	return errors.Join(errs...)
}

// failing tells of the filters that are not there to be asked, in words.
func (s *Server) failing() (all []string) {
	for _, st := range s.filters.List() {
		if why, failing := st.Failing(); failing {
			all = append(all, why)
		}
	}
	return all
}

// process gives the name of the process of a filter; that of a process is its
// own.
func (s *Server) process(name string) (string, error) {
	f := s.config().Filters[name]
	switch {
	case f == nil:
		return name, nil // of a proc, or unknown to the host
	case f.Proc != nil:
		return f.Proc.Name, nil
	case f.Builtin != nil:
		return "", fmt.Errorf("filter %q is no process: the server evaluates it itself", name)
	}
	return "", fmt.Errorf("filter %q is a chain: name one of its filters", name)
}

func (s *Server) filterRestart(ctx context.Context, a admin.Name) (struct{}, error) {
	return s.operate(a.Name, "restarted", func(name string) error { return s.filters.Restart(ctx, name) })
}

func (s *Server) filterPause(_ context.Context, a admin.Name) (struct{}, error) {
	return s.operate(a.Name, "paused", s.filters.Pause)
}

func (s *Server) filterResume(_ context.Context, a admin.Name) (struct{}, error) {
	return s.operate(a.Name, "resumed", s.filters.Resume)
}

// operate does what an operator asks of one filter, and logs it.
func (s *Server) operate(name, done string, do func(string) error) (none struct{}, err error) {
	proc, err := s.process(name)
	if err == nil {
		err = do(proc)
	}
	if err == nil {
		s.log.Info("filter "+done+" by the operator", "filter", proc)
	}
	return none, err
}

// releaseAll lets all held envelopes go, page by page.
func (s *Server) releaseAll(ctx context.Context) (admin.Changed, error) {
	var out admin.Changed
	for {
		items, err := s.queue.List(ctx, queue.Filter{Held: true, Limit: queue.MaxList})
		if err != nil || len(items) == 0 {
			return out, err
		}
		rs := make([]queue.Ref, 0, len(items))
		for _, it := range items {
			rs = append(rs, queue.Ref{Message: it.Message.ID, Envelope: it.Envelope.ID})
		}
		n, err := s.queue.Release(ctx, rs...)
		out.Envelopes += n
		if err != nil || n == 0 {
			return out, err
		}
	}
}
