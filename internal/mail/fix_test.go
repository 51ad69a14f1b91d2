package mail

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var testTime = time.Date(2026, 11, 2, 10, 55, 5, 0, time.UTC)

func testOptions() Options {
	return Options{
		Domain:     "mx.example.test",
		AddMissing: true,
		Now:        func() time.Time { return testTime },
		NewID:      func() uint64 { return 0x1e665c2c7477010a },
	}
}

const (
	testDate  = "Date: Mon, 2 Nov 2026 10:55:05 +0000 (UTC)\n"
	testID    = "Message-ID: <1e665c2c7477010a@mx.example.test>\n"
	testAdded = testDate + testID
)

// fix runs a message through a Fixer in pieces of n bytes; 0 means at once.
func fix(t testing.TB, o Options, in string, n int) (string, *Fixer) {
	t.Helper()
	var out bytes.Buffer
	f := NewFixer(&out, o)
	for len(in) > 0 {
		k := len(in)
		if n > 0 {
			k = min(n, k)
		}
		if m, err := f.Write([]byte(in[:k])); err != nil || m != k {
			t.Fatalf("Write gave %d, %v", m, err)
		}
		in = in[k:]
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), f
}

func TestFixer(t *testing.T) {
	const known = "Date: x\nMessage-Id: y\n" // leaves nothing to be added
	for _, tc := range []struct{ name, in, want string }{
		{"no line at all", "", testAdded},
		{"header only", "Subject: x\n", "Subject: x\n" + testAdded},
		{"header and blank line", "Subject: x\n\n", "Subject: x\n" + testAdded + "\n"},
		{"blank line first", "\nbody\n", testAdded + "\nbody\n"},
		{"only the Message-ID lacks", "DATE: x\n\nb\n", "DATE: x\n" + testID + "\nb\n"},
		{"only the Date lacks", "Message-ID: x\n\nb\n", "Message-ID: x\n" + testDate + "\nb\n"},
		{"space before the colon passes", "Subject : x\n\nb\n", "Subject : x\n" + testAdded + "\nb\n"},
		{"space before the colon makes another field", "Bcc : x\nDate : y\n\n", "Bcc : x\nDate : y\n" + testAdded + "\n"},
		{"empty value and empty name", known + "X-E:\n: x\n\n", known + "X-E:\n: x\n\n"},
		{"folded", known + "X: one\n two\n\tthree\n\nb\n", known + "X: one\n two\n\tthree\n\nb\n"},
		{"continuation of white space only", known + "X: one\n \n two\n\nb\n", known + "X: one\n \n two\n\nb\n"},
		{"Bcc goes with its lines", known + "bCc: <h@x>\n , <i@x>\nX: y\n\nBcc: stays\n", known + "X: y\n\nBcc: stays\n"},
		{"Bcc last", known + "Bcc: <h@x>\n , <i@x>\n", known},
		{"bytes pass", known + "X: \x00\xff\r\n\n\xfe\r\x00\n", known + "X: \x00\xff\r\n\n\xfe\r\x00\n"},
		{"no LF at the end of a header", known + "X: y", known + "X: y\n"},
		{"no LF at the end of the body", known + "\nbody", known + "\nbody"},
		{"domains", known + "From: root\nTo: alice, bob@example.net\nCc: \"A | B\" <alice>\n\nx\n",
			known + "From: root@mx.example.test\nTo: alice@mx.example.test, bob@example.net\nCc: \"A | B\" <alice@mx.example.test>\n\nx\n"},
		{"domains in folded fields", known + "From: root,\n alice,\n\tbob <bob>\n\nx\n",
			known + "From: root@mx.example.test,\n alice@mx.example.test,\n\tbob <bob@mx.example.test>\n\nx\n"},
		{"other address fields pass", known + "Sender: root\nReply-To: root\nResent-To: a\n\n", known + "Sender: root\nReply-To: root\nResent-To: a\n\n"},
		{"domain in a field at the end", known + "to: a", known + "to: a@mx.example.test\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for n := range 5 {
				got, f := fix(t, testOptions(), tc.in, n)
				if got != tc.want {
					t.Errorf("in pieces of %d:\n got %q\nwant %q", n, got, tc.want)
				}
				if f.Malformed() || f.Loop() {
					t.Errorf("in pieces of %d: malformed %v, loop %v", n, f.Malformed(), f.Loop())
				}
			}
		})
	}
}

func TestFixerMalformed(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     bool
	}{
		{"no colon", "this is not a header\n\nbody\n", true},
		{"no colon in the second line", "A: b\nno header\n\n", true},
		{"no colon, no LF", "A: b\nno header", true},
		{"folded first line", " A: b\n\nbody\n", true},
		{"white space for a blank line", "A: b\n\nbody\n", false},
		{"body without colon", "A: b\n\nno header\n", false},
		{"continuation without colon", "A: b\n no header\n", false},
		{"longest name", strings.Repeat("n", maxFieldName) + ":\n", false},
		{"name too long", strings.Repeat("n", maxFieldName+1) + ":\n", true},
		{"longest line", "A:" + strings.Repeat("b", MaxHeaderLine-2) + "\n", false},
		{"line too long", "A:" + strings.Repeat("b", MaxHeaderLine-1) + "\n", true},
		{"long line in the body", "\n" + strings.Repeat("b", MaxHeaderLine+1) + "\n", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, n := range []int{0, 1000} {
				if _, f := fix(t, testOptions(), tc.in, n); f.Malformed() != tc.want {
					t.Errorf("in pieces of %d: malformed is %v, want %v", n, f.Malformed(), tc.want)
				}
			}
		})
	}
}

func TestFixerWritesNothingAfterMalformed(t *testing.T) {
	got, f := fix(t, Options{}, "A: b\nnot a header\nX: y\n\nbody\n", 7)
	if got != "A: b\n" || !f.Malformed() {
		t.Errorf("got %q, malformed %v", got, f.Malformed())
	}
}

// RFC 5321 s6.3: the 100th Received field means a loop.
func TestFixerLoop(t *testing.T) {
	for _, tc := range []struct {
		n    int
		loop bool
	}{{0, false}, {99, false}, {100, true}, {101, true}} {
		in := strings.Repeat("Received: by x\n\tfor y\n", tc.n) + "X-Received: no\n\nReceived: no\n"
		_, f := fix(t, Options{}, in, 0)
		if f.Loop() != tc.loop || f.Received() != min(tc.n, MaxReceived) || f.Malformed() {
			t.Errorf("%d fields: loop %v, counted %d, malformed %v", tc.n, f.Loop(), f.Received(), f.Malformed())
		}
	}
}

// A field above the limit passes without domains, and nothing of it is lost.
func TestFixerLongField(t *testing.T) {
	line := " alice,\n"
	fits := "To:" + strings.Repeat(line, MaxEditedField/len(line)-1) + " bob\n"
	if got, _ := fix(t, testOptions(), fits, 0); !strings.Contains(got, " alice@mx.example.test,\n") {
		t.Error("a field within the limit got no domains")
	}
	long := "To:" + strings.Repeat(line, MaxEditedField/len(line)+1) + " bob\n"
	if got, _ := fix(t, testOptions(), long, 0); got != long+testAdded {
		t.Error("a field above the limit did not pass as it is")
	}
}

func TestFixerKeepsWriteError(t *testing.T) {
	want := errors.New("disk full")
	f := NewFixer(failingWriter{want}, Options{})
	if _, err := f.Write([]byte("A: b\n\nbody\n")); !errors.Is(err, want) {
		t.Errorf("Write gave %v", err)
	}
	if _, err := f.Write([]byte("more\n")); !errors.Is(err, want) {
		t.Errorf("second Write gave %v", err)
	}
	if err := f.Close(); !errors.Is(err, want) {
		t.Errorf("Close gave %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// Body lines cost nothing: they are written as they come.
func TestFixerBodyDoesNotAllocate(t *testing.T) {
	f := NewFixer(discard{}, testOptions())
	if _, err := f.Write([]byte("A: b\n\n")); err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("some line of a body\n"), 100)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := f.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each chunk of the body", n)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func TestAppendDomains(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"alice", "alice@d"},
		{" alice \n", " alice@d \n"},
		{" a,b,\n", " a@d,b@d,\n"},
		{" a@b\n", " a@b\n"},
		{" <a>\n", " <a@d>\n"},
		{" < a >\n", " < a@d >\n"},
		{" <>\n", " <>\n"},
		{" < >\n", " < >\n"},
		{"\n", "\n"},
		{"", ""},
		{",,", ",,"},
		{` "a, b" <c>`, ` "a, b" <c@d>`},
		{` "a@b" <c>`, ` "a@b" <c@d>`},
		{` "a\"," <c>`, ` "a\"," <c@d>`},
		{` "quoted"`, ` "quoted"@d`},
		{" a (x, y@z)", " a@d (x, y@z)"},
		{" (x) a", " (x) a@d"},
		{" (only a comment)", " (only a comment)"},
		{" (a (nested) one) b", " (a (nested) one) b@d"},
		{` (a \) b) c`, ` (a \) b) c@d`},
		{" <a (x)>", " <a@d (x)>"},
		{" First Last", " First Last@d"},
		{" <@x,@y:a@z>", " <@x,@y:a@z>"},
		{" undisclosed-recipients:;", " undisclosed-recipients:;"},
		{" g: a, b;, c", " g: a, b;, c@d"},
		{" g: a, b, c; , h:;,e", " g: a, b, c; , h:;,e@d"},
		{" <a", " <a"},
		{` "a`, ` "a`},
		{" (a", " (a"},
		{` a\`, ` a\`},
		{" a, <b", " a@d, <b"},
		{" caf\xc3\xa9 <a>", " caf\xc3\xa9 <a@d>"},
	} {
		if got := string(appendDomains(nil, []byte(tc.in), "d")); got != tc.want {
			t.Errorf("%q became %q, want %q", tc.in, got, tc.want)
		}
		if got := string(appendDomains(nil, []byte(tc.in), "")); got != tc.in {
			t.Errorf("without a domain %q became %q", tc.in, got)
		}
	}
}

// However a message is cut into writes, the same comes out.
func TestFixerCuts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.OneOf(
			rapid.SampledFrom([]string{"", "From: a", "To: a,", " b", "\tc <d>", "Bcc: x", "Date: y", "Received: z", "no", "X : y"}),
			rapid.StringMatching(`[A-Za-z :"<>(),@\\-]{0,20}`),
		)
		in := strings.Join(rapid.SliceOfN(line, 0, 12).Draw(t, "lines"), "\n")
		var outs [2]string
		var fixers [2]*Fixer
		for i := range outs {
			var b bytes.Buffer
			f := NewFixer(&b, testOptions())
			for rest := in; rest != ""; {
				k := len(rest)
				if i == 1 {
					k = rapid.IntRange(1, len(rest)).Draw(t, "cut")
				}
				if _, err := f.Write([]byte(rest[:k])); err != nil {
					t.Fatal(err)
				}
				rest = rest[k:]
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			outs[i], fixers[i] = b.String(), f
		}
		if outs[0] != outs[1] || fixers[0].Malformed() != fixers[1].Malformed() {
			t.Fatalf("%q: %q and %q", in, outs[0], outs[1])
		}
	})
}

func FuzzFixer(f *testing.F) {
	for _, s := range []string{
		"", "\n", "A: b\n\nbody\n", "From: a,\n b <c>\nBcc: x\n y\nTo: g: a;, \"q\\\"\" <z>\n\n.\n",
		" folded\n", "no colon\n", "Received: x\nDate:\nMessage-ID: <y>\nX: \x00\xff\r\n", "To: <a (b\nCc: \"\n",
	} {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, in string, n uint8) {
		whole, a := fix(t, testOptions(), in, 0)
		cut, b := fix(t, testOptions(), in, int(n))
		if whole != cut || a.Malformed() != b.Malformed() || a.Received() != b.Received() {
			t.Fatalf("cutting every %d bytes changes the result:\n%q\n%q", n, whole, cut)
		}
		if a.Malformed() || a.Loop() {
			return
		}
		// What comes out is well formed and needs nothing more.
		again, c := fix(t, testOptions(), whole, 0)
		if c.Malformed() || again != whole {
			t.Fatalf("fixing twice gives another message:\n%q\n%q", whole, again)
		}
		// The body passes untouched.
		if _, body, ok := strings.Cut("\n"+in, "\n\n"); ok && !strings.HasSuffix(whole, body) {
			t.Fatalf("body %q is not at the end of %q", body, whole)
		}
	})
}
