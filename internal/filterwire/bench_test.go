package filterwire

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/trace"
)

func BenchmarkAppendRequest(b *testing.B) {
	var buf []byte
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRequest(buf[:0], V07, now, MailFrom, 0x1e665d18dd6e0f5a, 0x96d7e44fcdd976c2, "sender@client.example")
	}
}

func BenchmarkAppendReport(b *testing.B) {
	var buf []byte
	e := &trace.Event{Kind: trace.TxRcpt, Time: time.Now(), Session: 0x1e665d18dd6e0f5a, Message: 0x96d7e44f, Result: "ok", Text: "user@example.org"}
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendReport(buf[:0], V07, e)
	}
}

// BenchmarkAppendLines frames a chunk of a message, line by line.
func BenchmarkAppendLines(b *testing.B) {
	chunk := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\n"), 32<<10/77)
	prefix := AppendDataPrefix(nil, V07, time.Now(), mail.SessionID(0x1e665d18dd6e0f5a), 0x96d7e44fcdd976c2)
	buf := make([]byte, 0, 128<<10)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		if _, rest := AppendLines(buf[:0], prefix, chunk, cap(buf)); len(rest) != 0 {
			b.Fatal("the buffer is too small")
		}
	}
}

// BenchmarkParseDataline reads a line of a message as a filter gives it back.
func BenchmarkParseDataline(b *testing.B) {
	line := []byte("filter-dataline|1e665d18dd6e0f5a|96d7e44fcdd976c2|" + strings.Repeat("x", 76))
	var l Line
	b.SetBytes(76)
	b.ReportAllocs()
	for b.Loop() {
		if err := Parse(line, &l); err != nil {
			b.Fatal(err)
		}
	}
}
