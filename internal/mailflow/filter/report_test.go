package filter

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/trace"
)

// Reports wait for something to leave with, and come in order whatever that is:
// a question, the lines of a message, Flush, the session's end, or too many.
func TestReportsGathered(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	h, _ := host(t, Options{}, command("record", log))
	s := open(h)
	var want []string
	tell := func(text string) {
		s.gathered(trace.ProtocolClient, func(e *trace.Event) { e.Text = text })
		want = append(want, "report|protocol-client|"+text)
	}
	waits := func() bool { return s.seats[0].told != nil }

	tell("first")
	tell("second")
	if !waits() {
		t.Error("reports left by themselves")
	}
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	want = append(want, "filter|mail-from|a")
	if waits() {
		t.Error("reports did not leave with the question")
	}
	tell("before the message")
	var out bytes.Buffer
	m := s.Message(t.Context(), &out)
	m.Write([]byte("x\n"))
	tell("within the message")
	if v := m.Finish(t.Context()); v.Err != nil {
		t.Fatal(v.Err)
	}
	s.Flush()
	for n, before := 0, len(want); waits() || len(want) == before; n++ {
		tell(fmt.Sprint(n, " ", strings.Repeat("x", 200)))
		if n > gatherMax/200 {
			t.Fatal("reports gather without bound")
		}
	}
	tell("last")
	s.Close()

	s2 := open(h) // once it is answered, all before it has been heard
	defer s2.Close()
	wantProceed(t, ask(t, s2, filterwire.Noop, ""))
	equal(t, "filter", heard(t, log, s.id), want)
}

// What was told to a process that has ended is not told to the next.
func TestReportsGatheredForOld(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	h, ev := host(t, Options{}, command("record", log))
	s := open(h)
	defer s.Close()
	s.connect()
	wantProceed(t, ask(t, s, filterwire.Noop, ""))
	s.gathered(trace.ProtocolClient, func(e *trace.Event) { e.Text = "to the old one" })
	pid := h.List()[0].Workers[0].PID
	h.Set().procs["a"].workers[0].latest.Load().run.Signal(9)
	ev.wait(t, "second process", func(*trace.Event) bool {
		w := h.List()[0].Workers[0]
		return w.State == stateReady && w.PID != pid
	})
	s.told(trace.ProtocolClient, func(e *trace.Event) { e.Text = "to the new one" })
	deadline := time.Now().Add(10 * time.Second)
	for {
		got := strings.Join(heard(t, log, s.id), "\n")
		if strings.Contains(got, "to the old one") {
			t.Fatalf("heard %s", got)
		}
		if strings.Contains(got, "to the new one") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("heard %s", got)
		}
		time.Sleep(time.Millisecond)
	}
}
