package rehearse

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// The filter that misbehaves in one chosen way, and the recorder it is built
// on, are shared with the dialogs' recordings.
const badfilter = "../../test/dialogs/golden/tools/badfilter.py"

// python gives the interpreter itself: a wrapper in the path would cost more
// than a check.
func python(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Skipf("no python3: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// outcome is what Check says of a mode: "name", "name at phase", a remark in
// parentheses, "" for nothing at all.
type outcome struct {
	mode, want string
	timeout    time.Duration // 0: long enough never to matter
	scenes     []*Scene      // nil: all
}

// brief is a time limit for what is never answered; the rest must be answered
// within it on a busy machine.
const brief = 1500 * time.Millisecond

var outcomes = []outcome{
	{mode: "exit-1-at-start", want: "exits-at-start"},
	{mode: "exit-0-at-start", want: "exits-at-start"},
	{mode: "never-registers", want: "never-ready", timeout: brief, scenes: []*Scene{patientClient()}},
	{mode: "result-before-ready", want: "answer-before-ready"},
	{mode: "register-unknown-report", want: "unknown-report"},
	{mode: "register-unknown-phase", want: "unknown-phase"},
	{mode: "register-filter-wildcard", want: "wildcard-phase"},
	{mode: "register-unknown-subsystem", want: "unknown-subsystem"},
	{mode: "register-smtp-out", want: "(register-smtp-out)"},
	{mode: "register-unknown-stream", want: "unknown-registration"},
	{mode: "register-twice", want: "(register-twice)"},
	{mode: "register-no-phases"},
	{mode: "register-late", want: "(register-after-ready)"},
	{mode: "exit-1-after-ready", want: "exits-after-ready"},
	{mode: "dataline-never-answers", want: "message-not-returned at data-line", timeout: brief, scenes: []*Scene{patientClient()}},
	{mode: "dataline-no-final-dot", want: "no-final-dot at data-line", timeout: brief, scenes: []*Scene{patientClient()}},
	{mode: "exit-1-at-data-line", want: "exits-in-message at data-line", scenes: []*Scene{dots(), patientClient()}},
	{mode: "result-in-data-phase", want: "decision-for-line at data-line"},
	{mode: "dataline-early-dot", want: "dot-too-early at data-line", scenes: []*Scene{patientClient()}},
	{mode: "dataline-two-dots", want: "dot-twice at data-line"},
	{mode: "dataline-after-dot", want: "line-after-dot at data-line"},
	{mode: "dataline-wrong-token", want: "line-with-wrong-token at data-line"},
	{mode: "dataline-huge", want: "line-too-long"},
	{mode: "cr-in-dataline", want: "cr-at-line-end at data-line"},
	{mode: "never-answers", want: "no-answer at mail-from", timeout: brief, scenes: []*Scene{patientClient()}},
	{mode: "never-answers-commit", want: "no-answer at commit", timeout: brief, scenes: []*Scene{patientClient()}},
	{mode: "never-answers-connect", want: "no-answer at connect", timeout: brief, scenes: []*Scene{patientClient()}},
	{mode: "never-answers-quit", want: "no-answer at quit", timeout: brief, scenes: []*Scene{patientClient()}},
	{mode: "answers-after-8s", want: "too-late at mail-from", timeout: 5 * time.Second, scenes: []*Scene{patientClient()}},
	{mode: "answers-after-8s", scenes: []*Scene{patientClient()}},
	{mode: "exit-1-at-request", want: "exits-at-question at mail-from"},
	{mode: "exit-0-at-request", want: "exits-at-question at mail-from"},
	{mode: "garbage-line", want: "unknown-line"},
	{mode: "garbage-then-proceed", want: "unknown-line"},
	{mode: "empty-line", want: "empty-line"},
	{mode: "truncated-result", want: "truncated-answer"},
	{mode: "nonhex-session", want: "bad-session-id"},
	{mode: "wrong-token", want: "wrong-token at mail-from"},
	{mode: "swapped-sid-token", want: "session-and-token-swapped", timeout: brief, scenes: []*Scene{patientClient()}},
	{mode: "wrong-session", want: "unknown-session", timeout: brief, scenes: []*Scene{patientClient()}},
	{mode: "wrong-session-then-right", want: "unknown-session"},
	{mode: "answers-twice", want: "answered-twice at mail-from"},
	{mode: "answers-twice-late", want: "answered-twice at mail-from"},
	{mode: "dataline-out-of-phase", want: "line-outside-message at mail-from"},
	{mode: "unknown-decision", want: "unknown-decision"},
	{mode: "unknown-decision-param", want: "unknown-decision"},
	{mode: "reject-without-parameter", want: "missing-parameter"},
	{mode: "proceed-with-parameter", want: "parameter-not-wanted"},
	{mode: "crlf-answer", want: "cr-at-line-end"},
	{mode: "own-report-line", want: "(own-report)"},
	{mode: "own-report-line-full", want: "(own-report)"},
	{mode: "split-writes", scenes: []*Scene{dots(), patientClient()}},
	{mode: "partial-line-then-exit", want: "half-a-line at mail-from"},
	{mode: "stdout-closed", want: "closed-output at mail-from"},
	{mode: "stdin-stdout-closed", want: "closed-input at mail-from"},
	{mode: "unterminated-200k", want: "line-too-long"},
	{mode: "stderr"},
	{mode: "stderr-flood"},
	{mode: "kill-at-commit", want: "exits-at-question at commit"},
	{mode: "junk-at-commit", want: "(junk-at-commit) at commit"},
	{mode: "normal"},
	{mode: "slow-1s-per-line", want: "too-late at connect", timeout: brief, scenes: []*Scene{connection()}},
	{mode: "slow-body-lines", want: "does-not-read at data-line", timeout: brief, scenes: []*Scene{largeMessage()}},
	{mode: "slow-read-after-data", want: "too-late at data-line", timeout: brief, scenes: []*Scene{dots()}},
}

// Every way in which badfilter.py can misbehave is found by its name, and
// what is no fault is not called one.
func TestBadFilter(t *testing.T) {
	t.Parallel()
	py := python(t)
	path, err := filepath.Abs(badfilter)
	if err != nil {
		t.Fatal(err)
	}
	// They mostly wait: more at a time than there are processors.
	places := make(chan struct{}, 12)
	var all sync.WaitGroup
	results := make([]*Result, len(outcomes))
	errs := make([]error, len(outcomes))
	for i, o := range outcomes {
		opt := &Options{
			Argv:    []string{py, "-E", "-S", path, "--mode", o.mode, "--log", filepath.Join(t.TempDir(), "log"), "--log-max", "0"},
			Timeout: time.Minute, StartTimeout: time.Minute,
		}
		if o.timeout > 0 {
			opt.Timeout = o.timeout
		}
		if o.want == "never-ready" {
			opt.StartTimeout = o.timeout
		}
		scenes := o.scenes
		if scenes == nil {
			scenes = allScenes(t)
		}
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			results[i], errs[i] = check(t.Context(), opt, scenes)
		})
	}
	all.Wait()
	for i, o := range outcomes {
		t.Run(o.mode+"/"+o.timeout.String(), func(t *testing.T) {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			compareOutcome(t, results[i], o.want)
		})
	}
}

// connection is the shortest of all scenes.
func connection() *Scene {
	s := newScript("a connection")
	c := s.client(1)
	c.connect("client.example.net", "192.0.2.1", ":4321")
	c.gone()
	return s.sc
}

func allScenes(t *testing.T) []*Scene {
	t.Helper()
	scenes, err := transcripts()
	if err != nil {
		t.Fatal(err)
	}
	return append(scenes, oddScenes()...)
}

// compareOutcome wants exactly the one finding.
func compareOutcome(t *testing.T, r *Result, want string) {
	t.Helper()
	var got []string
	for _, f := range r.Findings {
		name := f.Name
		if f.Remark {
			name = "(" + name + ")"
		}
		if f.Phase != "" {
			name += " at " + f.Phase
		}
		got = append(got, name)
	}
	if strings.Join(got, ", ") != want {
		t.Errorf("found %q, want %q", got, want)
		for _, f := range r.Findings {
			t.Log(f)
		}
	}
	if strings.HasPrefix(want, "(") || want == "" {
		if r.Faults() > 0 || r.NotPlayed > 0 {
			t.Errorf("not good: %s", r.Summary())
		}
	} else if r.Faults() != 1 {
		t.Errorf("no fault: %s", r.Summary())
	}
}

// The table above has every mode that there is.
func TestBadFilterModes(t *testing.T) {
	src, err := os.ReadFile(badfilter)
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string]bool)
	for _, o := range outcomes {
		have[o.mode] = true
	}
	modes := regexp.MustCompile(`mode == "([^"]+)"`).FindAllStringSubmatch(string(src), -1)
	if len(modes) < 50 {
		t.Fatalf("found %d modes only", len(modes))
	}
	for _, m := range modes {
		if !have[m[1]] {
			t.Errorf("the mode %s is not tested", m[1])
		}
	}
}

func TestNotRun(t *testing.T) {
	for _, argv := range [][]string{nil, {"./there-is-no-such-filter"}, {t.TempDir()}} {
		_, err := Check(t.Context(), Options{Argv: argv})
		if err == nil || !strings.HasPrefix(err.Error(), ErrNotRun.Error()) {
			t.Errorf("%q: %v", argv, err)
		}
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := Check(ctx, Options{Argv: []string{"sleep", "60"}})
	if err == nil {
		t.Errorf("no error; %+v", r)
	}
}
