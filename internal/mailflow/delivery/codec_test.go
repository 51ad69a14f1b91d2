package delivery

import (
	"bytes"
	"strings"
	"testing"
)

// cutAt gives b in pieces that end where the bits of seed say.
func cutAt(b []byte, seed uint64) [][]byte {
	var pieces [][]byte
	start := 0
	for i := range b {
		if seed>>(uint(i)%64)&1 == 1 {
			pieces = append(pieces, b[start:i])
			start = i
		}
	}
	return append(pieces, b[start:])
}

// FuzzDot: what a server takes off again is the message; no line of it is the
// end but the last one.
func FuzzDot(f *testing.F) {
	for _, s := range []string{"", ".", "\n.\n", "a\n..\n.b", "a\r\n.\r\nb", strings.Repeat(".\n", 100)} {
		f.Add([]byte(s), uint64(0x5a5a))
	}
	f.Fuzz(func(t *testing.T, msg []byte, seed uint64) {
		var enc dotEncoder
		var out []byte
		var err error
		for _, p := range cutAt(msg, seed) {
			if out, err = enc.append(out, p); err != nil {
				if !bytes.Contains(msg, []byte("\r")) {
					t.Fatal(err)
				}
				return
			}
		}
		out = enc.end(out)
		if bytes.Count(out, []byte("\n")) != bytes.Count(out, []byte("\r\n")) {
			t.Fatalf("bare LF in %q", out)
		}
		lines := strings.Split(string(out), "\r\n")
		if n := len(lines); n < 2 || lines[n-1] != "" || lines[n-2] != "." {
			t.Fatalf("%q does not end in the final dot", out)
		}
		lines = lines[:len(lines)-2]
		for i, l := range lines {
			if l == "." {
				t.Fatalf("%q ends early", out)
			}
			lines[i] = strings.TrimPrefix(l, ".")
		}
		want := string(msg)
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		got := strings.Join(append(lines, ""), "\n")
		if got != want {
			t.Fatalf("%q became %q", want, got)
		}
	})
}

// FuzzFromQuoter: no line begins with "From ", and a reader gets the message
// back by taking one ">" off.
func FuzzFromQuoter(f *testing.F) {
	for _, s := range []string{"From a\n", "x\n>From b\n>>From c\nFrom", ">", ">>Fro", strings.Repeat(">", maxQuotes) + "From x\n", strings.Repeat(">", maxQuotes+1) + "From x\n"} {
		f.Add([]byte(s), uint64(0xffff))
	}
	f.Fuzz(func(t *testing.T, msg []byte, seed uint64) {
		var q fromQuoter
		var out []byte
		pieces := cutAt(msg, seed)
		for i, p := range pieces {
			out = q.append(out, p, i == len(pieces)-1)
		}
		lines := strings.Split(string(out), "\n")
		for i, l := range lines {
			if strings.HasPrefix(l, "From ") {
				t.Fatalf("%q has a line that begins with From", out)
			}
			if text := strings.TrimLeft(l, ">"); strings.HasPrefix(text, "From ") && len(l)-len(text) <= maxQuotes+1 {
				if len(l)-len(text) == maxQuotes+1 && bytes.Contains(msg, []byte(l)) {
					continue // too many to have been quoted
				}
				lines[i] = l[1:]
			}
		}
		if got := strings.Join(lines, "\n"); got != string(msg) {
			t.Fatalf("%q became %q", msg, got)
		}
	})
}

// FuzzHeaderScan: what is found does not depend on how the message comes.
func FuzzHeaderScan(f *testing.F) {
	for _, s := range []string{"X-Spam: yes\n\n", "Delivered-To: a@x\nb: c\n\nX-Spam: yes\n", "delivered-to:  A@X \n", "\n", "x: \xff\n", strings.Repeat("a", 2*maxHeaderLine) + "\nX-Spam-Flag: YES\n"} {
		f.Add([]byte(s), uint64(0x1234567))
	}
	f.Fuzz(func(t *testing.T, msg []byte, seed uint64) {
		whole := headerScan{loop: [2]string{"a@x", ""}}
		whole.feed(msg)
		cut := headerScan{loop: whole.loop}
		for _, p := range cutAt(msg, seed) {
			cut.feed(p)
		}
		if whole.junk != cut.junk || whole.looped != cut.looped || whole.done != cut.done || whole.eightBit != cut.eightBit {
			t.Fatalf("%q: whole %+v, in pieces %+v", msg, whole, cut)
		}
		header, _, ended := bytes.Cut(append([]byte("\n"), msg...), []byte("\n\n"))
		if ended != whole.done && !bytes.HasPrefix(msg, []byte("\n")) {
			t.Fatalf("%q: end of header %t", msg, whole.done)
		}
		if whole.junk != bytes.Contains(bytes.ToLower(append(header, '\n')), []byte("\nx-spam: yes\n")) &&
			whole.junk != bytes.Contains(bytes.ToLower(append(header, '\n')), []byte("\nx-spam-flag: yes\n")) {
			t.Fatalf("%q: junk %t", msg, whole.junk)
		}
	})
}

// FuzzExtensions: nothing that a server says about itself does harm.
func FuzzExtensions(f *testing.F) {
	f.Add("fake\nSIZE 100\nPIPELINING")
	f.Add("\nsize -1\nSIZE 99999999999999999999\n8bitmime x")
	f.Fuzz(func(t *testing.T, text string) {
		if ext := parseExtensions(text); ext.MaxSize < 0 {
			t.Fatalf("%q: size %d", text, ext.MaxSize)
		}
	})
}

func TestOneLine(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{"a\nb\tc\rd", "a b c d"},
		{"\x00\x1b\x7f\xff\u0085", "?????"},
		{"caf\u00e9", "caf\u00e9"},
		{strings.Repeat("x", maxText), strings.Repeat("x", maxText)},
		{strings.Repeat("x", maxText+1), strings.Repeat("x", maxText)},
		{strings.Repeat("x", maxText-1) + "\u00e9", strings.Repeat("x", maxText-1)},
	}
	for _, tt := range tests {
		if got := oneLine(tt.in); got != tt.want {
			t.Errorf("%.40q: %.40q (%d), want %.40q (%d)", tt.in, got, len(got), tt.want, len(tt.want))
		}
	}
}
