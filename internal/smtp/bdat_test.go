package smtp

import (
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseBdatArgs(t *testing.T) {
	for _, tc := range []struct {
		in   string
		size int64
		last bool
	}{{"0", 0, false}, {"86", 86, false}, {"0 LAST", 0, true}, {"9223372036854775807 last", 1<<63 - 1, true}} {
		if size, last, err := ParseBdatArgs([]byte(tc.in)); err != nil || size != tc.size || last != tc.last {
			t.Errorf("%q gave %d, %v, %v", tc.in, size, last, err)
		}
	}
	for _, in := range []string{"", " ", "x", "-1", "+1", "1 ", "1 FIRST", "1 LAST x", "1  LAST", "LAST", "9223372036854775808", "0x10", "1\tLAST"} {
		if size, _, err := ParseBdatArgs([]byte(in)); !errors.Is(err, ErrBdatArgs) {
			t.Errorf("%q gave %d, %v", in, size, err)
		}
	}
}

// readChunks sends a message cut into chunks and gives what comes out.
func readChunks(t interface{ Fatalf(string, ...any) }, src io.Reader, sizes []int64) (string, *ChunkReader, *Reader, error) {
	r := NewReader(src)
	c := NewChunkReader(r)
	all := ""
	for i, size := range sizes {
		c.Begin(size, i == len(sizes)-1)
		got, err := drain(t, c)
		all += got
		if err != nil {
			return all, c, r, err
		}
		if c.Left() != 0 {
			t.Fatalf("%d octets left at the end of a chunk", c.Left())
		}
	}
	return all, c, r, nil
}

func TestChunkReader(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
		bare           bool
	}{
		{"nothing", "", "", false},
		{"lines", "A: b\r\n\r\nbody\r\n", "A: b\n\nbody\n", false},
		{"no line end at the end", "a\r\nb", "a\nb\n", false},
		{"dots are escaped", ".\r\n..\r\n.x\r\na.\r\n", "..\n...\n..x\na.\n", false},
		{"dot at the end", "a\r\n.", "a\n..\n", false},
		{"DATA's end is data", "a\r\n.\r\nb\r\n", "a\n..\nb\n", false},
		{"bare LF", "a\n.\nb\r\n", "a . b\n", true},
		{"bare LF at the end", "a\n", "a \n", true},
		{"bare CR", "a\rb\r\n", "a\rb\n", true},
		{"CR at the end", "a\r", "a\r\n", true},
		{"two CR", "a\r\r\n", "a\r\n", true},
		{"bytes stay", "\x00\xff\r\n", "\x00\xff\n", false},
	} {
		for size := 1; size <= len(tc.in)+1; size++ {
			var sizes []int64
			for left := len(tc.in); left > 0; left -= size {
				sizes = append(sizes, int64(min(left, size)))
			}
			sizes = append(sizes, 0) // BDAT 0 LAST
			for _, n := range []int{1, 3, 1000} {
				got, c, r, err := readChunks(t, sized(tc.in+"QUIT\r\n", n), sizes)
				if err != nil || got != tc.want || c.Bare() != tc.bare {
					t.Errorf("%s, chunks of %d, reads of %d: %q, bare %v, %v", tc.name, size, n, got, c.Bare(), err)
				}
				if line, err := r.ReadLine(10); err != nil || string(line) != "QUIT" {
					t.Errorf("%s: then %q, %v", tc.name, line, err)
				}
				if c.buf != nil {
					t.Errorf("%s: a buffer is kept", tc.name)
				}
			}
		}
	}
}

func TestChunkReaderLongLines(t *testing.T) {
	longest := strings.Repeat("x", MaxDataLine)
	for _, tc := range []struct {
		in  string
		err error
	}{
		{longest + "\r\n" + longest, nil},
		{longest + "x\r\n", ErrLineTooLong},
		{longest + "xx", ErrLineTooLong},
		{strings.Repeat("\n", MaxDataLine+2), ErrLineTooLong},
	} {
		for _, n := range []int{1000, 1 << 20} {
			half := int64(len(tc.in) / 2)
			if _, _, _, err := readChunks(t, sized(tc.in, n), []int64{half, int64(len(tc.in)) - half}); !errors.Is(err, tc.err) {
				t.Errorf("%d octets, reads of %d: %v", len(tc.in), n, err)
			}
		}
	}
}

func TestChunkReaderEndOfStream(t *testing.T) {
	if _, _, _, err := readChunks(t, strings.NewReader("abc"), []int64{4}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

// A message gives the same lines over BDAT, however cut, as over DATA.
func TestChunkReaderLikeData(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"\r\n", "\r", "\n", ".", "a", "bc", "\x00"})
		in := strings.Join(rapid.SliceOfN(part, 0, 30).Draw(t, "in"), "") + "\r\n"
		var sizes []int64
		for left := len(in); left > 0; {
			n := rapid.IntRange(0, left).Draw(t, "chunk")
			sizes = append(sizes, int64(n))
			left -= n
		}
		got, c, _, err := readChunks(t, &cutReader{strings.NewReader(in), t}, sizes)
		if err != nil {
			t.Fatal(err)
		}
		// For DATA a client escapes the dots itself.
		wire := strings.ReplaceAll("\r\n"+in, "\r\n.", "\r\n..")[2:] + ".\r\n"
		d := NewDataReader(NewReader(strings.NewReader(wire)))
		want, err := drain(t, d)
		if err != nil || got != want || c.Bare() != d.Bare() {
			t.Fatalf("%q: BDAT %q, bare %v; DATA %q, bare %v", in, got, c.Bare(), want, d.Bare())
		}
	})
}

func FuzzChunkReader(f *testing.F) {
	f.Add("a\r\n.\r\nb", uint8(3), uint8(2))
	f.Add(".\n\r\r\n", uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, in string, size, n uint8) {
		if len(in) > MaxDataLine || size == 0 {
			return
		}
		var sizes []int64
		for left := len(in); left > 0; left -= int(size) {
			sizes = append(sizes, int64(min(left, int(size))))
		}
		got, c, _, err := readChunks(t, sized(in, int(n)+1), sizes)
		if err != nil {
			t.Fatal(err)
		}
		whole, w, _, err := readChunks(t, strings.NewReader(in), []int64{int64(len(in))})
		if err != nil || got != whole || c.Bare() != w.Bare() {
			t.Fatalf("%q: in chunks %q, at once %q, %v", in, got, whole, err)
		}
	})
}
