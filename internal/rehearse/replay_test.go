package rehearse

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const golden = "../../test/dialogs/golden/"

func recording(t *testing.T, path string) *Scene {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc, err := ReadScene(filepath.Base(path), f)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

// changed gives what is different, joined by LF.
func changed(c *Comparison) string {
	var out []string
	for _, l := range c.Lines {
		if l.Mark == Missing || l.Mark == New {
			out = append(out, l.String())
		}
	}
	return strings.Join(out, "\n")
}

func replay(t *testing.T, sc *Scene, argv ...string) *Comparison {
	t.Helper()
	c, err := Replay(t.Context(), Options{Argv: argv, Timeout: time.Minute}, sc)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The recorder answers a recording of itself as it did then, but for what it
// was told to do otherwise.
func TestReplayRecorder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	recorder := []string{python(t), golden + "tools/recorder.py", "--dir", dir, "--name"}
	for name, want := range map[string]string{
		"dot-stuffed":         "",
		"eight-bit-body":      "",
		"header-pipe":         "",
		"disconnect-mid-data": "",
		"decide-rcpt-to-reject-550": "- filter-result|S|T|reject|550 5.7.1 filter says no\n" +
			"+ filter-result|S|T|proceed",
	} {
		sc := recording(t, golden+"transcripts/"+name+"/filter-1.txt")
		c := replay(t, sc, append(recorder, name)...)
		got := changed(c)
		for _, l := range strings.Split(got, "\n") {
			if f := strings.Split(l, "|"); len(f) > 3 {
				got = strings.ReplaceAll(got, f[1]+"|"+f[2], "S|T")
			}
		}
		if want != "" {
			if got != want || c.Same() {
				t.Errorf("%s: changed:\n%s", name, got)
			}
			continue
		}
		if got != "" || !c.Same() {
			t.Errorf("%s: changed:\n%s\n%v", name, got, c.Findings)
		}
		if n := len(sc.steps) + len(newScript("").sc.steps) - len(c.Lines); n != 0 { // the recordings begin behind the handshake
			t.Errorf("%s: %d lines of the recording are not shown", name, n)
		}
	}
}

// The transcripts are recordings of the filter that all SDKs have.
func TestReplayTranscripts(t *testing.T) {
	t.Parallel()
	scenes, err := transcripts()
	if err != nil {
		t.Fatal(err)
	}
	root := repository(t)
	argv := []string{python(t), filepath.Join(root, "sdk/python/filter-python"), filepath.Join(root, "sdk/python/testdata/reference.py")}
	for _, sc := range scenes {
		if sc.Name == "disconnect.txt" || sc.Name == "dot-sloppy.txt" {
			continue // lines of a message that was given up may be missing; a lost dot may be lost earlier
		}
		if c := replay(t, sc, argv...); !c.Same() {
			t.Errorf("%s: changed:\n%s\n%v", sc.Name, changed(c), c.Findings)
		}
	}
}

// A filter that asks for less is sent less, and compared by that alone.
func TestReplayLess(t *testing.T) {
	t.Parallel()
	sh := shell(t, `
printf '%s\n' 'register|filter|smtp-in|rcpt-to' 'register|ready'
while IFS='|' read -r kind version time subsystem phase session token address; do
	[ "$kind" = filter ] || continue
	printf 'filter-result|%s|%s|reject|550 5.1.1 no %s\n' "$session" "$token" "$phase"
done
`)
	sc, err := ReadScene("x", strings.NewReader(`< config|protocol|0.7
< config|ready
> register|filter|smtp-in|mail-from
> register|filter|smtp-in|rcpt-to
> register|ready
< report|0.7|1.0|smtp-in|tx-begin|00000000000000ab|4d5e0001
< filter|0.7|1.0|smtp-in|mail-from|00000000000000ab|0000000000000001|a@b
> filter-result|00000000000000ab|0000000000000001|proceed
< filter|0.7|1.0|smtp-in|rcpt-to|00000000000000ab|0000000000000002|a@b
> filter-result|00000000000000ab|0000000000000002|proceed
< filter|0.7|1.0|smtp-in|rcpt-to|00000000000000ab|0000000000000002|c@d
> filter-result|00000000000000ab|0000000000000002|reject|550 5.1.1 no rcpt-to
`))
	if err != nil {
		t.Fatal(err)
	}
	c := replay(t, sc, sh)
	var got []string
	for _, l := range c.Lines {
		got = append(got, l.String())
	}
	want := `< config|protocol|0.7
< config|ready
= register|filter|smtp-in|rcpt-to
= register|ready
- register|filter|smtp-in|mail-from
< filter|0.7|1.0|smtp-in|rcpt-to|00000000000000ab|0000000000000002|a@b
- filter-result|00000000000000ab|0000000000000002|proceed
+ filter-result|00000000000000ab|0000000000000002|reject|550 5.1.1 no rcpt-to
< filter|0.7|1.0|smtp-in|rcpt-to|00000000000000ab|0000000000000002|c@d
= filter-result|00000000000000ab|0000000000000002|reject|550 5.1.1 no rcpt-to`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

// What a filter does not answer any more, and what it says out of turn, is shown.
func TestReplayFaults(t *testing.T) {
	t.Parallel()
	sh := shell(t, `
printf '%s\n' 'register|filter|smtp-in|rcpt-to' 'register|ready'
read -r line
echo hello
`)
	sc, err := ReadScene("x", strings.NewReader("< filter|0.7|1.0|smtp-in|rcpt-to|ab|1|a@b\n> filter-result|ab|1|proceed\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := replay(t, sc, sh)
	if c.Same() || !strings.Contains(changed(c), "- filter-result|ab|1|proceed") ||
		!slices.ContainsFunc(c.Findings, func(f *Finding) bool { return f.Name == "unknown-line" }) {
		t.Errorf("changed:\n%s\n%v", changed(c), c.Findings)
	}
	if _, err := Replay(t.Context(), Options{Argv: []string{"./there-is-none"}}, sc); !errors.Is(err, ErrNotRun) {
		t.Errorf("no program: %v", err)
	}
}

// shell writes a filter in sh.
func shell(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "filter.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDiff(t *testing.T) {
	many := make([]string, 3000)
	for i := range many {
		many[i] = strings.Repeat("x", i%7) + "y"
	}
	for _, c := range []struct {
		then, now []string
		want      string
	}{
		{nil, nil, ""},
		{[]string{"a"}, []string{"a"}, "=a"},
		{[]string{"a", "b", "c"}, []string{"a", "c"}, "=a -b =c"},
		{[]string{"a", "c"}, []string{"a", "b", "c"}, "=a +b =c"},
		{[]string{"a", "b", "c", "d"}, []string{"x", "b", "d", "e"}, "-a +x =b -c =d +e"},
		{[]string{"a", "b"}, nil, "-a -b"},
	} {
		var got []string
		for _, l := range diff(c.then, c.now) {
			got = append(got, string(l.Mark)+l.Line)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q, %q: %q", c.then, c.now, got)
		}
	}
	// Too many lines to compare each with each: what is between the ends differs.
	if n := len(diff(many, append([]string{"new"}, append(slices.Clone(many[1:]), "new")...))); n != 6001 {
		t.Errorf("%d lines", n)
	}
}
