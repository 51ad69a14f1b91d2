package smtp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"a\nb\n":                 "a\nb\n",
		"..\n":                   ".\n",
		"...\n..leading\n.x\n":   "..\n.leading\nx\n",
		"a\n..b\nc.\n. d\n":      "a\n.b\nc.\n d\n",
		"..\n..\n\n..\n":         ".\n.\n\n.\n",
		"no\ndot.\nat. the\n .b": "no\ndot.\nat. the\n .b",
		".\n.\n":                 "\n\n",
	} {
		if got := string(Unescape([]byte(in))); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// What is escaped as RFC 5321 says, DataReader and Unescape give back.
func TestDotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.OneOf(rapid.SampledFrom([]string{"", ".", "..", "a", ".b", "\x00"}), rapid.StringMatching(`[ -~]{0,100}`))
		in := ""
		if lines := rapid.SliceOf(line).Draw(t, "lines"); len(lines) > 0 {
			in = strings.Join(lines, "\n") + "\n"
		}
		wire := bytes.NewBufferString(".\r\n")
		if in != "" {
			escaped := strings.ReplaceAll("\n"+in, "\n.", "\n..")[1:] // RFC 5321 s4.5.2
			wire = bytes.NewBufferString(strings.ReplaceAll(escaped, "\n", "\r\n") + ".\r\n")
		}
		d := NewDataReader(NewReader(&cutReader{wire, t}))
		out := ""
		for {
			chunk, err := d.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			out += string(Unescape(chunk))
		}
		if out != in || d.Bare() {
			t.Fatalf("%q came back as %q, bare %v", in, out, d.Bare())
		}
	})
}
