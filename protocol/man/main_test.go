package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The page in docs/man is the one that FILTER.md makes.
func TestUpToDate(t *testing.T) {
	text, err := os.ReadFile("../FILTER.md")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/man/weir-filters.7")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != page(string(text)) {
		t.Error("docs/man/weir-filters.7 is not what protocol/FILTER.md makes: run go generate ./protocol/...")
	}
}

func TestLint(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("no mandoc on this machine")
	}
	const file = "../../docs/man/weir-filters.7"
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(mandoc, "-T", "lint", "-W", "warning", file).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("mandoc -T lint: %v\n%s", err, out)
	}
	text, err := exec.Command(mandoc, "-T", "ascii", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	plain := strings.NewReplacer("\b", "").Replace(string(text))
	for _, want := range []string{"weir-filters", "register|ready", "filter-dataline"} {
		if !strings.Contains(overstruck(string(text)), want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if len(plain) < 10_000 {
		t.Errorf("the page is %d bytes long", len(plain))
	}
}

// overstruck takes the bold and underlined printing away: "a\ba", "_\ba".
func overstruck(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if i+1 < len(s) && s[i+1] == '\b' {
			i++
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func TestPage(t *testing.T) {
	got := page("# T\n\nA `x|y` and **b** *c d* \\ e. New\nline - 'q'.\n\n## 3. Some thing\n\n- one\n  two\n- three\n\n### Sub\n\n" +
		"| a | b |\n| --- | --- |\n| `p\\|q` | text |\n\n1. x\n\n    .code\n    \\n\n")
	const want = `A \fBx|y\fR and \fBb\fR \fIc d\fR \e e.
New line \- \(aqq\(aq.
.Sh 3. SOME THING
.Bl -bullet -compact
.It
one two
.It
three
.El
.Ss Sub
.Bl -tag -width Ds
.It \fBp|q\fR
text.
.El
.Bl -enum -compact
.It
x
.El
.Bd -literal -offset indent
\&.code
\en
.Ed
`
	if got := strings.TrimSuffix(strings.TrimPrefix(got, head), tail); got != want {
		t.Errorf("got\n%s", got)
	}
}
