package filter

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/trace"
)

// events collects what a sink is told.
type events struct {
	mu  sync.Mutex
	all []trace.Event
	new chan struct{}
}

func (s *events) Event(e *trace.Event) {
	s.mu.Lock()
	s.all = append(s.all, *e)
	if s.new != nil {
		close(s.new)
		s.new = nil
	}
	s.mu.Unlock()
}

// wait waits for an event that ok accepts.
func (s *events) wait(t *testing.T, what string, ok func(*trace.Event) bool) trace.Event {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		for i := range s.all {
			if ok(&s.all[i]) {
				defer s.mu.Unlock()
				return s.all[i]
			}
		}
		if s.new == nil {
			s.new = make(chan struct{})
		}
		c := s.new
		s.mu.Unlock()
		select {
		case <-c:
		case <-limit:
			t.Fatalf("no event: %s", what)
		}
	}
}

func kind(k trace.Kind, result string) func(*trace.Event) bool {
	return func(e *trace.Event) bool { return e.Kind == k && (result == "" || e.Result == result) }
}

// command gives the command that plays a role.
func command(role string, args ...string) string {
	s := os.Args[0] + " " + testRole + " " + role
	for _, a := range args {
		s += " '" + a + "'"
	}
	return s
}

// host starts filters named a, b... with those commands, and a chain "all" of
// them in order.
func host(t testing.TB, opt Options, commands ...string) (*Host, *events) {
	t.Helper()
	cfg := &config.Config{ADMD: "mx.example.test", Filters: map[string]*config.Filter{}}
	all := &config.Filter{Name: "all"}
	for i, c := range commands {
		name := string(rune('a' + i))
		p := &config.Proc{Name: name, Command: c, Workers: 1}
		f := &config.Filter{Name: name, Proc: p}
		cfg.Procs = append(cfg.Procs, p)
		cfg.Filters[name] = f
		all.Chain = append(all.Chain, config.Link{Filter: f})
	}
	cfg.Filters["all"] = all
	return hostOf(t, opt, cfg)
}

// impatient is host with filters that have only limit for an answer, but more
// to start.
func impatient(t testing.TB, limit time.Duration, commands ...string) (*Host, *events) {
	t.Helper()
	h, ev := host(t, Options{}, commands...)
	for _, p := range h.Set().seq {
		p.policy.timeout = limit
	}
	return h, ev
}

func hostOf(t testing.TB, opt Options, cfg *config.Config) (*Host, *events) {
	t.Helper()
	ev := &events{}
	if opt.Sink == nil {
		opt.Sink = ev
	}
	if opt.AnswerTimeout == 0 {
		opt.AnswerTimeout = 10 * time.Second
	}
	h, err := New(cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		h.Stop(ctx)
	})
	if err := h.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return h, ev
}

var (
	sessionMu sync.Mutex
	lastID    mail.SessionID
)

func open(h *Host) *Session {
	sessionMu.Lock()
	defer sessionMu.Unlock()
	lastID++
	return h.Chain("all").Open(lastID|0xabcd<<48, &routing.Facts{})
}

// told tells an event, and lets it go as a session does that waits for its client.
func (s *Session) told(k trace.Kind, set func(*trace.Event)) {
	s.gathered(k, set)
	s.Flush()
}

func (s *Session) gathered(k trace.Kind, set func(*trace.Event)) {
	e := trace.Event{Kind: k, Time: time.Unix(1795344927, 414189000), Session: s.id}
	if set != nil {
		set(&e)
	}
	s.Event(&e)
}

func (s *Session) connect() {
	s.told(trace.LinkConnect, func(e *trace.Event) {
		e.Rdns, e.Fcrdns, e.Src, e.Dest = "localhost", "pass", "127.0.0.1:33420", "127.0.0.1:25"
	})
}

func ask(t *testing.T, s *Session, ph filterwire.Phase, arg string) Verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return s.Ask(ctx, ph, arg)
}

func wantProceed(t *testing.T, v Verdict) {
	t.Helper()
	if v.Decision != filterwire.Proceed || v.Err != nil {
		t.Fatalf("got %v %q of %s (%v), want proceed", v.Decision, v.Param, v.Filter, v.Err)
	}
}

// wantFault checks that v is the default policy's.
func wantFault(t *testing.T, v Verdict, filter string) {
	t.Helper()
	if v.Decision != filterwire.Reject || !strings.HasPrefix(v.Param, "451 4.7.1 ") || v.Err == nil || v.Filter != filter {
		t.Fatalf("got %v %q of %s (%v), want a 451 4.7.1 for filter %s", v.Decision, v.Param, v.Filter, v.Err, filter)
	}
}

// send passes lines through the chain and gives what comes out.
func send(t *testing.T, s *Session, lines ...string) (string, Verdict) {
	t.Helper()
	var out bytes.Buffer
	m := s.Message(context.Background(), &out)
	if m == nil {
		t.Fatal("no filter wants the message")
	}
	for _, l := range lines {
		if _, err := m.Write([]byte(l + "\n")); err != nil {
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	v := m.Finish(ctx)
	return out.String(), v
}

func TestProceed(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	h, _ := host(t, Options{}, command("record", log))
	s := open(h)
	s.connect()
	wantProceed(t, ask(t, s, filterwire.Connect, "localhost|127.0.0.1"))
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net"))
	out, v := send(t, s, "Subject: x", "", "..dot", "body")
	wantProceed(t, v)
	if want := "Subject: x\n\n..dot\nbody\n"; out != want {
		t.Errorf("message %q, want %q", out, want)
	}
	wantProceed(t, ask(t, s, filterwire.Commit, ""))
	s.told(trace.LinkDisconnect, nil)
	s.Event(&trace.Event{Kind: trace.Timeout, Session: s.id})
	s.Close()
	h.Stop(context.Background())
	got, _ := os.ReadFile(log)
	lines := strings.Split(strings.TrimSpace(string(got)), "\n")
	var heard []string
	for _, l := range lines {
		if !strings.HasPrefix(l, "config|") {
			heard = append(heard, l)
		}
	}
	id := s.id.String()
	want := []string{
		"report|0.7|1795344927.414189|smtp-in|link-connect|" + id + "|localhost|pass|127.0.0.1:33420|127.0.0.1:25",
		"filter|connect|" + id + "|localhost|127.0.0.1",
		"filter|mail-from|" + id + "|a@example.net",
		"filter|commit|" + id + "|",
		"report|0.7|1795344927.414189|smtp-in|link-disconnect|" + id,
	}
	if fmt.Sprint(heard) != fmt.Sprint(want) {
		t.Errorf("heard\n%s\nwant\n%s", strings.Join(heard, "\n"), strings.Join(want, "\n"))
	}
}
