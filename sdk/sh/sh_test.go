// Package sh tests the filters written in sh and awk.
package sh

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirmail/weir/sdk/internal/transcript"
)

// run gives what a program writes for input.
func run(t *testing.T, program, input string) []string {
	t.Helper()
	path, err := filepath.Abs(program)
	if err != nil {
		t.Fatal(err)
	}
	transcript.Reads(t, path)
	cmd := exec.Command(path)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	cmd.Stdin = strings.NewReader("config|protocol|0.7\nconfig|ready\n" + input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	_, answers, found := strings.Cut(string(out), "register|ready\n")
	if !found {
		t.Fatalf("%s: not registered: %q", program, out)
	}
	return strings.Split(strings.TrimSuffix(answers, "\n"), "\n")
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRefuse(t *testing.T) {
	const ask = "filter|0.7|1.0|smtp-in|rcpt-to|5e55000000000001|70ce000000000007|"
	equal(t, run(t, "refuse.sh", ask+"a@example.org\n"+ask+`b\n%s|c@example.net`+"\n"+ask+"x|y@example.org\n"),
		"filter-result|5e55000000000001|70ce000000000007|reject|550 5.1.1 Nobody there",
		"filter-result|5e55000000000001|70ce000000000007|proceed",
		"filter-result|5e55000000000001|70ce000000000007|reject|550 5.1.1 Nobody there")
}

func TestSubject(t *testing.T) {
	const in = "filter|0.7|1.0|smtp-in|data-line|5e55000000000001|70ce000000000009|"
	const out = "filter-dataline|5e55000000000001|70ce000000000009|"
	const reset = "report|0.7|1.0|smtp-in|tx-reset|5e55000000000001|0badcafe\n"
	message := func(head string) string {
		return head + "SUBJECT: a|b\n" + head + "To: \xe9\n" + head + "\n" + head + "Subject: body\n" + head + "..x\n" + head + ".\n"
	}
	changed := strings.Replace(message(out), "SUBJECT:", "Subject: [LIST]", 1)
	equal(t, run(t, "subject.awk", message(in)+reset+message(in)), strings.TrimSuffix(changed+changed, "\n"))
}
