package filter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/trace"
)

// policed is a chain of commands, all with that policy and time limit.
func policed(t *testing.T, on config.OnFailure, limit time.Duration, commands ...string) (*Host, *events) {
	t.Helper()
	cfg := &config.Config{Filters: map[string]*config.Filter{}}
	all := &config.Filter{Name: "all"}
	for i, c := range commands {
		p := &config.Proc{Name: string(rune('a' + i)), Command: c, OnFailure: on, Timeout: limit}
		f := &config.Filter{Name: p.Name, Proc: p}
		cfg.Procs = append(cfg.Procs, p)
		cfg.Filters[p.Name] = f
		all.Chain = append(all.Chain, config.Link{Filter: f})
	}
	cfg.Filters["all"] = all
	return hostOf(t, Options{}, cfg)
}

// transaction goes through all phases of one message and gives the verdict
// that refused it, or that of commit, and the message.
func transaction(t *testing.T, s *Session, body string) (filterwire.Phase, Verdict, string) {
	t.Helper()
	for _, ph := range []filterwire.Phase{filterwire.MailFrom, filterwire.RcptTo, filterwire.Data} {
		if v := ask(t, s, ph, "a@example.net"); v.Decision != filterwire.Proceed {
			return ph, v, ""
		}
	}
	var out bytes.Buffer
	if m := s.Message(t.Context(), &out); m != nil {
		m.Write([]byte(body))
		if v := m.Finish(t.Context()); v.Decision != filterwire.Proceed {
			return filterwire.DataLine, v, ""
		}
	} else {
		out.WriteString(body)
	}
	v := ask(t, s, filterwire.Commit, "")
	if v.Before != nil {
		out.Reset()
		if err := v.Before(&out); err != nil {
			t.Fatal(err)
		}
	}
	return filterwire.Commit, v, out.String()
}

const (
	policyBody    = "Subject: x\n\none\ntwo\nthree\n"
	policyDoubled = "Subject: x\nSubject: x\n\n\none\none\ntwo\ntwo\nthree\nthree\n"
)

// A filter that doubles each line fails at each place there is, under each
// policy, alone and before a filter that appends a line: its edits never apply
// in part, and the next transaction asks it again.
func TestPolicy(t *testing.T) {
	policies := []config.OnFailure{config.Tempfail, config.Reject, config.Accept, config.Hold}
	for _, on := range policies {
		for _, at := range []string{"mail-from", "rcpt-to", "data", "line", "dot", "commit"} {
			t.Run(fmt.Sprint(on, " ", at), func(t *testing.T) {
				t.Parallel()
				h, ev := policed(t, on, 10*time.Second, command("edits", at))
				s := open(h)
				defer s.Close()
				for range 2 { // the second transaction fails as the first
					ph, v, out := transaction(t, s, policyBody)
					checkPolicy(t, on, at, ph, v)
					if ph == filterwire.Commit && v.Decision == filterwire.Proceed && out != policyBody {
						t.Errorf("message %q, want it as it was", out)
					}
					s.told(trace.TxReset, nil)
					ev.wait(t, "FilterFailed", kind(trace.FilterFailed, ""))
				}
			})
		}
	}
}

func checkPolicy(t *testing.T, on config.OnFailure, at string, ph filterwire.Phase, v Verdict) {
	t.Helper()
	var f *Fault
	if !errors.As(v.Err, &f) || f.Filter != "a" || v.Filter != "a" {
		t.Fatalf("verdict of %q, %v", v.Filter, v.Err)
	}
	want := map[config.OnFailure]string{config.Tempfail: "451 4.7.1 Filter a failed in session ", config.Reject: "550 5.7.1 Filter a failed in session "}[on]
	if want == "" {
		if ph != filterwire.Commit || v.Decision != filterwire.Proceed || (v.Hold != "") != (on == config.Hold) {
			t.Fatalf("at %v: %v, held for %q", ph, v.Decision, v.Hold)
		}
		return
	}
	place := map[string]string{"line": "data-line", "dot": "data-line"}[at]
	if place == "" {
		place = at
	}
	if ph.String() != place || v.Decision != filterwire.Reject || !strings.HasPrefix(v.Param, want) || v.Hold != "" {
		t.Fatalf("at %v: %v %q, held for %q", ph, v.Decision, v.Param, v.Hold)
	}
}

// What passed the filter at fault goes on to the next as the client sent it.
func TestPassedOverInChain(t *testing.T) {
	for _, at := range []string{"line", "dot", "never"} {
		h, _ := policed(t, config.Accept, 10*time.Second, command("line-add", "x"), command("edits", at), command("line-add", "z"))
		s := open(h)
		_, v, out := transaction(t, s, policyBody)
		want := policyBody + "added by x\nadded by z\n"
		if at == "never" {
			want = policyDoubled + "added by x\nadded by x\nadded by z\n"
		}
		if v.Decision != filterwire.Proceed || out != want {
			t.Errorf("%s: %v, message %q", at, v.Decision, out)
		}
		s.Close()
	}
}

// At commit the edits of the last filters that failed are undone; those of one
// before a filter that did not fail stay whole.
func TestUndoneAtCommit(t *testing.T) {
	for _, tt := range []struct {
		commands []string
		want     string
	}{
		{[]string{command("line-add", "x"), command("edits", "commit")}, policyBody + "added by x\n"},
		{[]string{command("edits", "commit"), command("edits", "commit")}, policyBody},
		{[]string{command("edits", "commit"), command("edits", "line")}, policyBody},
		{[]string{command("edits", "commit"), command("line-add", "x")}, policyDoubled + "added by x\n"},
	} {
		h, _ := policed(t, config.Accept, 10*time.Second, tt.commands...)
		s := open(h)
		_, v, out := transaction(t, s, policyBody)
		if v.Decision != filterwire.Proceed || out != tt.want {
			t.Errorf("%q: %v, message %q", tt.commands, v.Decision, out)
		}
		s.Close()
	}
}

// Silence counts like an end, and a filter that is silent once is not waited
// for again in the same transaction.
func TestSilencePolicy(t *testing.T) {
	for _, at := range []string{"mail-from", "rcpt-to", "data", "commit"} {
		h, _ := policed(t, config.Accept, time.Second, command("silent", at))
		s := open(h)
		begin := time.Now()
		_, v, out := transaction(t, s, policyBody)
		if v.Decision != filterwire.Proceed || !errors.Is(v.Err, ErrTimeout) && at == "commit" || out != policyBody {
			t.Errorf("%s: %v (%v), message %q", at, v.Decision, v.Err, out)
		}
		if d := time.Since(begin); d < time.Second || d > 8*time.Second {
			t.Errorf("%s: took %v", at, d)
		}
		s.Close()
	}
	for _, role := range []string{"line-silent", "line-no-dot", "line-crlf"} {
		h, _ := policed(t, config.Hold, time.Second, command(role))
		s := open(h)
		_, v, out := transaction(t, s, policyBody)
		if v.Decision != filterwire.Proceed || !strings.Contains(v.Hold, "no end of the message for 1s") || out != policyBody {
			t.Errorf("%s: %v, held for %q, message %q", role, v.Decision, v.Hold, out)
		}
		s.Close()
	}
}

// A filter that fails before there is a transaction: all messages of the
// session are held, since none has had its word.
func TestHeldForSession(t *testing.T) {
	h, _ := policed(t, config.Hold, 10*time.Second, command("exit", "ehlo"))
	s := open(h)
	defer s.Close()
	if v := ask(t, s, filterwire.Ehlo, "x"); v.Decision != filterwire.Proceed || v.Err == nil {
		t.Errorf("got %v, %v", v.Decision, v.Err)
	}
	for range 2 {
		if _, v, _ := transaction(t, s, policyBody); v.Decision != filterwire.Proceed || !strings.Contains(v.Hold, "at ehlo") {
			t.Errorf("got %v, held for %q", v.Decision, v.Hold)
		}
		s.told(trace.TxReset, nil)
	}
}

// A large message is kept in a file, and comes out whole.
func TestLargePassedOver(t *testing.T) {
	h, _ := policed(t, config.Accept, 10*time.Second, command("edits", "dot"), command("lines"))
	s := open(h)
	defer s.Close()
	body := string(lines(8 << 20))
	if _, v, out := transaction(t, s, body); v.Decision != filterwire.Proceed || out != body {
		t.Errorf("%v, message of %d bytes, want %d", v.Decision, len(out), len(body))
	}
}

func TestPause(t *testing.T) {
	for on, want := range map[config.OnFailure]filterwire.Decision{config.Tempfail: filterwire.Reject, config.Accept: filterwire.Proceed} {
		h, _ := policed(t, on, 10*time.Second, command("edits", "never"))
		s := open(h)
		if err := h.Pause("a"); err != nil || !h.List()[0].Paused {
			t.Errorf("pause: %v", err)
		}
		_, v, _ := transaction(t, s, policyBody)
		if v.Decision != want || !errors.Is(v.Err, ErrPaused) {
			t.Errorf("%v: %v, %v", on, v.Decision, v.Err)
		}
		s.told(trace.TxReset, nil)
		if err := h.Resume("a"); err != nil {
			t.Error(err)
		}
		if _, v, out := transaction(t, s, policyBody); v.Err != nil || out != policyDoubled {
			t.Errorf("%v after resume: %v, message %q", on, v.Err, out)
		}
		s.Close()
		if h.Pause("b") == nil || h.Resume("b") == nil || h.Restart(context.Background(), "b") == nil {
			t.Error("a filter that there is not")
		}
	}
}

// Names that do not fit into a reply are made to.
func TestReplyName(t *testing.T) {
	p := policy{}
	v := p.verdict("sp\u00e4m\r\n"+strings.Repeat("x", 1000), filterwire.Data, &Fault{Session: 1})
	if len(v.Param) > 200 || strings.ContainsAny(v.Param, "\r\n\u00e4") {
		t.Errorf("reply %q", v.Param)
	}
}
