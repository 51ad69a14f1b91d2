package filter

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/trace"
)

// However many answers a filter owes, it may give them all later, and is asked
// about the next transaction.
func TestManyLateAnswers(t *testing.T) {
	h, ev := impatient(t, 10*time.Millisecond, command("nap", "mail-from", "400ms"))
	s := open(h)
	defer s.Close()
	for range 3 * maxLate {
		if v := ask(t, s, filterwire.MailFrom, "a@example.net"); !errors.Is(v.Err, ErrTimeout) {
			t.Fatalf("got %v", v.Err)
		}
		s.told(trace.TxReset, nil)
	}
	h.Set().seq[0].policy.timeout = 10 * time.Second
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a@example.net"))
	wantProceed(t, ask(t, s, filterwire.RcptTo, "b@example.net"))
	ev.mu.Lock()
	defer ev.mu.Unlock()
	for _, e := range ev.all {
		if e.Kind == trace.FilterState && e.Result == "exited" {
			t.Error("the process was ended")
		}
	}
}

// A filter that is started again is waited for at the beginning of a
// transaction, also if it is asked about the message only: without, it would
// not have its say on a message that was sent in that moment.
func TestNextTransactionWaitsForRestart(t *testing.T) {
	h, ev := host(t, Options{}, command("lines-exit", "bad"))
	s := open(h)
	defer s.Close()
	ph, v, _ := transaction(t, s, "bad\n")
	if ph != filterwire.DataLine {
		t.Errorf("refused at %v", ph)
	}
	wantFault(t, v, "a")
	ev.wait(t, "restarting", kind(trace.FilterState, "restarting"))
	s.told(trace.TxReset, nil)
	ph, v, body := transaction(t, s, "good\n")
	if ph != filterwire.Commit || v.Decision != filterwire.Proceed || v.Err != nil || body != "good\n" {
		t.Errorf("at %v: %v, %v, message %q", ph, v.Decision, v.Err, body)
	}
}

// fill has the process of s not read, and fills its pipe.
func fill(t *testing.T, s *Session, p *process) {
	t.Helper()
	p.run.Signal(syscall.SIGSTOP)
	text := strings.Repeat("x", 1000)
	for i := 0; !s.seats[0].stuck.Load(); i++ {
		s.told(trace.ProtocolClient, func(e *trace.Event) { e.Text = text })
		if i > 10000 {
			t.Fatal("the pipe never fills")
		}
	}
}

// A filter that did not read for a while is told again who is there, and asked,
// at the next transaction.
func TestDeafForAWhile(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	h, _ := impatient(t, 300*time.Millisecond, command("record", log))
	p := h.Set().seq[0].workers[0].latest.Load()
	s := open(h)
	defer s.Close()
	s.connect()
	wantProceed(t, s.Ask(t.Context(), filterwire.Noop, ""))
	fill(t, s, p)
	wantFault(t, s.Ask(t.Context(), filterwire.MailFrom, "deaf@example.net"), "a")
	s.told(trace.TxReset, nil)
	h.Set().seq[0].policy.timeout = 10 * time.Second
	p.run.Signal(syscall.SIGCONT)
	wantProceed(t, s.Ask(t.Context(), filterwire.MailFrom, "a@example.net"))
	wantProceed(t, s.Ask(t.Context(), filterwire.RcptTo, "b@example.net"))
	if n := strings.Count(strings.Join(heard(t, log, s.id), "\n"), "report|link-connect"); n < 2 {
		t.Errorf("told %d times who is there", n)
	}
}

// A client that leaves ends the wait for room for reports, and its session does
// not wait to say good-bye to a filter that does not read, which hears it all the
// same when it does.
func TestLeaveDeafFilter(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	h, _ := impatient(t, 300*time.Millisecond, command("record", log))
	p := h.Set().seq[0].workers[0].latest.Load()
	other, s := open(h), open(h)
	defer other.Close()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	s.connect()
	wantProceed(t, s.Ask(ctx, filterwire.Noop, ""))
	wantProceed(t, other.Ask(t.Context(), filterwire.Noop, ""))
	fill(t, other, p)
	h.Set().seq[0].policy.timeout = time.Minute
	begin := time.Now()
	time.AfterFunc(20*time.Millisecond, leave)
	s.told(trace.ProtocolClient, func(e *trace.Event) { e.Text = strings.Repeat("x", 2000) })
	s.gathered(trace.LinkDisconnect, nil)
	s.Close()
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
	p.run.Signal(syscall.SIGCONT)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		got := strings.Join(heard(t, log, s.id), "\n")
		if strings.Contains(got, "report|link-disconnect") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("heard %s", got)
		}
	}
}

// A filter that begins again and again is waited for no longer than one that
// does not answer.
func TestNotReadyInTime(t *testing.T) {
	h, _ := impatient(t, 100*time.Millisecond, command("exit-at-start"))
	s := open(h)
	defer s.Close()
	began := time.Now()
	wantFault(t, ask(t, s, filterwire.MailFrom, "a@example.net"), "a")
	if took := time.Since(began); took > restartGrace {
		t.Errorf("waited %v with a time limit of 100ms", took)
	}
}
