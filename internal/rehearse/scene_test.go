package rehearse

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestReadSceneRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "no line of a server or a filter",
		"# a note alone\n":                      "no line of a server or a filter",
		"hello\n":                               "x:1: \"hello\" is no line of a recording",
		"<filter|0.7\n":                         "x:1:",
		"# a note\n< hello\n":                   "x:2: \"hello\" is neither config",
		"< filter|0.7|1|smtp-in|data|1\n":       "with all its fields",
		"< filter|0.7|1.0|smtp-in|data|zz|1|\n": "\"zz\" is no session and no token",
		"> x\n< report|0.7|1|smtp-in\n":         "x:2:",
		"> " + strings.Repeat("x", maxRecordedLine): "too long",
	} {
		if _, err := ReadScene("x", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestReadScene(t *testing.T) {
	const q = "filter|0.7|1.0|smtp-in|mail-from|00000000000000ab|0000000000000001|a|b\r"
	sc, err := ReadScene("x", strings.NewReader("# note\n! note\n\n< config|ready\n> register|ready\n< "+q+"\n> filter-result|ab|1|proceed\n> garbage"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(sc.steps); n != 5 {
		t.Fatalf("%d steps", n)
	}
	st := sc.steps[2]
	if string(st.line) != q || st.rest != "a|b\r" || st.session != 0xab || st.token != 1 || st.name != "mail-from" || st.head != "0.7|1.0|smtp-in" || !st.awaited || st.number != 6 {
		t.Errorf("%+v", st)
	}
	if g := sc.steps[4]; !g.answer || string(g.line) != "garbage" {
		t.Errorf("%+v", g)
	}
}

// A question is awaited if its answer came before the session went on.
func TestAwait(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{"> filter-result|ab|1|proceed\n< report|0.7|1.0|smtp-in|link-disconnect|ab", true},
		{"< report|0.7|1.0|smtp-in|link-disconnect|ab\n> filter-result|ab|1|proceed", false},
		{"< report|0.7|1.0|smtp-in|link-disconnect|ac\n> filter-result|AB|01|proceed", true},
		{"> filter-result|ab|2|proceed", false},
		{"> filter-result|ac|1|proceed", false},
		{"# nothing", false},
	} {
		sc, err := ReadScene("x", strings.NewReader("< filter|0.7|1.0|smtp-in|data|ab|1|\n"+c.text+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if sc.steps[0].awaited != c.want {
			t.Errorf("%q: %v", c.text, sc.steps[0].awaited)
		}
	}
}

// The recordings of a real server can be read, all of them.
func TestReadGolden(t *testing.T) {
	files, err := filepath.Glob("../../test/dialogs/golden/transcripts/*/filter-*.txt")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadScene(file, f); err != nil && !strings.Contains(err.Error(), "no line of a server") { // it died before
			t.Error(err)
		}
		f.Close()
	}
}

// Scenes played to one process share no session and no message.
func TestShifted(t *testing.T) {
	scenes, err := transcripts()
	if err != nil {
		t.Fatal(err)
	}
	scenes = append(scenes, oddScenes()...)
	sessions, messages := make(map[uint64]string), make(map[string]string)
	for i, sc := range scenes {
		if len(sc.config()) == 0 {
			t.Errorf("%s has no handshake", sc.Name)
		}
		s := sc.shifted(i + 1)
		for _, id := range s.sessions() {
			if other := sessions[id]; other != "" {
				t.Errorf("session %016x is in %s and %s", id, other, sc.Name)
			}
			sessions[id] = sc.Name
		}
		begun := make(map[string]bool)
		for k, st := range s.steps {
			switch st.name {
			case "tx-begin":
				if other := messages[st.rest]; other != "" {
					t.Errorf("message %s is in %s and %s", st.rest, other, sc.Name)
				}
				messages[st.rest], begun[st.rest] = sc.Name, true
			case "tx-envelope":
				if len(st.rest) != 25 || st.rest[:8] != st.rest[9:17] || !begun[st.rest[:8]] {
					t.Errorf("%s: envelope %q (%q)", sc.Name, st.rest, sc.steps[k].rest)
				}
			}
		}
	}
	if len(messages) < 50 {
		t.Errorf("%d messages", len(messages))
	}
}

// What the odd scenes send is within the limits of the protocol, and
// answered where it must be.
func TestOddScenes(t *testing.T) {
	longest, command := 0, 0
	for _, sc := range oddScenes() {
		for _, st := range sc.steps {
			if strings.Contains(st.rest, "\n") || bytes.Contains(st.line, []byte("\n")) {
				t.Errorf("%s: a line in a line: %q", sc.Name, st.rest)
			}
			if st.name == "data-line" {
				longest = max(longest, len(st.rest))
			}
			if st.name == "protocol-client" {
				command = max(command, len(st.rest)+2)
			}
		}
	}
	if longest != maxMessageLine || command != maxCommandLine {
		t.Errorf("longest line %d, longest command %d", longest, command)
	}
}

func TestManySessionsAskTogether(t *testing.T) {
	sc := manySessions()
	if n := len(sc.sessions()); n != crowd {
		t.Fatalf("%d sessions", n)
	}
	var asked []uint64
	for _, st := range sc.steps {
		if st.name == "mail-from" {
			asked = append(asked, st.session)
		} else if len(asked) > 0 && len(asked) < crowd {
			t.Fatalf("%s after %d sessions have asked", st.name, len(asked))
		}
	}
	slices.Sort(asked)
	if len(slices.Compact(asked)) != crowd {
		t.Errorf("%d sessions asked", len(asked))
	}
}

// A recording is somebody's file: whatever it holds, it is read or refused.
func FuzzReadScene(f *testing.F) {
	f.Add("< config|ready\n> register|ready\n< filter|0.7|1.0|smtp-in|data-line|ab|1|.\n> filter-dataline|ab|1|.\n")
	f.Add("< report|0.7|1.0|smtp-in|tx-envelope|ab|4d5e0001|4d5e000100000001\n# x\n! y\n")
	f.Add("> filter-result|ab|1\n< filter|||||||")
	f.Fuzz(func(t *testing.T, text string) {
		sc, err := ReadScene("x", strings.NewReader(text))
		if err != nil {
			return
		}
		n := len(sc.steps)
		if got := len(sc.shifted(3).steps); got != n {
			t.Errorf("%d steps, and shifted %d", n, got)
		}
		sc.config()
		sc.sessions()
	})
}
