package session

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestTypedLines(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"LF becomes CR LF", "EHLO a\nQUIT\n", "EHLO a\r\nQUIT\r\n"},
		{"CR LF stays", "EHLO a\r\nQUIT\r\n", "EHLO a\r\nQUIT\r\n"},
		{"bare LF later in a session of CR LF stays bare", "EHLO a\r\nx\ny\r\n", "EHLO a\r\nx\ny\r\n"},
		{"CR in a session of LF stays, so that it is refused", "EHLO a\nx\r\ny\n", "EHLO a\r\nx\r\r\ny\r\n"},
		{"no line end", "EHLO", "EHLO"},
	}
	for _, tt := range tests {
		for _, cut := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader} {
			got, err := io.ReadAll(&typedLines{src: cut(strings.NewReader(tt.in))})
			if err != nil || string(got) != tt.want {
				t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
			}
		}
	}
}

// TestBareLF: with bare-lf a mail can be typed into nc; without, each line is
// refused; and a session that began with CR LF is held to it in both.
func TestBareLF(t *testing.T) {
	in := hello + from + to + body + "QUIT\n"
	b := newBench()
	b.opt.BareLF = true
	if got, want := codes(b.run(t, in)), "220 250 250 250 354 250 221"; got != want {
		t.Errorf("typed with bare-lf: %s, want %s", got, want)
	}
	if !strings.HasSuffix(b.queue.messages[0].body, "\nSubject: hi\n\ntext\n") {
		t.Errorf("stored %q", b.queue.messages[0].body)
	}
	if got := codes(newBench().run(t, hello+"QUIT\n")); got != "220 500 500" {
		t.Errorf("typed without bare-lf: %s", got)
	}
	b = newBench()
	b.opt.BareLF = true
	out := b.run(t, crlf(hello+from+to)+"DATA\r\na: b\r\n\r\nx\n.\ny\r\n.\r\nQUIT\r\n")
	if got, want := codes(out), "220 250 250 250 354 550 221"; got != want {
		t.Errorf("bare LF in a session of CR LF: %s, want %s", got, want)
	}
}

// TestTypedChunks: who types counts no octets, and what a client counted before
// its LFs became CR LF is not what arrives: chunks of such a session cannot be
// told from commands.
func TestTypedChunks(t *testing.T) {
	b := newBench()
	b.opt.BareLF = true
	out := b.run(t, hello+from+to+"BDAT 15 LAST\nSubject: a\n\nNOOP\nQUIT\n")
	if got, want := codes(out), "220 250 250 250 503"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if strings.Contains(out, "CHUNKING") || len(b.queue.messages) != 0 {
		t.Errorf("%d messages; heard %q", len(b.queue.messages), out)
	}
	b = newBench()
	b.opt.BareLF = true
	out = b.run(t, crlf(hello+from+to+"BDAT 17 LAST\nSubject: a\n\nx\nQUIT\n"))
	if got, want := codes(out), "220 250 250 250 250 221"; got != want || !strings.Contains(out, "CHUNKING") {
		t.Errorf("with CR LF: got  %s\nwant %s", got, want)
	}
}
