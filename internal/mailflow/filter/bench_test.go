package filter

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
)

// echoFilter builds testdata/echo.c.
func echoFilter(b testing.TB) string {
	b.Helper()
	bin := filepath.Join(b.TempDir(), "echo")
	if out, err := exec.Command("cc", "-O2", "-o", bin, "testdata/echo.c").CombinedOutput(); err != nil {
		b.Skipf("no C compiler: %v %s", err, out)
	}
	return bin
}

func benchmarkAsk(b *testing.B, sessions int) {
	h, _ := host(b, Options{}, echoFilter(b))
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range sessions {
		wg.Go(func() {
			s := open(h)
			defer s.Close()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			for left.Add(-1) >= 0 {
				if v := s.Ask(ctx, filterwire.MailFrom, "sender@example.net"); v.Err != nil {
					b.Error(v.Err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "questions/s")
}

func BenchmarkAsk1(b *testing.B)    { benchmarkAsk(b, 1) }
func BenchmarkAsk20(b *testing.B)   { benchmarkAsk(b, 20) }
func BenchmarkAsk1000(b *testing.B) { benchmarkAsk(b, 1000) }

// BenchmarkAskLatency reports the median of one session's questions.
func BenchmarkAskLatency(b *testing.B) {
	h, _ := host(b, Options{}, echoFilter(b))
	s := open(h)
	defer s.Close()
	all := make([]time.Duration, 0, b.N)
	for range b.N {
		t := time.Now()
		s.Ask(context.Background(), filterwire.MailFrom, "sender@example.net")
		all = append(all, time.Since(t))
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	b.ReportMetric(float64(all[len(all)/2].Nanoseconds()), "ns/median")
}

func benchmarkLines(b *testing.B, filters int) {
	bin := echoFilter(b)
	var commands []string
	for range filters {
		commands = append(commands, bin)
	}
	h, _ := host(b, Options{}, commands...)
	chunk := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\n"), 32<<10/77)
	const size = 1 << 20
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	s := open(h)
	defer s.Close()
	for range b.N {
		m := s.Message(context.Background(), io.Discard)
		for n := 0; n < size; n += len(chunk) {
			if _, err := m.Write(chunk); err != nil {
				b.Fatal(err)
			}
		}
		if v := m.Finish(context.Background()); v.Err != nil {
			b.Fatal(v.Err)
		}
	}
}

func BenchmarkLines(b *testing.B)  { benchmarkLines(b, 1) }
func BenchmarkLines4(b *testing.B) { benchmarkLines(b, 4) }
