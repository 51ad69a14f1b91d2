package filter

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/trace"
)

// heard reads what a recording filter has heard of a session. The filter has
// handled all that was sent before when it answers a question.
func heard(t *testing.T, path string, id mail.SessionID) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if strings.Contains(l, id.String()) {
			f := strings.SplitN(l, "|", 5)
			if f[0] == "report" {
				l = "report|" + f[4]
			}
			lines = append(lines, strings.Replace(l, "|"+id.String(), "", 1))
		}
	}
	return lines
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestChainOrder(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, tt := range []struct {
		answer   string
		decision filterwire.Decision
		param    string
		second   bool // is asked
		report   string
	}{
		{"proceed", filterwire.Proceed, "", true, ""},
		{"junk", filterwire.Junk, "", false, ""},
		{"reject|550 5.7.1 a|b", filterwire.Reject, "550 5.7.1 a|b", false, ""},
		{"reject|", filterwire.Reject, "", false, ""},
		{"disconnect|421 bye", filterwire.Disconnect, "421 bye", false, ""},
		{"rewrite|<x@example.net>", filterwire.Rewrite, "<x@example.net>", false, ""},
		{"report|one|two", filterwire.Proceed, "", true, "report|filter-report|proc|a|one|two"},
	} {
		t.Run(tt.answer, func(t *testing.T) {
			h, ev := host(t, Options{}, command("record", a, "mail-from", tt.answer), command("record", b))
			s := open(h)
			defer s.Close()
			v := ask(t, s, filterwire.MailFrom, "a@example.net")
			if v.Decision != tt.decision || v.Param != tt.param || v.Err != nil {
				t.Errorf("got %v %q, %v", v.Decision, v.Param, v.Err)
			}
			if wantName := map[bool]string{true: "", false: "a"}[tt.second]; v.Filter != wantName {
				t.Errorf("filter %q", v.Filter)
			}
			wantProceed(t, ask(t, s, filterwire.Noop, ""))
			wantA := []string{"filter|mail-from|a@example.net"}
			var wantB []string
			if tt.report != "" {
				wantA = append(wantA, tt.report)
				wantB = append(wantB, tt.report) // before the question
				ev.wait(t, "filter-report", func(e *trace.Event) bool {
					return e.Kind == trace.FilterReport && e.Method == "proc" && e.Filter == "a" && e.Text == "one|two"
				})
			}
			if tt.second {
				wantB = append(wantB, "filter|mail-from|a@example.net")
			}
			equal(t, "a", heard(t, a, s.id), append(wantA, "filter|noop|"))
			equal(t, "b", heard(t, b, s.id), append(wantB, "filter|noop|"))
		})
	}
}

// A filter's own report is told before the answer that follows it counts.
func TestOwnReport(t *testing.T) {
	for name, line := range map[string]string{
		"short": "report|1795345238.187946|smtp-in|@S|my own report",
		"full":  "report|0.7|1795345238.475739|smtp-in|filter-report|@S|proc|a|my own report",
	} {
		t.Run(name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log")
			h, ev := host(t, Options{}, command("say", "mail-from", line), command("record", log))
			s := open(h)
			defer s.Close()
			wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net"))
			equal(t, "b", heard(t, log, s.id), []string{"report|filter-report|proc|a|my own report", "filter|mail-from|a@example.net"})
			if e := ev.wait(t, "filter-report", kind(trace.FilterReport, "")); e.Session != s.id {
				t.Errorf("session %v", e.Session)
			}
		})
	}
}

func TestReportOfNoSession(t *testing.T) {
	h, ev := host(t, Options{}, command("say", "mail-from", "report|anything at all"))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net"))
	if e := ev.wait(t, "filter-report", kind(trace.FilterReport, "")); e.Session != 0 || e.Text != "anything at all" {
		t.Errorf("session %v, text %q", e.Session, e.Text)
	}
}

func TestTooManyReports(t *testing.T) {
	line := "report|1.000000|smtp-in|@S|x"
	args := []string{"mail-from"}
	for range maxReports + 1 {
		args = append(args, line)
	}
	h, ev := host(t, Options{}, command("say", args...))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net"))
	ev.mu.Lock()
	defer ev.mu.Unlock()
	n := 0
	for _, e := range ev.all {
		if e.Kind == trace.FilterReport {
			n++
		}
	}
	if n != maxReports {
		t.Errorf("%d reports, want %d", n, maxReports)
	}
}

// builtins makes a configuration of a chain of built-in filters, and a
// process behind them.
func builtins(command string, all ...config.Builtin) *config.Config {
	cfg := &config.Config{Filters: map[string]*config.Filter{}}
	chain := &config.Filter{Name: "all"}
	for i := range all {
		f := &config.Filter{Name: "builtin" + string(rune('0'+i)), Builtin: &all[i]}
		cfg.Filters[f.Name] = f
		chain.Chain = append(chain.Chain, config.Link{Filter: f})
	}
	if command != "" {
		p := &config.Proc{Name: "a", Command: command}
		cfg.Procs = []*config.Proc{p}
		cfg.Filters["a"] = &config.Filter{Name: "a", Proc: p}
		chain.Chain = append(chain.Chain, config.Link{Filter: cfg.Filters["a"]})
	}
	cfg.Filters["all"] = chain
	return cfg
}

var (
	ifTLS = []config.Condition{{Kind: config.CondTLS, Text: "tls"}}
	noTLS = []config.Condition{{Kind: config.CondTLS, Not: true, Text: "!tls"}}
)

func TestBuiltin(t *testing.T) {
	for _, tt := range []struct {
		b        config.Builtin
		decision filterwire.Decision
		param    string
	}{
		{config.Builtin{Phase: "mail-from", Decision: "reject", Param: "550 no"}, filterwire.Reject, "550 no"},
		{config.Builtin{Phase: "mail-from", Decision: "disconnect", Param: "421 no"}, filterwire.Disconnect, "421 no"},
		{config.Builtin{Phase: "mail-from", Decision: "rewrite", Param: "<x>"}, filterwire.Rewrite, "<x>"},
		{config.Builtin{Phase: "mail-from", Decision: "junk"}, filterwire.Junk, ""},
		{config.Builtin{Phase: "mail-from", Decision: "bypass"}, filterwire.Bypass, ""},
		{config.Builtin{Phase: "mail-from", Decision: "report", Param: "hi"}, filterwire.Proceed, ""},
		{config.Builtin{Phase: "mail-from", Decision: "junk", Conditions: noTLS}, filterwire.Junk, ""},
		{config.Builtin{Phase: "mail-from", Decision: "junk", Conditions: ifTLS}, filterwire.Proceed, ""},
		{config.Builtin{Phase: "rcpt-to", Decision: "junk"}, filterwire.Proceed, ""},
	} {
		h, ev := hostOf(t, Options{}, builtins("", tt.b))
		s := open(h)
		v := ask(t, s, filterwire.MailFrom, "a@example.net")
		if v.Decision != tt.decision || v.Param != tt.param {
			t.Errorf("%+v: got %v %q", tt.b, v.Decision, v.Param)
		}
		if tt.b.Decision == "report" {
			e := ev.wait(t, "filter-report", kind(trace.FilterReport, ""))
			if e.Method != "builtin" || e.Filter != "builtin0" || e.Text != "hi" || e.Session != s.id {
				t.Errorf("event %+v", e)
			}
		}
		if s.Message(context.Background(), os.Stdout) != nil {
			t.Error("a built-in filter wants message lines")
		}
		s.Close()
	}
}

func TestBypass(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	t.Run("transaction", func(t *testing.T) {
		h, _ := hostOf(t, Options{}, builtins(command("record", log), config.Builtin{Phase: "mail-from", Decision: "bypass"}))
		s := open(h)
		defer s.Close()
		ask(t, s, filterwire.MailFrom, "a")
		wantProceed(t, ask(t, s, filterwire.RcptTo, "b"))
		if s.Message(context.Background(), os.Stdout) != nil {
			t.Error("message goes through a filter that is bypassed")
		}
		s.told(trace.TxReset, nil)
		wantProceed(t, ask(t, s, filterwire.Noop, ""))
		equal(t, "a", heard(t, log, s.id), []string{"report|tx-reset|00000000", "filter|noop|"})
	})
	t.Run("session", func(t *testing.T) {
		h, _ := hostOf(t, Options{}, builtins(command("record", log), config.Builtin{Phase: "ehlo", Decision: "bypass"}))
		s := open(h)
		defer s.Close()
		wantProceed(t, ask(t, s, filterwire.Connect, "x|y"))
		ask(t, s, filterwire.Ehlo, "x")
		wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
		s.told(trace.TxReset, nil)
		wantProceed(t, ask(t, s, filterwire.MailFrom, "b"))
		s2 := open(h)
		defer s2.Close()
		wantProceed(t, ask(t, s2, filterwire.Noop, ""))
		equal(t, "a", heard(t, log, s.id), []string{"filter|connect|x|y", "report|tx-reset|00000000"})
	})
}

func TestWhen(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	cfg := builtins(command("record", log))
	cfg.Filters["all"].Chain[0].When = ifTLS
	h, _ := hostOf(t, Options{}, cfg)
	f := &routing.Facts{}
	s := h.Chain("all").Open(77, f)
	defer s.Close()
	s.connect()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	if s.Message(context.Background(), os.Stdout) != nil {
		t.Error("message goes through a filter whose condition does not hold")
	}
	f.TLS = true
	wantProceed(t, ask(t, s, filterwire.MailFrom, "b"))
	got := heard(t, log, s.id)
	equal(t, "a", got[1:], []string{"filter|mail-from|b"})
	if o := h.Chain("all").Order(); len(o) == 0 || o[0].Phase != filterwire.Connect || o[0].Filters[0] != (Step{Name: "a", When: "tls"}) {
		t.Errorf("order %+v", o)
	}
}

func TestOnlyWhatWasRegistered(t *testing.T) {
	h, _ := host(t, Options{}, command("narrow"))
	s := open(h)
	defer s.Close()
	s.connect()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	if n := h.List()[0].Questions; n != 0 {
		t.Errorf("%d questions", n)
	}
	wantProceed(t, ask(t, s, filterwire.RcptTo, "a"))
	st := h.List()[0]
	if st.Questions != 1 || st.Decisions[filterwire.Proceed] != 1 {
		t.Errorf("%d questions, %v", st.Questions, st.Decisions)
	}
	o := h.Chain("all").Order()
	if len(o) != 1 || o[0].Phase != filterwire.RcptTo || len(o[0].Filters) != 1 {
		t.Errorf("order %+v", o)
	}
}

func TestNoFilter(t *testing.T) {
	h, _ := host(t, Options{}, command("record", "/dev/null"))
	for _, name := range []string{"", "no such"} {
		s := h.Chain(name).Open(1, &routing.Facts{})
		s.connect()
		wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
		if s.Message(context.Background(), os.Stdout) != nil {
			t.Error("message wanted")
		}
		s.Close()
	}
}

func TestMessageSize(t *testing.T) {
	h, _ := host(t, Options{}, command("commit-size"))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	s.SetMessageSize(195)
	if v := ask(t, s, filterwire.Commit, ""); v.Param != "550 195" {
		t.Errorf("got %q", v.Param)
	}
	s.told(trace.TxReset, nil)
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	if v := ask(t, s, filterwire.Commit, ""); v.Param != "550 " {
		t.Errorf("got %q", v.Param)
	}
}

// A process that is started again learns who the sessions in progress are, and
// nothing of a transaction that began before.
func TestReplay(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	h, ev := host(t, Options{}, command("record", log))
	s := open(h)
	defer s.Close()
	s.connect()
	s.told(trace.LinkGreeting, func(e *trace.Event) { e.Text = "mx.example.test" })
	identify := func(name string) {
		s.told(trace.LinkIdentify, func(e *trace.Event) { e.Method, e.Text = "EHLO", name })
	}
	identify("first")
	s.told(trace.LinkTLS, func(e *trace.Event) { e.Text = "TLSv1.3:X:256" })
	identify("second")
	s.told(trace.LinkAuth, func(e *trace.Event) { e.Result, e.User = "pass", "alice" })
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	tx := func(k trace.Kind) { s.told(k, func(e *trace.Event) { e.Message = 1 }) }
	tx(trace.TxBegin)

	pid := h.List()[0].Workers[0].PID
	h.Set().procs["a"].workers[0].latest.Load().run.Signal(9)
	ev.wait(t, "second process", func(e *trace.Event) bool {
		w := h.List()[0].Workers[0]
		return w.State == stateReady && w.PID != pid
	})
	if err := os.Truncate(log, 0); err != nil {
		t.Fatal(err)
	}
	wantFault(t, ask(t, s, filterwire.RcptTo, "b"), "a")
	if m := s.Message(context.Background(), os.Stdout); m == nil {
		t.Error("the message is let through")
	} else {
		_, err := m.Write([]byte("x\n"))
		v := m.Finish(t.Context())
		wantFault(t, v, "a")
		if err == nil {
			t.Error("line accepted")
		}
	}
	tx(trace.TxRollback)
	tx(trace.TxReset)
	s.told(trace.ProtocolClient, func(e *trace.Event) { e.Text = "MAIL FROM:<c>" })
	wantProceed(t, ask(t, s, filterwire.MailFrom, "c"))
	tx(trace.TxBegin)
	wantProceed(t, ask(t, s, filterwire.RcptTo, "d"))
	equal(t, "new process", heard(t, log, s.id), []string{
		"report|link-connect|localhost|pass|127.0.0.1:33420|127.0.0.1:25",
		"report|link-greeting|mx.example.test",
		"report|link-tls|TLSv1.3:X:256",
		"report|link-identify|EHLO|second",
		"report|link-auth|pass|alice",
		"report|protocol-client|MAIL FROM:<c>",
		"filter|mail-from|c",
		"report|tx-begin|00000001",
		"filter|rcpt-to|d",
	})
}

// A session that a process has never heard of does not begin with its end.
func TestNoReplayForDisconnect(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	h, ev := host(t, Options{}, command("record", log))
	s := open(h)
	s.connect()
	wantProceed(t, ask(t, s, filterwire.Noop, ""))
	pid := h.List()[0].Workers[0].PID
	h.Set().procs["a"].workers[0].latest.Load().run.Signal(9)
	ev.wait(t, "second process", func(*trace.Event) bool {
		w := h.List()[0].Workers[0]
		return w.State == stateReady && w.PID != pid
	})
	before := len(heard(t, log, s.id))
	s.told(trace.LinkDisconnect, nil)
	s.Close()
	s2 := open(h)
	defer s2.Close()
	wantProceed(t, ask(t, s2, filterwire.Noop, ""))
	if got := heard(t, log, s.id); len(got) != before {
		t.Errorf("heard %v", got)
	}
}

func TestProtocol06(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	cfg := builtins(command("record", log))
	cfg.Procs[0].Protocol = "0.6"
	h, _ := hostOf(t, Options{}, cfg)
	s := open(h)
	defer s.Close()
	s.told(trace.LinkAuth, func(e *trace.Event) { e.Result, e.User = "pass", "alice" })
	wantProceed(t, ask(t, s, filterwire.Noop, ""))
	b, _ := os.ReadFile(log)
	text := string(b)
	if strings.Contains(text, "config|protocol") || strings.Contains(text, "config|feature") || !strings.Contains(text, "report|0.6|") {
		t.Errorf("heard %s", text)
	}
	equal(t, "a", heard(t, log, s.id), []string{"report|link-auth|alice|pass", "filter|noop|"})
}

// Reports wait for a filter that does not read, but not for ever, and the
// server's memory does not grow.
func TestDeafFilter(t *testing.T) {
	h, ev := impatient(t, 300*time.Millisecond, command("deaf"))
	s := open(h)
	defer s.Close()
	p := h.Set().procs["a"].workers[0].latest.Load()
	text := strings.Repeat("x", 1000)
	begin := time.Now()
	for i := 0; !s.seats[0].stuck.Load(); i++ {
		s.told(trace.ProtocolClient, func(e *trace.Event) { e.Text = text })
		if i > 10000 {
			t.Fatal("the pipe never fills")
		}
	}
	p.stdin.mu.Lock()
	if n := cap(p.stdin.buf); n > 2*writeBuffer {
		t.Errorf("%d bytes buffered", n)
	}
	p.stdin.mu.Unlock()
	ev.wait(t, "FilterFailed", kind(trace.FilterFailed, ""))
	v := ask(t, s, filterwire.MailFrom, "a")
	wantFault(t, v, "a")
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}
