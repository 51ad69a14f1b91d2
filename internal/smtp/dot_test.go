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

func TestDotWriter(t *testing.T) {
	for in, want := range map[string]string{
		"":                 ".\r\n",
		"\n":               "\r\n.\r\n",
		"a\nb\n":           "a\r\nb\r\n.\r\n",
		"no end":           "no end\r\n.\r\n",
		".\n..\n.x\na.\n":  "..\r\n...\r\n..x\r\na.\r\n.\r\n",
		"a\r\nb\r\n":       "a\r\nb\r\n.\r\n",
		"a\r\n.\r\nb":      "a\r\n..\r\nb\r\n.\r\n",
		"a\rb\n":           "a\rb\r\n.\r\n",
		"CR at the end\r":  "CR at the end\r\n.\r\n",
		"\x00\xff\n\n.\n ": "\x00\xff\r\n\r\n..\r\n \r\n.\r\n",
	} {
		for n := 1; n <= len(in)+1; n++ {
			var out bytes.Buffer
			d := NewDotWriter(&out)
			if _, err := io.CopyBuffer(struct{ io.Writer }{d}, struct{ io.Reader }{strings.NewReader(in)}, make([]byte, n)); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil || out.String() != want {
				t.Errorf("%q in pieces of %d became %q, want %q, %v", in, n, out.String(), want, err)
			}
		}
	}
}

func TestDotWriterErrors(t *testing.T) {
	boom := errors.New("boom")
	d := NewDotWriter(failingWriter{boom})
	big := bytes.Repeat([]byte("x\n"), largeBuffer)
	if _, err := d.Write(big); !errors.Is(err, boom) {
		t.Errorf("Write gave %v", err)
	}
	if _, err := d.Write([]byte("x")); !errors.Is(err, boom) {
		t.Errorf("the next Write gave %v", err)
	}
	if err := d.Close(); !errors.Is(err, boom) {
		t.Errorf("Close gave %v", err)
	}
	d = NewDotWriter(io.Discard)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Write after Close gave %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// What DotWriter sends, DataReader and Unescape give back.
func TestDotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.OneOf(rapid.SampledFrom([]string{"", ".", "..", "a", ".b", "\x00"}), rapid.StringMatching(`[ -~]{0,100}`))
		in := ""
		if lines := rapid.SliceOf(line).Draw(t, "lines"); len(lines) > 0 {
			in = strings.Join(lines, "\n") + "\n"
		}
		var wire bytes.Buffer
		w := NewDotWriter(&wire)
		for rest := []byte(in); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "write")
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		d := NewDataReader(NewReader(&cutReader{&wire, t}))
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

func TestDotWriterDoesNotAllocate(t *testing.T) {
	d := NewDotWriter(io.Discard)
	body := bytes.Repeat([]byte(".some line\n"), 1000)
	if _, err := d.Write(body); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(50, func() {
		if _, err := d.Write(body); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each write", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
