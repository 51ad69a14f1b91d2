package filter

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
)

// BenchmarkWriter has so many sessions put questions into one pipe, whose
// other end takes all there is. With one, each put is a write; with more, what
// comes during a write goes into the next.
func BenchmarkWriter(b *testing.B) {
	for _, sessions := range []int{1, 20, 1000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			var pp pipes
			if err := pp.open(); err != nil {
				b.Fatal(err)
			}
			defer pp.close()
			w, err := newWriter(pp.ours[0], func(error) {})
			if err != nil {
				b.Fatal(err)
			}
			taken := make(chan int64)
			go func() {
				n, _ := io.Copy(io.Discard, pp.child[0])
				taken <- n
			}()
			line := filterwire.AppendRequest(nil, filterwire.V07, time.Now(), filterwire.MailFrom, 1, 2, "sender@client.example")
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range sessions {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := w.put(line, patience{limit: time.Minute}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			w.close()
			<-taken
		})
	}
}

// BenchmarkDispatch hands what a filter wrote to the sessions: answers, one
// session after the other, and lines of one message.
func BenchmarkDispatch(b *testing.B) {
	b.Run("answers", func(b *testing.B) {
		p, st, _ := loneProcess()
		p.isReady = true
		r := &reader{p: p}
		line := fmt.Appendf(nil, "filter-result|%016x|%016x|proceed\n", 1, st.token)
		token := st.token
		b.ReportAllocs()
		for b.Loop() {
			st.token = token // it is asked again
			if _, err := r.lines(line); err != nil {
				b.Fatal(err)
			}
			<-st.answer
		}
	})
	b.Run("lines", func(b *testing.B) {
		p, _, x := loneProcess()
		p.isReady = true
		x.out = newSpool(1<<60, new(budget))
		r := &reader{p: p}
		const each, width = 256, 76
		chunk := []byte(strings.Repeat(fmt.Sprintf("filter-dataline|%016x|%016x|%s\n", 1, x.token, strings.Repeat("x", width)), each))
		var buf *[]byte
		b.SetBytes(each * (width + 1))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.lines(chunk); err != nil {
				b.Fatal(err)
			}
			r.release()
			var err error
			if buf, _, err = x.out.take(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
