package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// TestScale measures the queue with so much deferred mail:
//
//	WEIR_SCALE=1000,100000,1000000 go test -count=1 -v -run TestScale ./internal/mailflow/queue/sqlite
//
// TMPDIR should be on the disk that is meant. It fails only if something does
// not work; what it prints is for people to compare.
func TestScale(t *testing.T) {
	sizes := os.Getenv("WEIR_SCALE")
	if sizes == "" {
		t.Skip("WEIR_SCALE is not set")
	}
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(size, func(t *testing.T) { measureScale(t, n) })
	}
}

// measureScale fills a queue, half of it for one host and half of it due, and
// opens it with all hosts down.
func measureScale(t *testing.T, n int) {
	dir := t.TempDir()
	s := &scale{T: t}
	s.step("fill", func() { s.fill(dir, n) })
	s.step("open", func() { s.st = openTest(t, dir) })
	q, err := queue.Open(t.Context(), s.st, s, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.q = q
	s.admin("list", func() (int, error) {
		items, err := q.List(t.Context(), queue.Filter{})
		return len(items), err
	})
	for range 2 { // the second has what the first has read
		s.admin("count", func() (int, error) {
			c, err := q.Count(t.Context())
			return int(c.Messages), err
		})
	}
	s.admin("retry one", func() (int, error) { return q.Retry(t.Context(), queue.Ref{Message: s.some}) })

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	s.step("first attempt", func() { <-s.first() })
	s.step("run, all due", func() { time.Sleep(5 * time.Second) })
	s.step("run, 10 s on", func() { time.Sleep(10 * time.Second) })
	const fresh = 20000
	s.step("new mail", func() { s.send(fresh) })
	s.admin("retry all", func() (int, error) { return q.Retry(t.Context()) })
	s.step("run, after it", func() { time.Sleep(5 * time.Second) })
	cancel()
	s.step("stop", func() { err = <-ended })
	if err != nil {
		t.Error(err)
	}
}

type scale struct {
	*testing.T
	st   *Store
	q    *queue.Queue
	some mail.MessageID

	tried, delivered atomic.Int64
	begin            sync.Once
	begun            chan struct{}
}

// step reports what f takes of time, CPU and memory, and how many attempts
// were made during it.
func (s *scale) step(name string, f func()) {
	cpu, tried, begin := cpuTime(), s.tried.Load(), time.Now()
	f()
	s.Logf("%-14s %9.1f ms %9.1f ms CPU %5d MB %7d attempts", name, float64(time.Since(begin).Microseconds())/1000,
		float64((cpuTime()-cpu).Microseconds())/1000, rss()>>20, s.tried.Load()-tried)
}

func (s *scale) admin(name string, f func() (int, error)) {
	var n int
	var err error
	s.step(name, func() { n, err = f() })
	if err != nil || n == 0 {
		s.Errorf("%s: %d envelopes, %v", name, n, err)
	}
}

func (s *scale) fill(dir string, n int) {
	const group = 1000
	st, err := Open(dir, Options{})
	if err != nil {
		s.Fatal(err)
	}
	body := make([]byte, 500)
	now := time.Now()
	ids, err := st.Reserve(s.Context(), n)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < n; i += group {
		var c queue.Change
		for j := i; j < min(i+group, n); j++ {
			add := benchMessage(uint32(ids.Key.ID(uint32(ids.First)+uint32(j))), body)
			add.Claimed = false
			e := &add.Envelopes[0]
			e.Dest.Domain = "down.example"
			if j%2 == 0 {
				e.Dest.Domain = fmt.Sprintf("down%d.example", j%1000)
			}
			e.Local, e.Action = mail.Local{}, "relay"
			e.Next = now.Add(time.Duration(j*7919%n-n/2) * time.Hour / time.Duration(n))
			e.Expires = now.Add(24 * time.Hour)
			c.Add = append(c.Add, add)
			s.some = add.Message.ID
		}
		if err := st.Apply(s.Context(), &c); err != nil {
			s.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		s.Fatal(err)
	}
}

// send has 20 sessions store messages that are delivered at once.
func (s *scale) send(n int64) {
	var next atomic.Int64
	var wg sync.WaitGroup
	body := make([]byte, 4096)
	for range 20 {
		wg.Go(func() {
			for next.Add(1) <= n {
				id, err := s.q.NewID()
				if err != nil {
					s.Error(err)
					return
				}
				sp, _ := s.q.Spool(id)
				_, _ = sp.Write(body)
				m := &mail.Message{Sender: mail.Address{Local: "sender", Domain: "example.org"}}
				if err := sp.Commit(s.Context(), m, []mail.Envelope{benchEnvelope()}); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for s.delivered.Load() < n && !s.Failed() {
		time.Sleep(time.Millisecond)
	}
}

// first is closed when the first attempt has begun.
func (s *scale) first() chan struct{} {
	s.begin.Do(func() { s.begun = make(chan struct{}) })
	return s.begun
}

// Destination implements queue.Deliverer.
func (s *scale) Destination(e *mail.Envelope) string { return cmp.Or(e.Local.User, e.Dest.Domain) }

// Deliver delivers local mail and reaches no host.
func (s *scale) Deliver(_ context.Context, j delivery.Job) []delivery.Outcome {
	if j.Envelopes[0].Local.User != "" {
		s.delivered.Add(1)
		return []delivery.Outcome{{Status: delivery.Delivered}}
	}
	if s.tried.Add(1) == 1 {
		close(s.first())
	}
	return []delivery.Outcome{{Status: delivery.Deferred, Enhanced: "4.4.1", Text: "connection refused"}}
}
