package sqlite

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// BenchmarkCommitDelete is the figure of DESIGN D6: messages of 4 KB stored
// durably, and deleted, by so many writers at once.
func BenchmarkCommitDelete(b *testing.B) {
	for _, writers := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			benchmarkCommitDelete(b, openTest(b, b.TempDir()), writers)
		})
	}
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
	e := mail.Envelope{
		ID: mail.NewEnvelopeID(m.ID, 1), Rcpt: mail.Address{Local: "user", Domain: "example.net"},
		Dest: mail.Address{Local: "user", Domain: "example.net"}, Action: "local", Local: mail.Local{User: "user"},
		Next: time.Now(), Expires: time.Now().Add(time.Hour),
	}
	return queue.New{Message: m, Envelopes: []mail.Envelope{e}, Inline: body, Claimed: true}
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
				add := benchMessage(ids.Add(1)*0x9e3779b1, body)
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
