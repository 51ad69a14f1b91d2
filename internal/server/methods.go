package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// methods answers the calls of the control socket.
func (s *Server) methods() *admin.Mux {
	m := admin.NewMux(s.log)
	m.Handle(admin.MethodVersion, admin.Func(s.version))
	m.Handle(admin.MethodReload, admin.Func(s.adminReload))
	m.Handle(admin.MethodFilterList, admin.Stream(s.filterList))
	m.Handle(admin.MethodFilterOrder, admin.Stream(s.filterOrder))
	m.Handle(admin.MethodFilterShow, admin.Stream(s.filterShow))
	m.Handle(admin.MethodQueueList, admin.Stream(s.queueList))
	m.Handle(admin.MethodQueueCount, admin.Func(s.queueCount))
	m.Handle(admin.MethodQueueShow, admin.Stream(s.queueShow))
	m.Handle(admin.MethodQueueRemove, admin.Func(s.queueRemove))
	m.Handle(admin.MethodQueueRetry, admin.Func(s.queueRetry))
	m.Handle(admin.MethodQueueRelease, admin.Func(s.queueRelease))
	m.Handle(admin.MethodFilterRestart, admin.Func(s.filterRestart))
	m.Handle(admin.MethodFilterPause, admin.Func(s.filterPause))
	m.Handle(admin.MethodFilterResume, admin.Func(s.filterResume))
	return m
}

func (s *Server) version(context.Context, struct{}) (admin.Version, error) {
	return admin.Version{Version: s.opt.Version, Go: runtime.Version(), PID: s.pid(), Started: s.started, Config: s.config().Path}, nil
}

// pid is the process that signals go to.
func (s *Server) pid() int {
	if s.opt.parent != nil {
		return os.Getppid()
	}
	return os.Getpid()
}

// filterList tells of every filter of the configuration, in its order.
func (s *Server) filterList(_ context.Context, _ struct{}, yield func(admin.Filter) error) error {
	procs := map[string]admin.Filter{}
	for _, st := range s.filters.List() {
		procs[st.Name] = processes(st)
	}
	cfg := s.config()
	for _, name := range cfg.FilterSeq {
		c := cfg.Filters[name]
		f := admin.Filter{Name: name}
		switch {
		case c.Proc != nil:
			f = procs[c.Proc.Name]
			f.Name = name
			if c.Proc.Name != name { // what the log calls it
				f.Proc = c.Proc.Name
			}
		case c.Builtin != nil:
			f.Kind, f.Detail, f.Phases = "builtin", builtinText(c.Builtin), []string{c.Builtin.Phase}
		default:
			f.Kind, f.Detail = "chain", chainText(c)
		}
		if err := yield(f); err != nil {
			return err
		}
	}
	return nil
}

// builtinText gives a built-in filter in the words of the configuration.
func builtinText(b *config.Builtin) string {
	words := []string{"phase", b.Phase, "match"}
	for _, c := range b.Conditions {
		words = append(words, c.Text)
	}
	words = append(words, b.Decision)
	if b.Param != "" {
		words = append(words, `"`+b.Param+`"`)
	}
	return strings.Join(words, " ")
}

// chainText gives the members of a chain.
func chainText(c *config.Filter) string {
	var names []string
	for _, l := range c.Chain {
		text := l.Filter.Name
		for i, cond := range l.When {
			if i == 0 {
				text += " when"
			}
			text += " " + cond.Text
		}
		names = append(names, text)
	}
	return strings.Join(names, ", ")
}

// filterOrder tells of each listener who is asked at which phase.
func (s *Server) filterOrder(_ context.Context, _ struct{}, yield func(admin.Order) error) error {
	g := s.now.Load()
	for _, sock := range g.sockets {
		o := admin.Order{Listener: sock.Addr().String(), Tag: sock.config.Tag, Filter: sock.config.Filter}
		for _, p := range g.filters.Chain(sock.config.Filter).Order() {
			phase := admin.Phase{Phase: p.Phase.String()}
			for _, step := range p.Filters {
				phase.Filters = append(phase.Filters, admin.Step{Filter: step.Name, When: step.When})
			}
			o.Phases = append(o.Phases, phase)
		}
		if err := yield(o); err != nil {
			return err
		}
	}
	return nil
}

// refs gives a selection in the queue's terms; nil is everything.
func refs(sel admin.Selection) ([]queue.Ref, error) {
	if sel.All {
		return nil, nil
	}
	messages, envelopes, err := sel.Resolve()
	if err != nil {
		return nil, err
	}
	out := make([]queue.Ref, 0, len(messages)+len(envelopes))
	for _, id := range messages {
		out = append(out, queue.Ref{Message: id})
	}
	for _, id := range envelopes {
		out = append(out, queue.Ref{Message: id.Message(), Envelope: id})
	}
	if len(out) == 0 {
		return nil, errors.New("no id given: name messages or envelopes, or say all")
	}
	return out, nil
}

// queueList tells of envelopes, page by page, so that a long queue needs no memory.
func (s *Server) queueList(ctx context.Context, sel admin.Selection, yield func(admin.Envelope) error) error {
	if len(sel.IDs) == 0 {
		sel.All = true
	}
	rs, err := refs(sel)
	if err != nil {
		return err
	}
	if rs == nil {
		rs = []queue.Ref{{}}
	}
	for _, r := range rs {
		f := queue.Filter{Ref: r}
		for {
			items, err := s.queue.List(ctx, f)
			if err != nil {
				return err
			}
			for _, it := range items {
				if err := yield(envelope(it)); err != nil {
					return err
				}
			}
			if len(items) < f.Max() {
				break
			}
			f.After = items[len(items)-1].Position
		}
	}
	return nil
}

// envelope gives an item of the queue as commands show it.
func envelope(it queue.Item) admin.Envelope {
	m, e := it.Message, it.Envelope
	state := "waiting"
	switch {
	case it.Claimed:
		state = "active"
	case e.Held:
		state = "held"
	}
	return admin.Envelope{
		ID: e.ID.String(), Message: m.ID.String(), Sender: m.Sender.String(), Rcpt: e.Rcpt.String(), Dest: e.Dest.String(),
		Action: e.Action, Size: m.Size, Received: m.Received, Expires: e.Expires, Next: e.Next,
		State: state, Attempts: e.Attempts, LastErr: e.LastErr,
	}
}

func (s *Server) queueCount(ctx context.Context, _ struct{}) (admin.Count, error) {
	c, err := s.queue.Count(ctx)
	return admin.Count{Messages: int(c.Messages), Envelopes: int(c.Envelopes), Active: int(c.Claimed), Held: int(c.Held)}, err
}

// queueShow tells of messages with their headers.
func (s *Server) queueShow(ctx context.Context, sel admin.Selection, yield func(admin.Message) error) error {
	rs, err := refs(sel)
	if err != nil {
		return err
	}
	if rs == nil {
		return errors.New("name the messages to show")
	}
	for _, r := range rs {
		items, body, err := s.queue.Show(ctx, r.Message)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Message, err)
		}
		header, err := readHeader(body)
		body.Close()
		if err != nil {
			return err
		}
		m := items[0].Message
		out := admin.Message{
			ID: m.ID.String(), Sender: m.Sender.String(), Size: m.Size, Received: m.Received, Session: m.Session.String(),
			Helo: m.Helo, Source: m.Source, AuthUser: m.AuthUser, Tag: m.Tag, Header: header,
		}
		for _, it := range items {
			out.Envelopes = append(out.Envelopes, envelope(it))
		}
		if err := yield(out); err != nil {
			return err
		}
	}
	return nil
}

// readHeader gives the header section of a body, or as much as is shown of it.
func readHeader(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, admin.MaxHeader))
	if err != nil {
		return "", err
	}
	header, _, _ := strings.Cut(string(b), "\n\n")
	return header + "\n", nil
}

func (s *Server) queueRemove(ctx context.Context, sel admin.Selection) (admin.Changed, error) {
	if sel.All {
		return s.removeAll(ctx)
	}
	return s.change(ctx, sel, s.queue.Remove)
}

// removeAll empties the queue page by page; what comes in meanwhile may stay.
func (s *Server) removeAll(ctx context.Context) (admin.Changed, error) {
	var out admin.Changed
	for {
		items, err := s.queue.List(ctx, queue.Filter{Limit: queue.MaxList})
		if err != nil || len(items) == 0 {
			return out, err
		}
		rs := make([]queue.Ref, 0, len(items))
		for _, it := range items {
			rs = append(rs, queue.Ref{Message: it.Message.ID, Envelope: it.Envelope.ID})
		}
		n, err := s.queue.Remove(ctx, rs...)
		out.Envelopes += n
		if err != nil || n == 0 {
			return out, err
		}
	}
}

func (s *Server) queueRetry(ctx context.Context, sel admin.Selection) (admin.Changed, error) {
	return s.change(ctx, sel, s.queue.Retry)
}

// queueRelease lets held envelopes go.
func (s *Server) queueRelease(ctx context.Context, sel admin.Selection) (admin.Changed, error) {
	if sel.All {
		return s.releaseAll(ctx)
	}
	return s.change(ctx, sel, s.queue.Release)
}

// change does op to what sel names, one by one so that ids that are not in the
// queue can be told.
func (s *Server) change(ctx context.Context, sel admin.Selection, op func(context.Context, ...queue.Ref) (int, error)) (admin.Changed, error) {
	var out admin.Changed
	rs, err := refs(sel)
	if err != nil {
		return out, err
	}
	if rs == nil {
		out.Envelopes, err = op(ctx)
		return out, err
	}
	for _, r := range rs {
		n, err := op(ctx, r)
		switch {
		case errors.Is(err, queue.ErrNotFound) || err == nil && n == 0:
			out.Unknown = append(out.Unknown, r.String())
		case err != nil:
			return out, err
		}
		out.Envelopes += n
	}
	return out, nil
}
