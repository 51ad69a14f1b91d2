package smtp

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type chunkSource interface {
	Next() ([]byte, error)
	Bare() bool
}

// drain reads lines to their end and checks what every chunk promises.
func drain(t interface{ Fatalf(string, ...any) }, d chunkSource) (string, error) {
	var all []byte
	for {
		chunk, err := d.Next()
		if err != nil {
			if len(chunk) > 0 {
				t.Fatalf("%d bytes together with %v", len(chunk), err)
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return string(all), err
		}
		if len(chunk) == 0 || chunk[len(chunk)-1] != '\n' {
			t.Fatalf("chunk %q is not of whole lines", clip(chunk))
		}
		if bytes.HasPrefix(chunk, []byte(".\n")) || bytes.Contains(chunk, []byte("\n.\n")) {
			t.Fatalf("chunk %q holds a lone dot", clip(chunk))
		}
		all = append(all, chunk...)
	}
}

func TestDataReader(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
		bare           bool
	}{
		{"empty message", ".\r\n", "", false},
		{"blank line", "\r\n.\r\n", "\n", false},
		{"lines", "A: b\r\n\r\nbody\r\n.\r\n", "A: b\n\nbody\n", false},
		{"dots stay escaped", "..\r\n...\r\n..x\r\n.x\r\n. \r\n.\r\n", "..\n...\n..x\n.x\n. \n", false},
		{"bytes stay", "\x00\xff\x01\t\r\n.\r\n", "\x00\xff\x01\t\n", false},
		{"bare LF becomes a space", "a\nb\r\n.\r\n", "a b\n", true},
		{"bare CR stays", "a\rb\r\n.\r\n", "a\rb\n", true},
		{"two CR", "a\r\r\n.\r\n", "a\r\n", true},
		{"LF first", "\n.\r\n.\r\n", " .\n", true},
		{"LF CR", "a\n\r\n.\r\n", "a \n", true},
		{"only CRs", "\r\r\r\n.\r\n", "\r\r\n", true},
	} {
		for _, n := range []int{1, 2, 3, 5, 1000} {
			r := NewReader(sized(tc.in+"QUIT\r\n", n))
			d := NewDataReader(r)
			got, err := drain(t, d)
			if err != nil || got != tc.want || d.Bare() != tc.bare {
				t.Errorf("%s, reads of %d: %q, bare %v, %v", tc.name, n, got, d.Bare(), err)
			}
			if _, err := d.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("%s: after the end %v", tc.name, err)
			}
			if line, err := r.ReadLine(100); err != nil || string(line) != "QUIT" {
				t.Errorf("%s, reads of %d: then %q, %v", tc.name, n, line, err)
			}
		}
	}
}

// No end of data but CR LF "." CR LF; the variants are those published for
// SMTP smuggling, each followed by what an attacker puts behind it.
func TestDataReaderIsNotSmuggled(t *testing.T) {
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\n.\r", "\r.\r", "\r.\n", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\n\n.\r\n", "\n\n.\n", "\r\r.\r\n",
		"\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\r\r\n", "\r\r\n.\n", "\n\r.\r\n", "\r\n\r.\r\n", "\x00\r\n.\n", "\r\n.\n\r\n", "\r\n.\r\x00\n",
		"\n\r\n.\n", "\u2028.\u2028", "\x85.\x85", "\v.\v", "\f.\f",
	} {
		for _, n := range []int{1, 2, 3, 1000} {
			evil := "MAIL FROM:<evil@example.net>\r\nDATA\r\nevil\r\n"
			r := NewReader(sized("body"+end+evil+".\r\nQUIT\r\n", n))
			d := NewDataReader(r)
			got, err := drain(t, d)
			if err != nil || !strings.HasSuffix(got, strings.ReplaceAll(evil, "\r\n", "\n")) {
				t.Errorf("%q, reads of %d: message %q, %v", end, n, got, err)
			}
			if wantBare := strings.ContainsAny(strings.ReplaceAll(end, "\r\n", ""), "\r\n"); d.Bare() != wantBare {
				t.Errorf("%q, reads of %d: bare %v", end, n, d.Bare())
			}
			if line, err := r.ReadLine(100); err != nil || string(line) != "QUIT" {
				t.Errorf("%q, reads of %d: then %q, %v", end, n, line, err)
			}
		}
	}
}

func TestDataReaderLongLines(t *testing.T) {
	longest := strings.Repeat("x", MaxDataLine)
	for _, n := range []int{1000, smallBuffer, 1 << 20} {
		for _, before := range []string{"", "a\r\n", strings.Repeat("line\r\n", 20000)} {
			r := NewReader(sized(before+longest+"\r\n"+longest+"\r\nz\r\n.\r\n", n))
			got, err := drain(t, NewDataReader(r))
			want := strings.ReplaceAll(before, "\r\n", "\n") + longest + "\n" + longest + "\nz\n"
			if err != nil || got != want {
				t.Errorf("reads of %d after %d: %d bytes, want %d, %v", n, len(before), len(got), len(want), err)
			}
			for _, end := range []string{"x\r\n.\r\n", strings.Repeat("x", 100000)} {
				r = NewReader(sized(before+longest+end, n))
				if _, err := drain(t, NewDataReader(r)); !errors.Is(err, ErrLineTooLong) {
					t.Errorf("reads of %d after %d: a line too long gave %v", n, len(before), err)
				}
			}
		}
	}
}

func TestDataReaderEndOfStream(t *testing.T) {
	for _, in := range []string{"", "a", "a\r\n", "a\r\n.", "a\r\n.\r", "a\r\n.\n"} {
		if _, err := drain(t, NewDataReader(NewReader(sized(in, 2)))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// An idle DATA holds no buffer either.
func TestDataReaderWaitsWithoutBuffer(t *testing.T) {
	in := strings.Repeat("line\r\n", 5000) + ".\r\n"
	var r *Reader
	r = NewReader(waiting{sized(in, 6000), func() error {
		if r.buf != nil && r.Buffered() == 0 {
			t.Error("waits with a buffer")
		}
		return nil
	}})
	if got, err := drain(t, NewDataReader(r)); err != nil || len(got) != 25000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestDataReaderDoesNotAllocate(t *testing.T) {
	in := append(bytes.Repeat([]byte("some line of a message body\r\n"), 10000), ".\r\n"...)
	src := bytes.NewReader(in)
	r := NewReader(src)
	n := testing.AllocsPerRun(20, func() {
		src.Reset(in)
		r.Reset(src)
		d := NewDataReader(r)
		for {
			if _, err := d.Next(); err != nil {
				break
			}
		}
	})
	if n > 3 { // the DataReader, and now and then a buffer that the pool lost
		t.Errorf("%v allocations for 10000 lines", n)
	}
}

// modelData is DataReader as a specification: it looks at all input at once.
func modelData(in string) (lines string, bare, ended bool, rest string) {
	for {
		line, after, ok := strings.Cut(in, "\r\n")
		if !ok {
			return lines, bare, false, ""
		}
		in = after
		if line == "." {
			return lines, bare, true, in
		}
		bare = bare || strings.ContainsAny(line, "\r\n")
		lines += strings.ReplaceAll(line, "\n", " ") + "\n"
	}
}

func checkData(t interface{ Fatalf(string, ...any) }, in string, src io.Reader) {
	r := NewReader(src)
	d := NewDataReader(r)
	got, err := drain(t, d)
	want, bare, ended, rest := modelData(in)
	if !ended {
		if !errors.Is(err, io.ErrUnexpectedEOF) || got != want {
			t.Fatalf("%q has no end: %q, %v", in, got, err)
		}
		return
	}
	if err != nil || got != want || d.Bare() != bare {
		t.Fatalf("%q: got %q, bare %v, %v, want %q, %v", in, got, d.Bare(), err, want, bare)
	}
	left, err := io.ReadAll(r.src)
	if err != nil || string(r.buf[r.pos:r.end])+string(left) != rest {
		t.Fatalf("%q: %q is left, want %q", in, string(r.buf[r.pos:r.end])+string(left), rest)
	}
}

// Wherever reads are cut, the message is the same.
func TestDataReaderCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"\r\n", "\r", "\n", ".", "..", "a", "bc", "\x00", "\r\n.\r\n"})
		in := strings.Join(rapid.SliceOfN(part, 0, 30).Draw(t, "in"), "")
		checkData(t, in, &cutReader{strings.NewReader(in), t})
	})
}

func FuzzDataReader(f *testing.F) {
	for _, s := range []string{".\r\n", "a\r\n.\r\n", "a\n.\nb\r\n.\r\nQUIT\r\n", "\r.\r", "..\r\n.\r\n", "a\r\n.\r", "\x00\r\r\n.\r\n"} {
		f.Add(s, uint8(2))
	}
	f.Fuzz(func(t *testing.T, in string, n uint8) {
		if len(in) > MaxDataLine {
			return // the model knows no longest line
		}
		checkData(t, in, sized(in, int(n)+1))
	})
}

func BenchmarkDataReader(b *testing.B) {
	for _, length := range []int{20, 72, 1000} {
		b.Run(strconv.Itoa(length), func(b *testing.B) {
			in := append(bytes.Repeat([]byte(strings.Repeat("x", length)+"\r\n"), 1<<20/length), ".\r\n"...)
			src := bytes.NewReader(in)
			r := NewReader(src)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(in)
				r.Reset(src)
				d := NewDataReader(r)
				for {
					if _, err := d.Next(); err != nil {
						break
					}
				}
			}
		})
	}
}
