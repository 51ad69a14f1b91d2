package faults

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/admin"
)

// outcome says what a mode may end in for the mail that waited.
type outcome uint8

const (
	fails   outcome = iota // the filter's policy, and nothing else
	mayFail                // the answer was good, and what is wrong came beside it: policy or success
	works                  // no fault
)

// atQuestion are the modes at a question, tried at each phase that has one.
var atQuestion = map[string]outcome{
	"exit-0": fails, "exit-1": fails, "kill": fails, "silent": fails, "late": fails, "deaf": fails,
	"garbage": fails, "garbage-then-proceed": fails, "empty-line": fails, "truncated": fails, "no-decision": fails,
	"nonhex-session": fails, "wrong-token": fails, "wrong-session": fails, "swapped": fails,
	"unknown-decision": fails, "unknown-decision-param": fails, "reject-without-text": fails,
	"proceed-with-parameter": fails, "crlf": fails, "partial": fails, "unterminated": fails, "long-answer": fails,
	"close-stdout": fails, "close-both": fails, "registers-nonsense": fails, "dataline-out-of-phase": fails,
	"twice": mayFail, "stderr-flood": works, "byte-by-byte": works, "own-report": works,
}

var questionPhases = strings.Fields("connect ehlo mail-from rcpt-to data commit")

// atLine are the modes within a message.
var atLine = map[string]outcome{
	"exit-0": fails, "exit-1": fails, "kill": fails, "exit-at-dot": fails, "silent": fails, "late": fails, "deaf": fails,
	"garbage": fails, "result-in-data": fails, "dataline-wrong-token": fails, "long-line": fails, "unterminated": fails,
	"partial": fails, "close-stdout": fails, "close-both": fails, "early-dot": fails, "no-dot": fails, "crlf-lines": fails,
	"two-dots": fails, "after-dot": fails, "too-much": fails, "stderr-flood": works,
}

// atStart are the modes of a filter that never becomes ready.
var atStart = map[string]outcome{
	"exit-0": fails, "exit-1": fails, "exit-after-ready": mayFail, "never-registers": fails, "unknown-report": fails,
	"unknown-phase": fails, "unknown-subsystem": fails, "unknown-stream": fails, "unknown-feature": fails,
	"wildcard-phase": fails, "result-before-ready": fails,
}

// fault is one case: a filter that misbehaves so, and what a session got.
type fault struct {
	mode, phase string
	outcome     outcome
	name        string // of the filter, and of the message

	accepted bool
	reply    string
	err      error
}

func allFaults() []*fault {
	var all []*fault
	add := func(mode, phase string, o outcome) {
		all = append(all, &fault{mode: mode, phase: phase, outcome: o, name: mode + "." + phase})
	}
	for _, mode := range slices.Sorted(maps.Keys(atQuestion)) {
		o := atQuestion[mode]
		for _, ph := range questionPhases {
			add(mode, ph, o)
		}
	}
	for _, mode := range slices.Sorted(maps.Keys(atLine)) {
		o := atLine[mode]
		add(mode, "data-line", o)
	}
	for _, mode := range slices.Sorted(maps.Keys(atStart)) {
		o := atStart[mode]
		add(mode, "start", o)
	}
	return all
}

// answerLimit is the time limit of the filters, as the configuration has it. It
// is long enough for them to start, all at once, on a machine that is busy.
const answerLimit = "10s"

// TestFaults has a filter for every way to misbehave at every phase, all in one
// server for each policy, and a message through each, while bystanders send
// theirs. The message gets its filter's policy; the bystanders notice nothing.
//
// Each fault is tried with two of the policies, one that refuses and one that
// lets through, in turn; with WEIR_FAULTS_LONG=1 with all.
func TestFaults(t *testing.T) {
	t.Parallel()
	for turn, policy := range []string{"tempfail", "accept", "reject", "hold"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			cases := allFaults()
			if os.Getenv("WEIR_FAULTS_LONG") == "" {
				n := 0
				cases = slices.DeleteFunc(cases, func(*fault) bool { n++; return n%2 == turn/2 })
			}
			config := declare("healthy", "none", "none", "")
			names := []string{"healthy"}
			for _, f := range cases {
				config += declare(f.name, f.mode, f.phase, "timeout "+answerLimit+" on-failure "+policy)
				names = append(names, f.name)
			}
			h := newHouse(t, config, names...)
			b := h.stand(t)
			before := h.rss(t)
			provoke(t, h, cases)
			grown := h.rss(t) - before
			h.settled(t, policy == "hold")
			got := b.leave(t, func() map[string][]string { h.settled(t, policy == "hold"); return h.delivered(t) })
			held := make(map[string]admin.Envelope)
			for _, e := range h.queued(t) {
				held[e.Message] = e
			}
			for _, f := range cases {
				f.check(t, policy, got[f.name], held)
			}
			if !h.Alive() {
				t.Error("the server has ended")
			}
			t.Logf("%d faults; the server's memory has grown by %d KB", len(cases), grown)
			if grown > grownLimit {
				t.Errorf("the server's memory has grown by %d KB", grown)
			}
		})
	}
}

// grownLimit is how much larger the server may be after all faults, in KB: the
// race detector takes its part of it.
const grownLimit = 256 << 10

// atOnce is how many sessions provoke faults at the same time.
const atOnce = 48

// provoke sends a message through each of the filters.
func provoke(t *testing.T, h *house, cases []*fault) {
	t.Helper()
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for _, f := range cases {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var pause func()
			if f.mode == "early-dot" { // it is early only if the client is not done
				pause = func() { h.awaitFault(t.Context(), f.name) }
			}
			f.accepted, f.reply, f.err = send(h.addrs[f.name], f.name, pause)
		})
	}
	wg.Wait()
}

// awaitFault waits until the server has found a filter at fault.
func (h *house) awaitFault(ctx context.Context, name string) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if all, err := h.filters(ctx); err == nil && all[name].LastErr != "" {
			return
		}
	}
}

// settled waits until everything is delivered that is not held.
func (h *house) settled(t *testing.T, held bool) {
	t.Helper()
	if !held {
		h.Drained(t, patience)
		return
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		waiting := 0
		for _, e := range h.queued(t) {
			if e.State != "held" {
				waiting++
			}
		}
		if waiting == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d envelopes are still not delivered", waiting)
		}
	}
}

// check compares what the session got with what its filter's policy says.
func (f *fault) check(t *testing.T, policy string, delivered []string, held map[string]admin.Envelope) {
	t.Helper()
	bad := func(what string) {
		t.Helper()
		t.Errorf("%s: %s; accepted %v, last reply %q, %v; delivered %d times", f.name, what, f.accepted, f.reply, f.err, len(delivered))
	}
	if f.err != nil {
		bad("the session broke")
		return
	}
	code := map[string]string{"tempfail": "451 4.7.1", "reject": "550 5.7.1"}[policy]
	if !f.accepted {
		switch {
		case f.outcome == works || code == "":
			bad("it was refused")
		case !strings.HasPrefix(f.reply, fmt.Sprintf("%s Filter %s failed in session ", code, f.name)):
			bad("the reply is another")
		case len(delivered) != 0:
			bad("it was refused and delivered")
		}
		return
	}
	_, rest, _ := strings.Cut(f.reply, "250 2.0.0 ")
	id, _, _ := strings.Cut(rest, " ")
	env, isHeld := held[id]
	touched := len(delivered) == 1 && strings.Contains(delivered[0], addedLine)
	whole := len(delivered) == 1 && strings.HasSuffix(delivered[0], "first line\nsecond line\nthe end of "+f.name+"\n")
	good := touched || whole
	switch {
	case f.outcome == fails && code != "":
		bad("it was accepted")
	case isHeld && (policy != "hold" || f.outcome == works || !strings.Contains(env.LastErr, "filter "+f.name)):
		bad("it is held for " + env.LastErr)
	case isHeld && len(delivered) != 0:
		bad("it is held and delivered")
	case !isHeld && policy == "hold" && f.outcome == fails:
		bad("it is not held")
	case !isHeld && !good:
		bad(fmt.Sprintf("it is not whole: %q", delivered))
	case !isHeld && touched && f.outcome == fails && !outsideMail(f.phase):
		bad("the filter's edits count")
	}
}

// outsideMail reports whether a fault at phase is over before the transaction
// begins: the filter is asked again, and may edit.
func outsideMail(phase string) bool { return phase == "connect" || phase == "ehlo" }
