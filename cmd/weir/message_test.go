package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

var dateField = regexp.MustCompile(`(?m)^Date: .* [+-]\d{4} \(.*\)\r$`)

// wire gives what is sent for a message on standard input.
func wire(t testing.TB, in string, dotEnds bool, from, name string) (string, error) {
	t.Helper()
	m, err := readMessage(strings.NewReader(in), dotEnds)
	if err != nil {
		return "", err
	}
	defer m.Close()
	m.finish(from, name)
	var out bytes.Buffer
	out.Write(m.header.Bytes())
	if _, err := m.body.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return dateField.ReplaceAllString(out.String(), "Date: D\r"), nil
}

func TestMessage(t *testing.T) {
	const added = "From: Me <me@x>\r\nDate: D\r\n"
	for _, c := range []struct {
		name, in, want string
		dotEnds        bool
	}{
		{"complete", "From: a\nDate: b\nTo: c\n\nbody\n", "From: a\r\nDate: b\r\nTo: c\r\n\r\nbody\r\n", false},
		{"CR LF", "From: a\r\nDate: b\r\n\r\nbody\r\n", "From: a\r\nDate: b\r\n\r\nbody\r\n", false},
		{"added fields", "Subject: s\n\nx\n", added + "Subject: s\r\n\r\nx\r\n", false},
		{"any case", "FROM: a\ndate: b\n\n", "FROM: a\r\ndate: b\r\n\r\n", false},
		{"no header", "hello\nyou\n", added + "\r\nhello\r\nyou\r\n", false},
		{"no header, with a colon", "see this: it\nx: y\n", added + "\r\nsee this: it\r\nx: y\r\n", false},
		{"header ends at a line that is no field", "Subject: s\nhello\nTo: x\n", added + "Subject: s\r\n\r\nhello\r\nTo: x\r\n", false},
		{"header only", "Subject: s\n", added + "Subject: s\r\n", false},
		{"header only, cut", "Subject: s", added + "Subject: s\r\n", false},
		{"nothing", "", added, false},
		{"empty line only", "\n", added + "\r\n", false},
		{"begins with a fold", " x\n", added + "\r\n x\r\n", false},
		{"folds", "Subject: a\n b\n\tc\n\n", added + "Subject: a\r\n b\r\n\tc\r\n\r\n", false},
		{"Bcc goes with its folds", "Bcc: a,\n b\nTo: c\n\n", added + "To: c\r\n\r\n", false},
		{"Return-Path goes", "Return-Path: <x>\nTo: c\n\n", added + "To: c\r\n\r\n", false},
		{"mailbox separator goes", "From me Mon Jan 2\nTo: c\n\n", added + "To: c\r\n\r\n", false},
		{"dots are stuffed", "A: b\n\n.\n..\n.x\nx.\n", added + "A: b\r\n\r\n..\r\n...\r\n..x\r\nx.\r\n", false},
		{"a dot ends", "A: b\n\nx\n.\ny\n", added + "A: b\r\n\r\nx\r\n", true},
		{"a dot ends the header", "A: b\n.\ny\n", added + "A: b\r\n", true},
		{"a dot with CR LF ends", "A: b\n\n.\r\ny\n", added + "A: b\r\n\r\n", true},
		{"a dot at the end of input ends", "A: b\n\nx\n.", added + "A: b\r\n\r\nx\r\n", true},
		{"a dot with more does not end", "A: b\n\n. \n.x\n", added + "A: b\r\n\r\n.. \r\n..x\r\n", true},
		{"dots of field names are stuffed", ".a: b\n\n", added + "..a: b\r\n\r\n", false},
		{"last line without an end", "A: b\n\nx", added + "A: b\r\n\r\nx\r\n", false},
		{"last line with a CR only", "A: b\n\nx\r", added + "A: b\r\n\r\nx\r\n", false},
		{"bytes stay", "A: b\n\n\x00\xff\x01\ry\n", added + "A: b\r\n\r\n\x00\xff\x01\ry\r\n", false},
		{"two CRs", "A: b\n\nx\r\r\n", added + "A: b\r\n\r\nx\r\r\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := wire(t, c.in, c.dotEnds, "me@x", "Me")
			if err != nil || got != c.want {
				t.Errorf("got  %q, %v\nwant %q", got, err, c.want)
			}
		})
	}
}

// TestLongLines has lines at and beyond the size of the reader's buffer, with
// the CR of a line's end as its last byte and not.
func TestLongLines(t *testing.T) {
	const buffer = 64 << 10
	for n := buffer - 3; n <= buffer+3; n++ {
		x := strings.Repeat("x", n)
		for _, c := range [][2]string{
			{x + "\n.\n", x + "\r\n..\r\n"},
			{x + "\r\n.y\r\n", x + "\r\n..y\r\n"},
			{x + "\r.\n", x + "\r.\r\n"},
			{x + "\r", x + "\r\n"},
		} {
			got, err := wire(t, "From: a\nDate: b\n\n"+c[0], false, "", "")
			if want := "From: a\r\nDate: b\r\n\r\n" + c[1]; err != nil || got != want {
				t.Fatalf("%d bytes: %d bytes came out, not %d: %v", n, len(got), len(want), err)
			}
		}
	}
}

func TestLargeBody(t *testing.T) {
	line := strings.Repeat("y", 99) + "\n"
	body := strings.Repeat(line, (3*spoolMemory)/len(line))
	got, err := wire(t, "From: a\nDate: b\n\n"+body, false, "", "")
	want := "From: a\r\nDate: b\r\n\r\n" + strings.ReplaceAll(body, "\n", "\r\n")
	if err != nil || got != want {
		t.Errorf("%d bytes came out, not %d: %v", len(got), len(want), err)
	}
}

func TestHeaderLimit(t *testing.T) {
	field := "X: " + strings.Repeat("x", 996) + "\n" // 1000 bytes
	many := strings.Repeat(field, maxHeader/1000)
	rest := maxHeader - len(many)
	fits := many + "Y:" + strings.Repeat("y", rest-4) + "\n\n"
	if _, err := wire(t, fits, false, "", ""); err != nil || len(fits) != maxHeader {
		t.Errorf("%d bytes: %v", len(fits), err)
	}
	if _, err := wire(t, "Z"+fits, false, "", ""); err != errLineTooLong {
		t.Errorf("%d bytes: %v", len(fits)+1, err)
	}
}

func TestReadFailure(t *testing.T) {
	for _, in := range []string{"Subject: x", "Subject: x\n\nbody"} {
		if _, err := readMessage(io.MultiReader(strings.NewReader(in), iotest.ErrReader(io.ErrClosedPipe)), false); err == nil {
			t.Errorf("%q and a failure make a message", in)
		}
	}
}

func TestPhrase(t *testing.T) {
	for in, want := range map[string]string{
		"":              "",
		"  root ":       "root",
		"Ann O'Hara":    "Ann O'Hara",
		"Smith, J.":     `"Smith, J."`,
		`a "b" \c`:      `"a \"b\" \\c"`,
		"J\u00fcrgen":   "=?utf-8?q?J=C3=BCrgen?=",
		"x\r\nBcc: y@z": "=?utf-8?q?x=0D=0ABcc:_y@z?=",
	} {
		if got := phrase(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestParseAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                      "",
		" , ,":                                  "",
		"alice":                                 "alice",
		"a@b, c@d\n , e@f":                      "a@b|c@d|e@f",
		"Alice Smith <a@b>":                     "a@b",
		`"Smith, Alice" <a@b>, c`:               "a@b|c",
		"<a@b> (the first, one)":                "a@b",
		"(nested (comment)) a@b":                "a@b",
		`a\@b`:                                  `a\@b`,
		"group: a@b, c@d;, e":                   "a@b|c@d|e",
		"undisclosed recipients:;":              "",
		"a . b @ c . d":                         "a.b@c.d",
		`"a b"@c`:                               `"a b"@c`,
		`<"a b"@c>`:                             `"a b"@c`,
		`"a\"b"@c`:                              `"a\"b"@c`,
		"<@x,@y:a@b>":                           "@x,@y:a@b",
		"<>":                                    "",
		"x <a@b> y, c":                          "a@b|c",
		"=?utf-8?q?J=C3=BCrgen_x?= <j@x>, k@y ": "j@x|k@y",
	} {
		got, err := parseAddresses([]byte(in))
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"alice bob":  "is a comma missing?",
		`"alice`:     "a quote",
		"(alice":     "a comment",
		"<alice":     "a < is not closed",
		"alice>":     "a > without a <",
		"a, b c, d ": "is a comma missing?",
	} {
		if got, err := parseAddresses([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want an error with %q", in, got, err, want)
		}
	}
}

func TestQualify(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a@h", "a@b": "a@b", "<a>": "a@h", "<a@b>": "a@b", "": "", "<>": "", "@": "@",
	} {
		if got, err := qualify(in, "h"); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"a>b@c", "a\r\nRCPT TO:<x>", "a\x00", "<<a>>", "a\x7f"} {
		if got, err := qualify(bad, "h"); err == nil {
			t.Errorf("%q becomes %q", bad, got)
		}
	}
}

// FuzzMessage gives any bytes as a message. What is sent must be lines that
// end in CR LF and no lone dot, and a message sent is sent again as it is.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{"", "\n", ".", ".\n", "A: b\n\n.\n", "A: b\r\n c\r\n\r\nx\r", "From x\nA:\n\n..\n", "\r\n\r\r\n", "Bcc: x\n y\n\nz"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, in string, dotEnds bool) {
		out, err := wire(t, in, dotEnds, "f@x", "")
		if err != nil {
			t.Skip("not a message")
		}
		if !strings.HasSuffix(out, "\r\n") {
			t.Fatalf("%q does not end in CR LF", out)
		}
		lines := strings.Split(out, "\r\n")
		if slices.Contains(lines, ".") {
			t.Fatalf("%q has the end of data in it", out)
		}
		for i, l := range lines {
			if strings.Contains(l, "\n") {
				t.Fatalf("line %d is %q", i, l)
			}
			lines[i] = strings.TrimPrefix(l, ".")
		}
		again, err := wire(t, strings.Join(lines, "\r\n"), false, "f@x", "")
		if err != nil || again != out {
			t.Fatalf("sent again, %q became %q (%v)", out, again, err)
		}
	})
}

// FuzzAddresses gives any bytes as an address list. What comes out stands in a
// command line unless qualify refuses it.
func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"a@b", `"x, y" <a@b>`, "g: a, b;", "(c) a", `"\""@x`, "<@a,@b:c@d>", "a b", "\\"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		found, err := parseAddresses(list)
		if err != nil {
			return
		}
		for _, a := range found {
			if a == "" {
				t.Fatal("an empty address")
			}
			if q, err := qualify(a, "host"); err == nil && strings.ContainsAny(q, "\r\n<>\x00") {
				t.Fatalf("%q is left in", q)
			}
		}
		if len(found) > len(list) {
			t.Fatal(fmt.Sprint("more addresses than bytes: ", found))
		}
	})
}
