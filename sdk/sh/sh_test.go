// Package sh tests the filters written in sh and awk.
package sh

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/sdk/internal/transcript"
)

// patience is how long an answer may take before the test gives up.
const patience = 20 * time.Second

// start gives the command of a filter: what is in awk is run by filter-awk.
func start(t *testing.T, program string) *exec.Cmd {
	t.Helper()
	transcript.Reads(t, program, "filter-awk", "filtertest")
	cmd := exec.Command("./" + program)
	if filepath.Ext(program) == ".awk" {
		cmd = exec.Command("./filter-awk", program)
	}
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	return cmd
}

// run gives what a program writes for input. The input's end comes only after
// all answers, as with a server: want says how many lines there will be.
func run(t *testing.T, program, input string, want int) []string {
	t.Helper()
	cmd := start(t, program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slow := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer slow.Stop()
	if _, err := io.WriteString(in, "config|protocol|0.7\nconfig|ready\n"+input); err != nil {
		t.Fatal(err)
	}
	var lines []string
	ready := false
	for r := bufio.NewScanner(out); len(lines) < want && r.Scan(); {
		if ready {
			lines = append(lines, r.Text())
		}
		ready = ready || r.Text() == "register|ready"
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v: it waits for more input before it answers, or died", program, err)
	}
	return lines
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRefuse(t *testing.T) {
	const ask = "filter|0.7|1.0|smtp-in|rcpt-to|5e55000000000001|70ce000000000007|"
	equal(t, run(t, "refuse.sh", ask+"a@example.org\n"+ask+`b\n%s|c@example.net`+"\n"+ask+"x|y@example.org\n", 3),
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
	equal(t, run(t, "subject.awk", message(in)+reset+message(in), 12), strings.TrimSuffix(changed+changed, "\n"))
}

// A NUL in one session's message must not cost another session its line: mawk
// loses the end of a line that has one.
func TestNUL(t *testing.T) {
	const a, b = "5e55000000000001|70ce000000000009|", "5e55000000000002|70ce00000000000a|"
	const in, out = "filter|0.7|1.0|smtp-in|data-line|", "filter-dataline|"
	got := run(t, "subject.awk", in+a+"nul\x00here\n"+in+b+"other\n"+in+a+"\x00\n"+in+b+".\n", 4)
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], "\x00", " ") // what becomes of it depends on the awk
	}
	equal(t, got, out+a+"nul here", out+b+"other", out+a+" ", out+b+".")
}

// A script that dies is a filter that died, whatever runs beside it.
func TestDeath(t *testing.T) {
	script := filepath.Join(t.TempDir(), "die.awk")
	if err := os.WriteFile(script, []byte("{ exit 3 }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("./filter-awk", script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slow := time.AfterFunc(patience, func() { cmd.Process.Kill(); t.Error("its output is open still") })
	defer slow.Stop()
	io.WriteString(in, "config|ready\n")
	io.ReadAll(out) // ends with the filter; its input is still open
	in.Close()
	if err := cmd.Wait(); err == nil {
		t.Error("the status says that all was well")
	}
}

// double asks a program by filtertest.
func double(t *testing.T, program, questions string) string {
	t.Helper()
	cmd := start(t, program)
	cmd.Args = append([]string{"./filtertest"}, cmd.Args...)
	cmd.Path = "./filtertest"
	cmd.Stdin = strings.NewReader(questions)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestDouble(t *testing.T) {
	const want = "reject|550 5.1.1 Nobody there\nproceed\n"
	if got := double(t, "refuse.sh", "rcpt-to a@example.org\nrcpt-to b@example.net\n"); got != want {
		t.Errorf("got %q", got)
	}
}

func TestDecide(t *testing.T) {
	const questions = `mail-from a@SPAM.example
mail-from a@example.org
data-line Subject: hi|there
data-line
data-line Subject: lottery
data-line ..
data-line .
commit
report tx-reset 0badcafe
data-line SUBJECT: the Lottery
data-line .
commit
report link-disconnect
`
	const want = `reject|550 5.7.1 No mail from there, please
proceed
data-line X-Decide: seen
data-line Subject: hi|there
data-line ` + `
data-line Subject: lottery
data-line ..
data-line .
proceed
data-line X-Decide: seen
data-line SUBJECT: the Lottery
data-line .
reject|550 5.7.1 No lottery here, please
`
	if got := double(t, "decide.awk", questions); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
