package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/mailflow/queue/storetest"
)

// slowly makes each attempt last a second.
func slowly(context.Context, delivery.Job) { time.Sleep(time.Second) }

// A backlog beyond the room in memory goes on without a pause, whether it was
// there before or comes while the queue works.
func TestBacklogOfOne(t *testing.T) {
	const many, atOnce = 3000, 20
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("before=%t", before), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, &deliverer{block: slowly}, func(o *queue.Options) { o.MaxPerDest = atOnce })
				if !before {
					b.run()
				}
				for i := range many {
					b.send(rcpt(fmt.Sprintf("u%d@one.example", i)))
				}
				if before {
					b.run()
				}
				b.sleep(many / atOnce * time.Second)
				if n := len(b.d.jobs); n != many {
					t.Errorf("%d were delivered in the time that %d take", n, many)
				}
				b.counts(queue.Counts{})
				b.stop()
			})
		})
	}
}

// A backlog for some keeps nobody else's due mail from being tried.
func TestBacklogBeforeOthers(t *testing.T) {
	for _, hosts := range []int{1, 100} {
		t.Run(fmt.Sprintf("hosts=%d", hosts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, &deliverer{block: slowly}, func(o *queue.Options) { o.MaxPerDest = 2 })
				for i := range 5000 {
					b.send(rcpt(fmt.Sprintf("u%d@slow%d.example", i, i%hosts)))
				}
				time.Sleep(time.Second)
				b.send(rcpt("last@other.example"))
				b.run()
				b.sleep(10 * time.Second)
				if len(b.d.attempts("last@other.example")) != 1 {
					t.Error("it waits for all of the others")
				}
				b.stop()
			})
		})
	}
}

// Dead hosts, each with more mail than may wait for it in memory, keep
// nobody else's due mail from being tried.
func TestDeadHostsBeforeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
			if e.Dest.Domain == "live.example" {
				return delivery.Outcome{Status: delivery.Delivered}
			}
			return unreachable
		}}
		b := newBed(t, d, nil)
		for i := range 8080 {
			b.send(rcpt(fmt.Sprintf("u%d@dead%d.example", i, i%80)))
		}
		time.Sleep(time.Second)
		b.send(rcpt("last@live.example"))
		b.run()
		if len(d.attempts("last@live.example")) != 1 {
			t.Error("it waits for hosts that are dead")
		}
		b.sleep(time.Minute)
		b.send(rcpt("new@live.example"))
		synctest.Wait()
		if len(d.attempts("new@live.example")) != 1 {
			t.Error("new mail waits for hosts that are dead")
		}
		b.stop()
	})
}

// Mail for a host that is down is not written again and again. Its senders
// hear of the delay nevertheless, and it is returned in time.
func TestLongLine(t *testing.T) {
	const many = 1000
	synctest.Test(t, func(t *testing.T) {
		var writes, reports atomic.Int64
		d, _ := deadRelay()
		b := newBed(t, d, func(o *queue.Options) {
			o.WarnIntervals = []time.Duration{4 * time.Hour}
			o.TTL = func(string) time.Duration { return 24 * time.Hour }
			o.Route = func(context.Context, *mail.Message, mail.Address) ([]mail.Envelope, error) {
				reports.Add(1)
				return nil, nil
			}
		})
		b.st.Fail = func(c *queue.Change) error {
			writes.Add(int64(len(c.Defer)))
			return nil
		}
		b.run()
		for i := range many {
			b.send(rcpt(fmt.Sprintf("u%d@dead.example", i)))
		}
		b.sleep(3 * time.Hour)
		if n := writes.Load(); n > many {
			t.Errorf("%d envelopes were written in three hours, of %d", n, many)
		}
		b.sleep(2 * time.Hour)
		if n := reports.Load(); n < many-10 || n > many+10 { // some wait for their next attempt
			t.Errorf("%d senders were told that their mail is delayed, of %d", n, many)
		}
		b.sleep(20 * time.Hour)
		if n := reports.Load(); n != 2*many {
			t.Errorf("%d reports in all, of %d", n, 2*many)
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

// The next process knows who stands in line.
func TestLineAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, up := deadRelay()
		b := newBed(t, d, func(o *queue.Options) { o.MaxDeferred = 10 })
		b.run()
		for i := range 100 {
			b.send(rcpt(fmt.Sprintf("u%d@dead.example", i)))
		}
		b.sleep(time.Minute)
		b.stop()
		tried := int64(len(d.jobs))
		if names, err := b.st.Lines(t.Context()); len(names) != 1 || names[0] != "dead.example" || err != nil {
			t.Errorf("lines are %q, %v", names, err)
		}
		if err := b.st.Close(); err != nil {
			t.Error(err)
		}
		up.Store(true)
		b.open()
		b.run()
		b.sleep(time.Second)
		b.counts(queue.Counts{Messages: tried, Envelopes: tried}) // wait for their next attempt
		b.stop()
	})
}

// Removing what waits in memory makes room for what stands in line.
func TestRemoveMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{block: slowly}
		b := newBed(t, d, func(o *queue.Options) { o.MaxPerDest = 1 })
		b.run()
		var refs []queue.Ref
		for i := range 1500 {
			refs = append(refs, queue.Ref{Message: b.send(rcpt(fmt.Sprintf("u%d@one.example", i)))})
		}
		synctest.Wait()
		if n, err := b.q.Remove(t.Context(), refs[1:1400]...); n != 1399 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		b.sleep(102 * time.Second)
		b.counts(queue.Counts{})
		b.stop()
	})
}

// busyStore is a Store whose claims take 10 ms, and whose new mail has to wait
// until the time in slow.
type busyStore struct {
	storetest.Memory
	slow time.Time

	mu     sync.Mutex
	begun  []time.Time
	limits []int
}

func (s *busyStore) Claim(ctx context.Context, now time.Time, limit int) ([]queue.Claimed, time.Time, error) {
	s.mu.Lock()
	s.begun, s.limits = append(s.begun, time.Now()), append(s.limits, limit)
	s.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	return s.Memory.Claim(ctx, now, limit)
}

func (s *busyStore) Apply(ctx context.Context, c *queue.Change) error {
	if len(c.Add) > 0 {
		time.Sleep(time.Until(s.slow))
	}
	return s.Memory.Apply(ctx, c)
}

// While due mail is only put in line, new mail has the store for most of the
// time.
func TestLiningUpLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := deadRelay()
		b := newBed(t, d, nil)
		st := new(busyStore)
		var err error
		if b.q, err = queue.Open(t.Context(), st, d, b.opt); err != nil {
			t.Fatal(err)
		}
		for i := range 3000 {
			b.send(rcpt(fmt.Sprintf("u%d@dead.example", i)))
		}
		time.Sleep(time.Second)
		stored := make(chan error, 1)
		st.slow = time.Now().Add(500 * time.Millisecond)
		go func() { stored <- b.trySend(&mail.Message{}, rcpt("x@dead.example")) }()
		b.run()
		if err := <-stored; err != nil {
			t.Error(err)
		}
		b.sleep(10 * time.Second)
		if n, err := st.Count(t.Context()); err != nil || n.Claimed > 101 {
			t.Errorf("%d envelopes in memory, %v", n.Claimed, err)
		}
		crowded := slices.Index(st.limits, 100)
		if crowded < 0 || crowded > 4 || slices.Max(st.limits[crowded:]) > 100 {
			t.Fatalf("claims of %d envelopes", st.limits)
		}
		// From the second on, as long as the message waited.
		rested := 0
		for i := crowded + 1; i < len(st.begun); i++ {
			if st.begun[i].Sub(st.begun[i-1]) >= 40*time.Millisecond {
				rested++
			}
		}
		if rested < 8 {
			t.Errorf("claims began at %v", st.begun)
		}
		b.stop()
	})
}
