package filter

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/trace"
)

// A filter that breaks the protocol, or ends, at a question: the question gets
// the policy's verdict, the fault is told with the line and the expectation,
// and a new process answers the next session.
func TestFaultAtQuestion(t *testing.T) {
	tests := []struct {
		name, role string
		args       []string
		line       string // begins the line that the fault names
		expected   string // is in what was expected, or in the cause
	}{
		{"garbage line", "say-only", []string{"hello this is not the protocol"}, "hello this", "filter-result|"},
		{"garbage, then the answer", "say", []string{"hello"}, "hello", "filter-result|"},
		{"empty line", "say", []string{""}, "", "filter-result|"},
		{"truncated result", "say-only", []string{"filter-result|@S"}, "filter-result|", "token"},
		{"session is no number", "say-only", []string{"filter-result|zzzz|@T|proceed"}, "filter-result|zzzz", "session"},
		{"wrong token", "say-only", []string{"filter-result|@S|deadbeefdeadbeef|proceed"}, "filter-result|", "token of the question to mail-from"},
		{"unknown decision", "answer", []string{"maybe"}, "filter-result|", "proceed, junk"},
		{"unknown decision with a parameter", "answer", []string{"maybe|so"}, "filter-result|", "proceed, junk"},
		{"reject without text", "answer", []string{"reject"}, "filter-result|", "parameter"},
		{"proceed with a parameter", "answer", []string{"proceed|x"}, "filter-result|", "no parameter"},
		{"answer ends in CR LF", "answer", []string{"proceed\r"}, "filter-result|", "LF after it"},
		{"answer of a built-in filter", "answer", []string{"bypass"}, "filter-result|", "proceed, junk"},
		{"message line outside a message", "say-only", []string{"filter-dataline|@S|@T|a line"}, "filter-dataline|", "no message of this session"},
		{"oversized line", "huge", nil, "filter-result|", "131072"},
		{"line without end", "unterminated", nil, "filter-result|xx", "131072"},
		{"exit", "exit", nil, "", "exit status 1"},
		{"exit within the answer", "partial", nil, "filter-result|", "LF at the end"},
		{"closed standard output", "close-stdout", nil, "", "process ended"},
		{"closed both", "close-both", nil, "", "process ended"},
		{"registers nonsense later", "say", []string{"register|report|smtp-in|nonsense"}, "register|report", "EVENT"},
		{"feature that was not announced", "say", []string{"register|feature|nonsense"}, "register|feature", "announced"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, ev := host(t, Options{}, command(tt.role, append([]string{"mail-from"}, tt.args...)...))
			s := open(h)
			wantProceed(t, ask(t, s, filterwire.Connect, "localhost|127.0.0.1"))
			wantFault(t, ask(t, s, filterwire.MailFrom, "a@example.net"), "a")
			e := ev.wait(t, "FilterFailed", kind(trace.FilterFailed, ""))
			if e.Filter != "a" || !strings.HasPrefix(e.Text, tt.line) || !strings.Contains(e.Cause.Error(), tt.expected) {
				t.Errorf("fault of %q, line %q, cause %v", e.Filter, e.Text, e.Cause)
			}
			ev.wait(t, "exited", kind(trace.FilterState, "exited"))
			s2 := open(h)
			wantProceed(t, ask(t, s2, filterwire.Connect, "localhost|127.0.0.1"))
			// The old session is known to the new process, too.
			wantProceed(t, ask(t, s, filterwire.Noop, ""))
			s.Close()
			s2.Close()
		})
	}
}

func TestAnswersTwice(t *testing.T) {
	h, ev := host(t, Options{}, command("twice", "mail-from"))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net")) // the first one counts
	e := ev.wait(t, "FilterFailed", kind(trace.FilterFailed, ""))
	if !strings.Contains(e.Cause.Error(), "nothing is asked") {
		t.Errorf("cause %v", e.Cause)
	}
	// The transaction began on a process that is gone.
	wantFault(t, ask(t, s, filterwire.RcptTo, "b@example.net"), "a")
	wantProceed(t, ask(t, s, filterwire.Quit, ""))
}

// What a filter may do although it looks odd.
func TestTolerated(t *testing.T) {
	tests := []struct {
		name, role string
		args       []string
	}{
		{"unknown session", "say", []string{"filter-result|0123456789abcdef|@T|proceed"}},
		{"session and token swapped", "say", []string{"filter-result|@T|@S|proceed"}},
		{"line of a message of an unknown session", "say", []string{"filter-dataline|0123456789abcdef|@T|x"}},
		{"registers late", "say", []string{"register|report|smtp-in|timeout"}},
		{"registers for smtp-out", "say", []string{"register|report|smtp-out|link-connect"}},
		{"ready twice", "say", []string{"register|ready"}},
		{"one byte at a time", "split", nil},
		{"late", "late", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, ev := host(t, Options{}, command(tt.role, append([]string{"mail-from"}, tt.args...)...))
			s := open(h)
			defer s.Close()
			wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net"))
			wantProceed(t, ask(t, s, filterwire.RcptTo, "a@example.net"))
			ev.mu.Lock()
			defer ev.mu.Unlock()
			for _, e := range ev.all {
				if e.Kind == trace.FilterFailed {
					t.Errorf("fault: %v", e.Cause)
				}
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	h, ev := impatient(t, 300*time.Millisecond, command("silent", "mail-from"))
	s := open(h)
	defer s.Close()
	v := ask(t, s, filterwire.MailFrom, "a@example.net")
	wantFault(t, v, "a")
	if !errors.Is(v.Err, ErrTimeout) {
		t.Errorf("error %v", v.Err)
	}
	ev.wait(t, "FilterFailed", func(e *trace.Event) bool { return e.Kind == trace.FilterFailed && e.Phase == "mail-from" })
	wantFault(t, ask(t, s, filterwire.RcptTo, "b@example.net"), "a") // the transaction has failed
	s.told(trace.TxReset, nil)
	wantProceed(t, ask(t, s, filterwire.RcptTo, "b@example.net")) // a timeout alone does not kill
	if n := h.List()[0].Workers[0].Restarts; n != 0 {
		t.Errorf("%d restarts", n)
	}
}

// QUIT is never refused for a filter's fault.
func TestQuitProceeds(t *testing.T) {
	h, _ := impatient(t, 200*time.Millisecond, command("silent", "quit"))
	s := open(h)
	defer s.Close()
	v := ask(t, s, filterwire.Quit, "")
	if v.Decision != filterwire.Proceed || !errors.Is(v.Err, ErrTimeout) {
		t.Errorf("got %v, %v", v.Decision, v.Err)
	}
}

// An answer that comes after its time is no fault, up to maxLate of them.
func TestLateAnswer(t *testing.T) {
	h, ev := impatient(t, 200*time.Millisecond, command("late", "mail-from"))
	s := open(h)
	defer s.Close()
	wantFault(t, ask(t, s, filterwire.MailFrom, "a@example.net"), "a")
	s.told(trace.TxReset, nil)
	other := open(h)
	defer other.Close()
	for range 3 { // until it is awake again
		if v := ask(t, other, filterwire.Noop, ""); v.Err == nil {
			break
		}
	}
	wantProceed(t, ask(t, s, filterwire.RcptTo, "b@example.net"))
	ev.mu.Lock()
	defer ev.mu.Unlock()
	for _, e := range ev.all {
		if e.Kind == trace.FilterState && e.Result == "exited" {
			t.Error("the process was ended")
		}
	}
}

func TestNotAskedAfterManyTimeouts(t *testing.T) {
	h, _ := impatient(t, 20*time.Millisecond, command("silent", "noop"))
	s := open(h)
	defer s.Close()
	for range maxLate + 1 {
		if v := ask(t, s, filterwire.Noop, ""); !errors.Is(v.Err, ErrTimeout) {
			t.Fatalf("got %v", v.Err)
		}
	}
	before := h.List()[0].Questions
	if v := ask(t, s, filterwire.Noop, ""); !errors.Is(v.Err, ErrTimeout) {
		t.Errorf("got %v", v.Err)
	}
	if n := h.List()[0].Questions; n != before {
		t.Error("asked again")
	}
	h.Set().seq[0].policy.timeout = 10 * time.Second
	wantProceed(t, ask(t, s, filterwire.MailFrom, "x@example.net")) // a transaction is asked about
}

func TestClientLeaves(t *testing.T) {
	h, ev := host(t, Options{}, command("silent", "mail-from"))
	s := open(h)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	v := s.Ask(ctx, filterwire.MailFrom, "a@example.net")
	if !errors.Is(v.Err, context.Canceled) {
		t.Errorf("error %v", v.Err)
	}
	s.Close()
	ev.mu.Lock()
	defer ev.mu.Unlock()
	for _, e := range ev.all {
		if e.Kind == trace.FilterFailed {
			t.Errorf("fault: %v", e.Cause)
		}
	}
}

// A filter that never becomes ready fails transactions and nothing else.
func TestNeverReady(t *testing.T) {
	for _, role := range []string{"never-ready", "exit-at-start", "result-before-ready"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			h, ev := host(t, Options{AnswerTimeout: 300 * time.Millisecond}, command(role))
			ev.wait(t, "FilterFailed", kind(trace.FilterFailed, ""))
			s := open(h)
			defer s.Close()
			wantProceed(t, ask(t, s, filterwire.Connect, "x|127.0.0.1"))
			wantProceed(t, ask(t, s, filterwire.Ehlo, "x"))
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			wantFault(t, s.Ask(ctx, filterwire.MailFrom, "a@example.net"), "a")
			wantProceed(t, ask(t, s, filterwire.Quit, ""))
		})
	}
}

func TestBadRegistration(t *testing.T) {
	for _, line := range []string{
		"register|report|smtp-in|bogus-event", "register|filter|smtp-in|bogus-phase", "register|filter|smtp-in|*",
		"register|report|smtp-sideways|link-connect", "register|nonsense|smtp-in|link-connect", "register|filter|smtp-out|data",
		"register", "register|ready|x",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			_, ev := host(t, Options{}, command("raw", line, "register|ready"))
			e := ev.wait(t, "FilterFailed", kind(trace.FilterFailed, ""))
			if e.Text != line {
				t.Errorf("line %q, cause %v", e.Text, e.Cause)
			}
		})
	}
}

func TestGoodRegistration(t *testing.T) {
	h, _ := host(t, Options{}, command("raw", "register|report|smtp-in|*", "register|report|smtp-in|timeout",
		"register|report|smtp-out|tx-begin", "register|filter|smtp-in|rcpt-to", "register|filter|smtp-in|rcpt-to",
		"register|feature|message-size", "register|ready", "register|filter|smtp-in|wiz"))
	if st := h.List()[0].Workers[0].State; st != "ready" {
		t.Errorf("state %s", st)
	}
}

func TestCommandNotFound(t *testing.T) {
	_, ev := host(t, Options{LibexecDirs: []string{"/nonexistent/weir"}}, "no-such-filter -x")
	e := ev.wait(t, "FilterFailed", kind(trace.FilterFailed, ""))
	if !strings.Contains(e.Cause.Error(), "/nonexistent/weir") || !strings.Contains(e.Cause.Error(), "no-such-filter") {
		t.Errorf("cause %v", e.Cause)
	}
}

// Faults within a message.
func TestFaultInMessage(t *testing.T) {
	body := []string{"Subject: x", "", "one", "two", "three"}
	tests := []struct {
		role     string
		timeout  time.Duration
		expected string
	}{
		{"line-silent", 500 * time.Millisecond, "did not answer in time"},
		{"line-no-dot", 500 * time.Millisecond, "did not answer in time"},
		{"line-crlf", 500 * time.Millisecond, "CR LF"},
		{"line-exit", 10 * time.Second, "exit status 1"},
		{"line-wrong-token", 10 * time.Second, "and token is under way"},
		{"line-result", 10 * time.Second, "nothing is asked"},
		{"line-huge", 10 * time.Second, "131072"},
	}
	for _, tt := range tests {
		t.Run(tt.role, func(t *testing.T) {
			t.Parallel()
			h, ev := impatient(t, tt.timeout, command("lines"), command(tt.role))
			s := open(h)
			defer s.Close()
			wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net"))
			_, v := send(t, s, body...)
			wantFault(t, v, "b")
			e := ev.wait(t, "FilterFailed", kind(trace.FilterFailed, ""))
			if e.Filter != "b" || !strings.Contains(e.Cause.Error()+e.Text, tt.expected) {
				t.Errorf("fault of %q, line %q, cause %v", e.Filter, e.Text, e.Cause)
			}
		})
	}
}

// Lines behind the dot of a message, and a dot before the server's, are faults.
// One that comes after Finish is the fault of whatever is asked next.
func TestOddMessages(t *testing.T) {
	body := []string{"Subject: x", "", "one", "two"}
	for role, expected := range map[string]string{
		"line-two-dots":  "after its dot",
		"line-after-dot": "after its dot",
	} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			h, ev := host(t, Options{}, command(role), command("lines"))
			s := open(h)
			defer s.Close()
			wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net"))
			_, v := send(t, s, body...)
			if v.Err == nil {
				v = ask(t, s, filterwire.Commit, "")
			}
			wantFault(t, v, "a")
			e := ev.wait(t, "FilterFailed", kind(trace.FilterFailed, ""))
			if e.Session != s.id || !strings.Contains(e.Cause.Error(), expected) {
				t.Errorf("session %v, cause %v", e.Session, e.Cause)
			}
		})
	}
}

func TestEarlyDot(t *testing.T) {
	h, ev := host(t, Options{}, command("line-early-dot"))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net"))
	m := s.Message(t.Context(), io.Discard)
	m.Write([]byte("one\ntwo\nthree\n"))
	e := ev.wait(t, "FilterFailed", kind(trace.FilterFailed, ""))
	if !strings.Contains(e.Cause.Error(), "no dot before the server's") {
		t.Errorf("cause %v", e.Cause)
	}
	wantFault(t, m.Finish(t.Context()), "a")
}
