package smtp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// sized gives a reader that returns n bytes at a time.
func sized(s string, n int) io.Reader { return &sizedReader{strings.NewReader(s), n} }

type sizedReader struct {
	r io.Reader
	n int
}

func (s *sizedReader) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

func TestReadLine(t *testing.T) {
	const max = 10
	type result struct {
		line string
		err  error
	}
	for _, tc := range []struct {
		name, in string
		want     []result
	}{
		{"lines", "EHLO x\r\n\r\nQUIT\r\n", []result{{"EHLO x", nil}, {"", nil}, {"QUIT", nil}, {"", io.EOF}}},
		{"longest", "0123456789\r\nx\r\n", []result{{"0123456789", nil}, {"x", nil}}},
		{"too long", "0123456789a\r\n", []result{{"", ErrLineTooLong}, {"", ErrLineTooLong}}},
		{"far too long, unended", strings.Repeat("x", 100), []result{{"", ErrLineTooLong}}},
		{"bare LF", "NOOP\nNOOP\r\n", []result{{"", ErrBareLF}, {"NOOP", nil}}},
		{"LF alone", "\nNOOP\r\n", []result{{"", ErrBareLF}, {"NOOP", nil}}},
		{"bare CR", "NO\rNO\r\nNOOP\r\n", []result{{"", ErrBareCR}, {"NOOP", nil}}},
		{"two CR", "NOOP\r\r\nNOOP\r\n", []result{{"", ErrBareCR}, {"NOOP", nil}}},
		{"CR then LF later", "NO\rOP\nNOOP\r\n", []result{{"", ErrBareLF}, {"NOOP", nil}}},
		{"NUL", "NO\x00OP\r\nNOOP\r\n", []result{{"", ErrNUL}, {"NOOP", nil}}},
		{"8-bit passes", "N\xc3\x96\xff\r\n", []result{{"N\xc3\x96\xff", nil}}},
		{"end within a line", "NOOP\r", []result{{"", io.ErrUnexpectedEOF}, {"", io.ErrUnexpectedEOF}}},
		{"end", "", []result{{"", io.EOF}, {"", io.EOF}}},
	} {
		for _, n := range []int{1, 2, 3, 1000} {
			r := NewReader(sized(tc.in, n))
			for i, want := range tc.want {
				line, err := r.ReadLine(max)
				if string(line) != want.line || !errors.Is(err, want.err) {
					t.Errorf("%s, reads of %d, line %d: %q, %v", tc.name, n, i, line, err)
				}
			}
		}
	}
}

// A line longer than the small buffer is read whole, as AUTH needs it.
func TestReadLineGrows(t *testing.T) {
	long := strings.Repeat("x", MaxAuthLine)
	for _, n := range []int{1, 1000, smallBuffer, largeBuffer} {
		r := NewReader(sized("a\r\n"+long+"\r\nb\r\n", n))
		for _, want := range []string{"a", long, "b"} {
			if line, err := r.ReadLine(MaxAuthLine); err != nil || string(line) != want {
				t.Fatalf("reads of %d: %.20q, %v", n, line, err)
			}
		}
	}
}

func TestReaderLookAhead(t *testing.T) {
	r := NewReader(strings.NewReader("A\r\nB\r\nC"))
	if r.HasLine() || r.Buffered() != 0 {
		t.Error("something is buffered before the first read")
	}
	for _, left := range []struct {
		buffered int
		line     bool
	}{{4, true}, {1, false}} {
		if _, err := r.ReadLine(10); err != nil {
			t.Fatal(err)
		}
		if r.Buffered() != left.buffered || r.HasLine() != left.line {
			t.Errorf("buffered %d, line %v", r.Buffered(), r.HasLine())
		}
	}
	// RFC 3207 s4.2: what came before the handshake is forgotten.
	r.Reset(strings.NewReader("D\r\n"))
	if line, err := r.ReadLine(10); err != nil || string(line) != "D" {
		t.Errorf("after Reset: %q, %v", line, err)
	}
}

// waiting is a Socket that waits before each read.
type waiting struct {
	io.Reader
	wait func() error
}

func (w waiting) ReadTo(r *Reader) (int, error) {
	r.Park()
	if err := w.wait(); err != nil {
		return 0, err
	}
	return w.Read(r.Room())
}

// While the Reader waits for its client it holds no buffer.
func TestReaderWaitsWithoutBuffer(t *testing.T) {
	waited := 0
	var r *Reader
	r = NewReader(waiting{sized("A\r\nB\r\n", 3), func() error {
		waited++
		if r.buf != nil {
			t.Error("waits with a buffer")
		}
		return nil
	}})
	for _, want := range []string{"A", "B"} {
		if line, err := r.ReadLine(10); err != nil || string(line) != want {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if waited != 2 {
		t.Errorf("waited %d times", waited)
	}
	r.Idle()
	if r.buf != nil {
		t.Error("Idle kept an empty buffer")
	}
	gone := errors.New("gone")
	r = NewReader(waiting{nil, func() error { return gone }})
	for range 2 {
		if _, err := r.ReadLine(10); !errors.Is(err, gone) {
			t.Errorf("the wait failed: %v", err)
		}
	}
}

// A Reader that waits in the middle of a line keeps that and little more.
func TestReaderParksLine(t *testing.T) {
	for _, n := range []int{1, smallBuffer/2 - 1, smallBuffer / 2, smallBuffer, MaxDataLine - 3} {
		in := strings.Repeat("line\r\n", 2000) + strings.Repeat("x", n) // begins what is cut
		cut := len(in)
		in += "\r\n.\r\n"
		var r *Reader
		src := strings.NewReader(in)
		r = NewReader(waiting{readerFunc(func(p []byte) (int, error) {
			if at := len(in) - src.Len(); at < cut {
				p = p[:min(len(p), cut-at)]
			}
			return src.Read(p)
		}), func() error {
			if rest := r.Buffered(); rest < smallBuffer/2 && len(r.buf) > smallBuffer {
				t.Errorf("waits for the rest of %d bytes with a buffer of %d", rest, len(r.buf))
			}
			return nil
		}})
		got, err := drain(t, NewDataReader(r))
		if want := strings.ReplaceAll(in[:len(in)-3], "\r\n", "\n"); err != nil || string(got) != want {
			t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
		}
	}
}

// When many have large buffers, who comes then makes do with a small one, but for
// a line that needs more; and all of them come back.
func TestReaderLargeBuffers(t *testing.T) {
	before := largeOut.Load()
	defer largeOut.Store(before)
	in := strings.Repeat("line\r\n", 20000) + strings.Repeat("x", 2*smallBuffer) + "\r\n" + strings.Repeat("line\r\n", 20000) + ".\r\n"
	for _, tc := range []struct {
		out   int32
		large bool
	}{{maxLarge - 1, true}, {maxLarge, false}} {
		largeOut.Store(tc.out)
		r := NewReader(strings.NewReader(in))
		d := NewDataReader(r)
		most, needed := 0, false
		for {
			lines, err := d.Next()
			if err != nil {
				break
			}
			if bytes.Contains(lines, []byte("xx")) {
				needed = true
			} else if !needed {
				most = max(most, len(r.buf))
			}
		}
		if !needed || (most == largeBuffer) != tc.large {
			t.Errorf("%d borrowed: a buffer of %d bytes, long line %v", tc.out, most, needed)
		}
		r.Reset(nil)
		if n := largeOut.Load(); n != tc.out {
			t.Errorf("%d borrowed in the end, want %d", n, tc.out)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReaderIdleKeepsInput(t *testing.T) {
	r := NewReader(strings.NewReader("A\r\nB\r\n"))
	if _, err := r.ReadLine(10); err != nil {
		t.Fatal(err)
	}
	r.Idle()
	if line, err := r.ReadLine(10); err != nil || string(line) != "B" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestSkipLine(t *testing.T) {
	for _, tc := range []struct {
		n     int // octets before CR LF
		limit int
		ended bool
	}{{5000, 5002, true}, {5000, 5001, false}, {100, 70000, true}} {
		r := NewReader(sized(strings.Repeat("x", tc.n)+"\r\nNOOP\r\n", 700))
		if _, err := r.ReadLine(10); !errors.Is(err, ErrLineTooLong) {
			t.Fatal(err)
		}
		ended, err := r.SkipLine(tc.limit)
		if err != nil || ended != tc.ended {
			t.Errorf("%d octets, limit %d: %v, %v", tc.n, tc.limit, ended, err)
		}
		if ended {
			if line, err := r.ReadLine(10); err != nil || string(line) != "NOOP" {
				t.Errorf("then %q, %v", line, err)
			}
		}
	}
	r := NewReader(strings.NewReader(strings.Repeat("x", 50)))
	if _, err := r.ReadLine(10); !errors.Is(err, ErrLineTooLong) {
		t.Fatal(err)
	}
	if ended, err := r.SkipLine(1000); ended || err == nil {
		t.Errorf("the stream ended: %v, %v", ended, err)
	}
}

func TestDiscard(t *testing.T) {
	r := NewReader(sized("BDAT 10000\r\n"+strings.Repeat("\n", 10000)+"QUIT\r\n", 777))
	if _, err := r.ReadLine(100); err != nil {
		t.Fatal(err)
	}
	if err := r.Discard(10000); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadLine(100); err != nil || string(line) != "QUIT" {
		t.Errorf("%q, %v", line, err)
	}
	if err := r.Discard(1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("past the end: %v", err)
	}
}

func TestReaderErrors(t *testing.T) {
	boom := errors.New("boom")
	r := NewReader(io.MultiReader(strings.NewReader("A\r\nB"), iotest.ErrReader(boom)))
	if line, err := r.ReadLine(10); err != nil || string(line) != "A" {
		t.Fatal(err)
	}
	if _, err := r.ReadLine(10); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if _, err := NewReader(nothingReader{}).ReadLine(10); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a stream that gives nothing: %v", err)
	}
}

type nothingReader struct{}

func (nothingReader) Read([]byte) (int, error) { return 0, nil }

func TestReadLineDoesNotAllocate(t *testing.T) {
	in := bytes.Repeat([]byte("NOOP and more\r\n"), 2000)
	src := bytes.NewReader(in)
	r := NewReader(waiting{src, func() error { return nil }})
	if _, err := r.ReadLine(100); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := r.ReadLine(100); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each line", n)
	}
}

// modelLine is ReadLine as a specification: it looks at all input at once.
func modelLine(in string, max int) (line, rest string, err error) {
	i := strings.IndexByte(in, '\n')
	if i < 0 {
		switch {
		case len(in) >= max+2:
			return "", in, ErrLineTooLong
		case in == "":
			return "", in, io.EOF
		}
		return "", in, io.ErrUnexpectedEOF
	}
	line, crlf := strings.CutSuffix(in[:i], "\r")
	switch {
	case len(line) > max:
		return "", in, ErrLineTooLong
	case !crlf:
		return "", in[i+1:], ErrBareLF
	case strings.Contains(line, "\r"):
		return "", in[i+1:], ErrBareCR
	case strings.Contains(line, "\x00"):
		return "", in[i+1:], ErrNUL
	}
	return line, in[i+1:], nil
}

func checkLines(t interface{ Fatalf(string, ...any) }, in string, src io.Reader, max int) {
	r := NewReader(src)
	for rest := in; ; {
		line, err := r.ReadLine(max)
		var want string
		var wantErr error
		want, rest, wantErr = modelLine(rest, max)
		if string(line) != want || !errors.Is(err, wantErr) {
			t.Fatalf("%q: got %q, %v, want %q, %v", in, line, err, want, wantErr)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrLineTooLong) {
			return
		}
	}
}

// Wherever reads are cut, the lines are the same.
func TestReadLineCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringOfN(rapid.SampledFrom([]rune("ab\r\n\x00 ")), 0, 40, -1).Draw(t, "in")
		max := rapid.IntRange(0, 8).Draw(t, "max")
		checkLines(t, in, &cutReader{strings.NewReader(in), t}, max)
	})
}

// cutReader gives as many bytes at a time as rapid draws.
type cutReader struct {
	r io.Reader
	t *rapid.T
}

func (c *cutReader) Read(p []byte) (int, error) {
	return c.r.Read(p[:rapid.IntRange(1, min(len(p), 8)).Draw(c.t, "cut")])
}

func FuzzReadLine(f *testing.F) {
	for _, s := range []string{"EHLO x\r\nQUIT\r\n", "a\nb\r\n", "a\rb\r\n", "\x00\r\n", "0123456789012345678901234567890123456789", "\r\n\r\r\n\n"} {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, in string, n uint8) {
		checkLines(t, in, sized(in, int(n)+1), 32)
	})
}
