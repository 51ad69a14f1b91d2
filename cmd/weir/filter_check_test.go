package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shell writes a filter in sh.
func shell(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "filter.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// refuses refuses every sender by what $1 says, or with 550.
const refuses = `
printf '%s\n' 'register|filter|smtp-in|mail-from' 'register|ready'
while IFS='|' read -r kind version time subsystem phase session token address; do
	[ "$kind" = filter ] && printf 'filter-result|%s|%s|%s\n' "$session" "$token" "${1:-reject|550 no}"
done
`

func TestFilterCheck(t *testing.T) {
	filter := shell(t, refuses)
	out, err := run(t, "", "filter", "check", "--", filter)
	if code(err) != 0 || !strings.HasSuffix(out, "no fault, no remark\n") {
		t.Errorf("good: %v\n%s", err, out)
	}
	// What follows the command is its own, flags too.
	out, err = run(t, "", "filter", "check", "--timeout", "30s", filter, "--json")
	if code(err) != exitFailure || !strings.Contains(out, "fault unknown-decision") || !strings.Contains(out, `|--json"`) {
		t.Errorf("bad: %d %v\n%s", code(err), err, out)
	}
	out, err = run(t, "", "filter", "check", "--json", "--", filter, "maybe")
	if code(err) != exitFailure {
		t.Errorf("bad, JSON: %v", err)
	}
	var kinds []string
	for line := range strings.Lines(out) {
		var got struct {
			Name string
			Good *bool
			Line string
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch {
		case got.Good != nil && !*got.Good:
			kinds = append(kinds, "summary")
		case got.Line != "":
			kinds = append(kinds, got.Name)
		}
	}
	if strings.Join(kinds, " ") != "unknown-decision summary" {
		t.Errorf("JSON: %q\n%s", kinds, out)
	}
}

func TestFilterCheckNotRun(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
	}{
		{"filter check -- ./there-is-no-such-filter", exitNotRun},
		{"filter check", exitUsage},
		{"filter check --timeout 0s -- true", exitUsage},
		{"filter replay /there/is/none -- true", exitNotRun},
		{"filter replay x", exitUsage},
	} {
		if out, err := run(t, "", strings.Fields(c.args)...); code(err) != c.code {
			t.Errorf("%s: %d %v\n%s", c.args, code(err), err, out)
		}
	}
}

func TestFilterReplay(t *testing.T) {
	filter := shell(t, refuses)
	recording := filepath.Join(t.TempDir(), "recording.txt")
	text := "< config|ready\n< filter|0.7|1.0|smtp-in|mail-from|ab|1|a@b\n> filter-result|ab|1|proceed\n"
	if err := os.WriteFile(recording, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, "", "filter", "replay", recording, "--", filter, "proceed")
	if want := strings.Replace(text, "> ", "= ", 1); code(err) != 0 || out != want {
		t.Errorf("the same: %v\n%s", err, out)
	}
	const want = "- filter-result|ab|1|proceed\n+ filter-result|ab|1|reject|550 no\n"
	out, err = run(t, "", "filter", "replay", "--changed", recording, filter)
	if code(err) != exitFailure || out != want {
		t.Errorf("changed: %d %v\n%s", code(err), err, out)
	}
	out, err = run(t, "", "filter", "replay", "--changed", "--json", recording, "--", filter)
	if code(err) != exitFailure || !strings.HasPrefix(out, `{"mark":"-","line":"filter-result|ab|1|proceed"}`+"\n") {
		t.Errorf("JSON: %d %v\n%s", code(err), err, out)
	}
}

func TestFilterNew(t *testing.T) {
	t.Chdir(t.TempDir())
	out, err := run(t, "", "filter", "new", "refuse", "--lang", "sh")
	dir, _ := filepath.Abs("refuse")
	if code(err) != 0 || !strings.Contains(out, "wrote refuse/refuse.sh\n") || !strings.HasSuffix(out, "\n    filter refuse proc-exec \""+dir+"/refuse.sh\"\n") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(t, "", "filter", "check", "refuse/refuse.sh"); code(err) != 0 {
		t.Errorf("%v\n%s", err, out)
	}
	for args, want := range map[string]int{
		"filter new refuse --lang sh":   exitFailure, // it exists
		"filter new other":              exitUsage,
		"filter new other --lang cobol": exitUsage,
		"filter new Other --lang sh":    exitUsage,
		"filter new":                    exitUsage,
	} {
		if _, err := run(t, "", strings.Fields(args)...); code(err) != want {
			t.Errorf("%s: %d %v", args, code(err), err)
		}
	}
}
