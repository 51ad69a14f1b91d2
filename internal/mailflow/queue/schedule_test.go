package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

func TestDeliverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, new(deliverer), nil)
		b.run()
		begin := time.Now()
		id := b.send(rcpt("a@one.example"), rcpt("b@one.example"), rcpt("c@two.example"))
		synctest.Wait()
		if !time.Now().Equal(begin) {
			t.Errorf("it took %v", time.Since(begin))
		}
		one, two := b.d.attempts("a@one.example"), b.d.attempts("c@two.example")
		if len(one) != 1 || len(one[0].rcpts) != 2 || len(two) != 1 || len(two[0].rcpts) != 1 {
			t.Errorf("attempts: %+v", b.d.jobs)
		}
		if one[0].body != "Subject: test\n\nhello\n" || one[0].msg != id {
			t.Errorf("job was %+v", one[0])
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestDeliverWhatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, new(deliverer), nil)
		b.send(rcpt("a@one.example"), rcpt("b@one.example")) // before Run
		b.run()
		if got := b.d.attempts("a@one.example"); len(got) != 1 || len(got[0].rcpts) != 2 {
			t.Errorf("attempts: %+v", got)
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestRetryTimes(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  mail.Envelope
		want []time.Duration
	}{
		{"relay", rcpt("a@one.example"), []time.Duration{5 * time.Minute, 15 * time.Minute, 25 * time.Minute, 35 * time.Minute}},
		{"local", func() mail.Envelope { e := rcpt("a@one.example"); e.Local.User = "a"; return e }(),
			[]time.Duration{10 * time.Second, 30 * time.Second, 50 * time.Second, 70 * time.Second}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &deliverer{answer: func(*mail.Envelope) delivery.Outcome { return softly }}
				b := newBed(t, d, func(o *queue.Options) { o.WarnIntervals = []time.Duration{} })
				b.run()
				b.send(tc.env)
				b.sleep(3 * time.Hour)
				jobs := d.attempts("a@one.example")
				for i, want := range tc.want {
					if got := jobs[i+1].at.Sub(jobs[i].at); got < want || got > want+time.Millisecond {
						t.Errorf("attempt %d came %v after the one before, want %v", i+2, got, want)
					}
				}
				if e := b.item(); e.Attempts != len(jobs) || e.LastErr != softly.Text {
					t.Errorf("envelope after %d attempts: %+v", len(jobs), e)
				}
				b.stop()
				b.counts(queue.Counts{Messages: 1, Envelopes: 1})
			})
		})
	}
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{block: func(context.Context, delivery.Job) { time.Sleep(time.Minute) }}
		b := newBed(t, d, func(o *queue.Options) { o.MaxDeliveries, o.MaxPerDest = 10, 4 })
		b.run()
		for i := range 40 {
			b.send(rcpt(fmt.Sprintf("u%d@one.example", i)))
		}
		b.send(rcpt("last@two.example")) // is not behind them
		b.sleep(time.Minute)
		if len(d.attempts("last@two.example")) != 1 {
			t.Error("one destination waits for another")
		}
		for i := range 40 {
			b.send(rcpt(fmt.Sprintf("u@d%d.example", i)))
		}
		b.sleep(30 * time.Minute)
		if d.most["one.example"] != 4 || d.most[""] != 10 {
			t.Errorf("%d at once to one, %d in all", d.most["one.example"], d.most[""])
		}
		if n := len(d.jobs); n != 81 {
			t.Errorf("%d deliveries", n)
		}
		b.stop()
	})
}

func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
			if down.Load() && e.Dest.Domain == "dead.example" {
				return unreachable
			}
			return delivery.Outcome{Status: delivery.Delivered}
		}}
		b := newBed(t, d, func(o *queue.Options) { o.MaxDeferred = 5 })
		b.run()
		begin := time.Now()
		for i := range 200 {
			b.send(rcpt(fmt.Sprintf("u%d@dead.example", i)))
		}
		b.send(rcpt("x@live.example"))
		synctest.Wait()
		if len(d.attempts("x@live.example")) != 1 {
			t.Error("a live destination waits for a dead one")
		}
		b.sleep(time.Hour)
		tries := 0
		for _, j := range d.jobs {
			if strings.HasSuffix(j.rcpts[0], "dead.example") {
				tries++
			}
		}
		if tries > 40 {
			t.Errorf("%d attempts in an hour at a destination that cannot be reached", tries)
		}
		if c, _ := b.q.Count(t.Context()); c.Claimed > 10 {
			t.Errorf("%d envelopes in memory for it", c.Claimed)
		}
		down.Store(false)
		b.sleep(30 * time.Minute)
		b.counts(queue.Counts{})
		t.Logf("all delivered %v after the start, %d attempts in vain", time.Since(begin), tries)
		b.stop()
	})
}

func TestFreshMailBeforeRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		hang.Store(true)
		d := &deliverer{block: func(_ context.Context, j delivery.Job) {
			if hang.Load() && strings.HasPrefix(j.Envelopes[0].Dest.Domain, "slow") {
				time.Sleep(10 * time.Minute)
			}
		}}
		b := newBed(t, d, nil)
		for i := range 5000 { // due when Run begins
			b.send(rcpt(fmt.Sprintf("u@slow%d.example", i)))
		}
		b.run()
		begin := time.Now()
		b.send(rcpt("new@fast.example"))
		synctest.Wait()
		if got := d.attempts("new@fast.example"); len(got) != 1 || got[0].at != begin {
			t.Errorf("new mail waits for retries: %+v", got)
		}
		hang.Store(false)
		b.sleep(time.Hour)
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestRetriesNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{block: func(context.Context, delivery.Job) { time.Sleep(time.Second) }}
		b := newBed(t, d, func(o *queue.Options) { o.MaxDeliveries, o.MaxPerDest = 4, 2 })
		b.send(rcpt("old@one.example"))
		b.run()
		for i := range 400 {
			b.send(rcpt(fmt.Sprintf("u@d%d.example", i)))
		}
		b.sleep(10 * time.Second)
		if len(d.attempts("old@one.example")) != 1 {
			t.Error("a retry waits for all new mail")
		}
		b.sleep(10 * time.Minute)
		b.stop()
	})
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(deliverer)
		d.block = func(ctx context.Context, j delivery.Job) {
			if j.Envelopes[0].Dest.Domain == "stuck.example" {
				<-ctx.Done()
			} else {
				time.Sleep(10 * time.Second)
			}
		}
		d.answer = func(e *mail.Envelope) delivery.Outcome {
			if e.Dest.Domain == "stuck.example" {
				return softly
			}
			return delivery.Outcome{Status: delivery.Delivered}
		}
		b := newBed(t, d, func(o *queue.Options) { o.MaxPerDest = 1 })
		b.run()
		b.send(rcpt("a@slow.example"))
		b.send(rcpt("b@slow.example")) // waits for a
		b.send(rcpt("c@stuck.example"))
		synctest.Wait()
		begin := time.Now()
		b.stop()
		if took := time.Since(begin); took < queue.DefaultGrace || took > queue.DefaultGrace+time.Second {
			t.Errorf("Run ended after %v", took)
		}
		if len(d.attempts("a@slow.example")) != 1 || len(d.attempts("b@slow.example")) != 0 {
			t.Errorf("jobs: %+v", d.jobs)
		}
		b.counts(queue.Counts{Messages: 2, Envelopes: 2}) // and no claims
		if err := b.trySend(&mail.Message{}, rcpt("d@one.example")); err != nil {
			t.Error(err)
		}
		b.run()
		b.sleep(time.Hour)
		if len(d.attempts("b@slow.example")) != 1 || len(d.attempts("d@one.example")) != 1 {
			t.Errorf("jobs after the second start: %+v", d.jobs)
		}
		b.stop()
	})
}
