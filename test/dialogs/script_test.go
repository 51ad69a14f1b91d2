package dialogs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// step is one line of a dialog: what is said, what must come back, or what
// must be delivered. README.md describes them.
type step struct {
	line int    // in the file
	kind string // "listener", "C:", "C~", "C1", "S:", "E:", "D:"
	text string
	mail []string // "D:": the lines that the message must end with
}

// script is one dialog file.
type script struct {
	name  string
	steps []step
}

// stepKinds are the words that a line can begin with.
var stepKinds = map[string]bool{"listener": true, "C:": true, "C~": true, "C1": true, "S:": true, "E:": true, "D:": true}

// parseScript reads a dialog. An error names the line.
func parseScript(name string, text []byte) (*script, error) {
	s := &script{name: name}
	for i, line := range strings.Split(string(text), "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(kind, "#"):
		case kind == "|":
			if len(s.steps) == 0 || s.steps[len(s.steps)-1].kind != "D:" {
				return nil, fmt.Errorf("%s:%d: a line of a message without D: before it", name, i+1)
			}
			last := &s.steps[len(s.steps)-1]
			last.mail = append(last.mail, rest)
		case stepKinds[kind]:
			s.steps = append(s.steps, step{line: i + 1, kind: kind, text: rest})
		default:
			return nil, fmt.Errorf("%s:%d: %q is no step; see README.md", name, i+1, kind)
		}
	}
	return s, s.check()
}

// check refuses scripts that could not fail, or not run.
func (s *script) check() error {
	expects := false
	for i, st := range s.steps {
		if i == 0 && st.kind != "listener" {
			return fmt.Errorf("%s:%d: a dialog begins with the listener", s.name, st.line)
		}
		if st.kind[0] == 'C' {
			if _, err := unescape(st.text); err != nil {
				return fmt.Errorf("%s:%d: %w", s.name, st.line, err)
			}
		}
		expects = expects || st.kind == "S:" || st.kind == "D:"
	}
	if !expects {
		return fmt.Errorf("%s: nothing is expected in it", s.name)
	}
	return nil
}

// loadScripts reads all dialogs of this folder.
func loadScripts(t *testing.T) []*script {
	t.Helper()
	files, err := filepath.Glob("*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var scripts []*script
	for _, f := range files {
		if f == "differences.txt" {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseScript(f, b)
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, s)
	}
	if len(scripts) == 0 {
		t.Fatal("there are no dialogs")
	}
	return scripts
}

var repeated = regexp.MustCompile(`\\\{([0-9]+):((?:[^\\}]|\\.|\\x[0-9a-fA-F]{2})*)\}`)

// unescape gives the bytes of a C line: \r \n \t \\ \xHH, and \{N:TEXT} for
// N times TEXT.
func unescape(s string) ([]byte, error) {
	var out []byte
	for len(s) > 0 {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			return append(out, s...), nil
		}
		out = append(out, s[:i]...)
		s = s[i:]
		if loc := repeated.FindStringSubmatchIndex(s); loc != nil && loc[0] == 0 {
			n, err := strconv.Atoi(s[loc[2]:loc[3]])
			if err != nil || n > 10<<20 {
				return nil, fmt.Errorf("%s: too often", s[:loc[1]])
			}
			part, err := unescape(s[loc[4]:loc[5]])
			if err != nil {
				return nil, err
			}
			out = append(out, bytes.Repeat(part, n)...)
			s = s[loc[1]:]
			continue
		}
		b, used, err := escape(s)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
		s = s[used:]
	}
	return out, nil
}

// escape gives the byte that the escape at the start of s stands for, and how
// long the escape is.
func escape(s string) (b byte, used int, err error) {
	if len(s) >= 2 {
		switch s[1] {
		case 'r':
			return '\r', 2, nil
		case 'n':
			return '\n', 2, nil
		case 't':
			return '\t', 2, nil
		case '\\':
			return '\\', 2, nil
		case 'x':
			if len(s) >= 4 {
				n, err := strconv.ParseUint(s[2:4], 16, 8)
				if err == nil {
					return byte(n), 4, nil
				}
			}
		}
	}
	return 0, 0, fmt.Errorf("%.10q begins with no escape; there are \\r \\n \\t \\\\ \\xHH and \\{N:TEXT}", s)
}

// matches reports whether a reply line fits a pattern, in which * stands for
// any text.
func matches(pattern, line string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == line
	}
	if !strings.HasPrefix(line, parts[0]) {
		return false
	}
	line = line[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(line, p)
		if i < 0 {
			return false
		}
		line = line[i+len(p):]
	}
	return strings.HasSuffix(line, parts[len(parts)-1])
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"plain":                "plain",
		`a\r\n\t\\\x00\xFF`:    "a\r\n\t\\\x00\xff",
		`\{3:ab}c`:             "abababc",
		`<\{2:\x41\r}>`:        "<A\rA\r>",
		`\{0:x}`:               "",
		`{3:x}`:                "{3:x}",
		"caf\u00e9 \\{1:\\\\}": "caf\u00e9 \\",
	} {
		got, err := unescape(in)
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{`\`, `\q`, `\x`, `\x4`, `\xgg`, `\{x:y}`, `\{3:y`, `\{999999999:x}`} {
		if got, err := unescape(bad); err == nil {
			t.Errorf("%q is taken as %q", bad, got)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, line string
		want          bool
	}{
		{"250 ok", "250 ok", true},
		{"250 ok", "250 ok ", false},
		{"250 *", "250 ", true},
		{"250 *", "250-x", false},
		{"*", "", true},
		{"250 * accepted *", "250 2.0.0 1234 accepted for it", true},
		{"a*a", "a", false},
		{"a*b*c", "a-c", false},
		{"a*b*c", "abbc", true},
	} {
		if got := matches(c.pattern, c.line); got != c.want {
			t.Errorf("matches(%q, %q) = %v", c.pattern, c.line, got)
		}
	}
}

func TestParseScript(t *testing.T) {
	for text, want := range map[string]string{
		"C: x\n":                         "x:1: a dialog begins with the listener",
		"listener plain\nC: x\n":         "x: nothing is expected in it",
		"listener plain\n| x\n":          "x:2: a line of a message without D: before it",
		"listener plain\nX: x\n":         `x:2: "X:" is no step; see README.md`,
		"listener plain\nC: \\q\nS: x\n": `x:2: "\\q" begins with no escape; there are \r \n \t \\ \xHH and \{N:TEXT}`,
	} {
		if _, err := parseScript("x", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	s, err := parseScript("x", []byte("# c\nlistener plain\n\nS: 220\nD: alice\n| a\n| \n"))
	if err != nil || len(s.steps) != 3 || len(s.steps[2].mail) != 2 || s.steps[2].mail[1] != "" {
		t.Errorf("%+v, %v", s, err)
	}
}
