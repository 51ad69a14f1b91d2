package sqlite

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// BenchmarkCommitDelete is the figure of DESIGN D6: messages of 4 KB stored
// durably, and deleted, by so many writers at once.
func BenchmarkCommitDelete(b *testing.B) {
	for _, writers := range []int{1, 20, 100, 200} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			benchmarkCommitDelete(b, openTest(b, b.TempDir()), writers)
		})
	}
}

// BenchmarkLoneCommit is how long a sender waits who comes now and then: the
// median, since the disk is busy with others too.
func BenchmarkLoneCommit(b *testing.B) {
	st := openTest(b, b.TempDir())
	body := make([]byte, 4096)
	var took []time.Duration
	for i := range b.N {
		time.Sleep(10 * time.Millisecond)
		begin := time.Now()
		add := benchMessage(uint32(st.key.ID(uint32(i+1))), body)
		if err := st.Apply(context.Background(), &queue.Change{Add: []queue.New{add}}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
		if err := done(st, uint32(add.Message.ID)); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "us/commit")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchMessage(id uint32, body []byte) queue.New {
	m := &mail.Message{
		ID: mail.MessageID(id), Sender: mail.Address{Local: "sender", Domain: "example.org"}, Size: int64(len(body)),
		Received: time.Now(), Session: 1, Helo: "client.example.org", Source: "192.0.2.1", Rdns: "client.example.org",
	}
	e := benchEnvelope()
	e.ID, e.Next, e.Expires = mail.NewEnvelopeID(m.ID, 1), m.Received, m.Received.Add(time.Hour)
	return queue.New{Message: m, Envelopes: []mail.Envelope{e}, Inline: body, Claimed: true}
}

func benchEnvelope() mail.Envelope {
	return mail.Envelope{
		Rcpt: mail.Address{Local: "user", Domain: "example.net"}, Dest: mail.Address{Local: "user", Domain: "example.net"},
		Action: "local", Local: mail.Local{User: "user"},
	}
}

func benchmarkCommitDelete(b *testing.B, st *Store, writers int) {
	body := make([]byte, 4096)
	var next atomic.Int64
	var ids atomic.Uint32
	var done deletions
	done.st = st
	ctx := context.Background()
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	var wg, deleter sync.WaitGroup
	stop := make(chan struct{})
	deleter.Go(func() { done.run(stop) })
	for range writers {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				add := benchMessage(uint32(st.key.ID(ids.Add(1))), body)
				if err := st.Apply(ctx, &queue.Change{Add: []queue.New{add}}); err != nil {
					b.Error(err)
					return
				}
				done.add(queue.Claim{ID: add.Envelopes[0].ID, Fence: 1})
			}
		})
	}
	wg.Wait()
	close(stop)
	deleter.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-us/msg")
}

// BenchmarkQueue is the whole queue: NewID, Spool, Commit, a delivery that
// does nothing but read the body, its record.
func BenchmarkQueue(b *testing.B) {
	for _, senders := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			benchmarkQueue(b, openTest(b, b.TempDir()), senders)
		})
	}
}

// BenchmarkDeferred is the same with a million envelopes that wait. The time
// to open the store, and the memory in use, are its own figures.
func BenchmarkDeferred(b *testing.B) {
	const deferred, group = 1_000_000, 1000
	dir := b.TempDir()
	st := openTest(b, dir)
	q, err := queue.Open(context.Background(), st, new(readingDeliverer), queue.Options{})
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 500)
	for range deferred / group {
		var c queue.Change
		for j := range group {
			id, err := q.NewID()
			if err != nil {
				b.Fatal(err)
			}
			n := benchMessage(uint32(id), body)
			n.Claimed = false
			n.Envelopes[0].Next = time.Now().Add(time.Hour + time.Duration(j)*time.Second)
			n.Envelopes[0].Expires = time.Now().Add(24 * time.Hour)
			c.Add = append(c.Add, n)
		}
		if err := st.Apply(context.Background(), &c); err != nil {
			b.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	st = openTest(b, dir)
	opened := time.Since(begin)
	b.Run("senders=20", func(b *testing.B) {
		benchmarkQueue(b, st, 20)
		b.ReportMetric(opened.Seconds(), "open-s")
		b.ReportMetric(float64(rss())/(1<<20), "rss-MB")
	})
}

// rss gives the bytes of memory that the process has.
func rss() int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

type readingDeliverer struct{ n atomic.Int64 }

func (*readingDeliverer) Destination(*mail.Envelope) string { return "one" }

func (d *readingDeliverer) Deliver(_ context.Context, j delivery.Job) []delivery.Outcome {
	if r, err := j.Open(); err == nil {
		_, _ = io.Copy(io.Discard, r)
		r.Close()
	}
	d.n.Add(1)
	return []delivery.Outcome{{Status: delivery.Delivered}}
}

func benchmarkQueue(b *testing.B, st *Store, senders int) {
	d := new(readingDeliverer)
	q, err := queue.Open(context.Background(), st, d, queue.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- q.Run(ctx) }()
	body := make([]byte, 4096)
	var next atomic.Int64
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				id, err := q.NewID()
				if err != nil {
					b.Error(err)
					return
				}
				s, _ := q.Spool(id)
				_, _ = s.Write(body)
				m := &mail.Message{Sender: mail.Address{Local: "sender", Domain: "example.org"}}
				if err := s.Commit(ctx, m, []mail.Envelope{benchEnvelope()}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for d.n.Load() < int64(b.N) && !b.Failed() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-us/msg")
}

// deletions collects what is delivered, as the queue's recorder does.
type deletions struct {
	st   *Store
	mu   sync.Mutex
	todo []queue.Claim
}

func (d *deletions) add(c queue.Claim) {
	d.mu.Lock()
	d.todo = append(d.todo, c)
	d.mu.Unlock()
}

func (d *deletions) run(stop <-chan struct{}) {
	for last := false; ; {
		d.mu.Lock()
		todo := d.todo
		d.todo = nil
		d.mu.Unlock()
		if len(todo) > 0 {
			if err := d.st.Apply(context.Background(), &queue.Change{Done: todo}); err != nil {
				panic(err)
			}
			continue
		}
		if last {
			return
		}
		select {
		case <-stop:
			last = true
		case <-time.After(time.Millisecond):
		}
	}
}
