package smtp

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
)

// transaction is what a client sends for one message, without DATA.
var transaction = []string{
	"MAIL FROM:<sender@client.example> SIZE=4096 BODY=8BITMIME", "RCPT TO:<user@example.org>", "DATA",
}

// BenchmarkReadLine reads command lines, as many as a pipelining client sends
// at once; the time is that of a line.
func BenchmarkReadLine(b *testing.B) {
	in := []byte(strings.Repeat(strings.Join(transaction, "\r\n")+"\r\n", 100))
	lines := 100 * len(transaction)
	src := bytes.NewReader(in)
	r := NewReader(src)
	b.SetBytes(int64(len(in) / lines))
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		src.Reset(in)
		r.Reset(src)
		for i := 0; i < lines && n < b.N; i++ {
			if _, err := r.ReadLine(512); err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
}

// BenchmarkParseCommand takes command lines apart as far as the command table
// needs them.
func BenchmarkParseCommand(b *testing.B) {
	for _, line := range append(transaction, "EHLO client.example", "NOSUCHVERB") {
		verb, _, _ := strings.Cut(line, " ")
		b.Run(verb, func(b *testing.B) {
			in := []byte(line)
			b.ReportAllocs()
			for b.Loop() {
				ParseCommand(in)
			}
		})
	}
}

// BenchmarkUnescape takes the dots off a chunk of lines, of which none, a few
// and all begin with one.
func BenchmarkUnescape(b *testing.B) {
	const lines = 400
	for _, every := range []int{0, 20, 1} {
		b.Run("dots-"+strconv.Itoa(every), func(b *testing.B) {
			var in []byte
			for i := range lines {
				if every > 0 && i%every == 0 {
					in = append(in, "."...)
				}
				in = append(in, strings.Repeat("x", 76)+"\n"...)
			}
			chunk := make([]byte, len(in))
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				copy(chunk, in) // it works in place
				Unescape(chunk)
			}
		})
	}
}
