package sqlite

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// BenchmarkRecipients is one sender whose messages have so many recipients,
// all for one host or each for another: from Spool to the record of the last
// delivery. The cost of a recipient should not depend on their number.
func BenchmarkRecipients(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 10000} {
		for _, hosts := range slices.Compact([]int{1, n}) {
			b.Run(fmt.Sprintf("rcpts=%d/hosts=%d", n, hosts), func(b *testing.B) {
				envs := make([]mail.Envelope, n)
				for i := range envs {
					envs[i] = benchEnvelope()
					envs[i].Dest.Domain = fmt.Sprintf("host%d.example", i%hosts)
				}
				sendOneByOne(b, make([]byte, 4096), envs)
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "us/rcpt")
			})
		}
	}
}

// BenchmarkSize is one sender with bodies of that size.
func BenchmarkSize(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20, 36 << 20} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			sendOneByOne(b, make([]byte, size), []mail.Envelope{benchEnvelope()})
		})
	}
}

// byDomain is a readingDeliverer with a destination for each domain.
type byDomain struct{ readingDeliverer }

func (*byDomain) Destination(e *mail.Envelope) string { return e.Dest.Domain }

func (d *byDomain) Deliver(ctx context.Context, j delivery.Job) []delivery.Outcome {
	return slices.Repeat(d.readingDeliverer.Deliver(ctx, j), len(j.Envelopes))
}

// sendOneByOne sends b.N messages, each when the one before has left the queue.
func sendOneByOne(b *testing.B, body []byte, envs []mail.Envelope) {
	st := openTest(b, b.TempDir())
	q, err := queue.Open(context.Background(), st, new(byDomain), queue.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- q.Run(ctx) }()
	b.ReportAllocs()
	cpu := cpuTime()
	for b.Loop() {
		id, err := q.NewID()
		if err != nil {
			b.Fatal(err)
		}
		s, _ := q.Spool(id)
		for rest := body; len(rest) > 0; rest = rest[min(len(rest), 32<<10):] {
			_, _ = s.Write(rest[:min(len(rest), 32<<10)])
		}
		for i := range envs {
			envs[i].ID = 0
		}
		m := &mail.Message{Sender: mail.Address{Local: "sender", Domain: "example.org"}}
		if err := s.Commit(ctx, m, envs); err != nil {
			b.Fatal(err)
		}
		for st.rows.envelopes.Load() > 0 {
			time.Sleep(100 * time.Microsecond)
		}
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N*len(envs)), "cpu-us/rcpt")
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}
