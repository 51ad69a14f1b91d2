package queue_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/mailflow/queue/storetest"
)

// counting delivers everything at once.
type counting struct{ n atomic.Int64 }

func (*counting) Destination(*mail.Envelope) string { return "one" }

func (d *counting) Deliver(_ context.Context, j delivery.Job) []delivery.Outcome {
	d.n.Add(int64(len(j.Envelopes)))
	return slices.Repeat([]delivery.Outcome{{Status: delivery.Delivered}}, len(j.Envelopes))
}

// BenchmarkQueue is what the queue itself costs for a message: id, spool,
// commit, schedule, record, with a store in memory. That of queue/sqlite is the
// same with its disk.
func BenchmarkQueue(b *testing.B) {
	d := new(counting)
	q, err := queue.Open(b.Context(), new(storetest.Memory), d, queue.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- q.Run(ctx) }()
	body := make([]byte, 4096)
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := commit(ctx, q, body); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for d.n.Load() < int64(b.N) && !b.Failed() {
		time.Sleep(100 * time.Microsecond)
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

func commit(ctx context.Context, q *queue.Queue, body []byte) error {
	id, err := q.NewID()
	if err != nil {
		return err
	}
	s, err := q.Spool(id)
	if err != nil {
		return err
	}
	defer s.Discard()
	if _, err := s.Write(body); err != nil {
		return err
	}
	return s.Commit(ctx, &mail.Message{Sender: mail.Address{Local: "sender", Domain: "from.example"}}, []mail.Envelope{rcpt("user@to.example")})
}
