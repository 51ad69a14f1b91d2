package queue_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// deadRelay is a deliverer whose only destination cannot be reached until up
// is set.
func deadRelay() (d *deliverer, up *atomic.Bool) {
	up = new(atomic.Bool)
	return &deliverer{answer: func(*mail.Envelope) delivery.Outcome {
		if up.Load() {
			return delivery.Outcome{Status: delivery.Delivered}
		}
		return unreachable
	}}, up
}

func TestShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, new(deliverer), nil)
		id := b.send(rcpt("a@one.example"), rcpt("b@one.example"))
		items, body, err := b.q.Show(t.Context(), id)
		if err != nil || len(items) != 2 {
			t.Fatalf("%d items, %v", len(items), err)
		}
		defer body.Close()
		if got, err := io.ReadAll(body); err != nil || string(got) != "Subject: test\n\nhello\n" {
			t.Errorf("body is %q, %v", got, err)
		}
		if _, _, err := b.q.Show(t.Context(), id+1); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("unknown message: %v", err)
		}
	})
}

// Mail that waits in memory for its destination is managed as what waits in
// the store.
func TestManageWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, up := deadRelay()
		b := newBed(t, d, nil)
		b.run()
		b.send(rcpt("first@one.example")) // finds out
		synctest.Wait()
		b.send(rcpt("keep@one.example"))
		gone, held := b.send(rcpt("gone@one.example")), b.send(rcpt("held@one.example"))
		synctest.Wait()
		b.counts(queue.Counts{Messages: 4, Envelopes: 4, Claimed: 3})
		if n, err := b.q.Remove(t.Context(), queue.Ref{Message: gone}); n != 1 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		if n, err := b.q.Hold(t.Context(), queue.Ref{Message: held}); n != 1 || err != nil {
			t.Errorf("held %d, %v", n, err)
		}
		synctest.Wait()
		b.counts(queue.Counts{Messages: 3, Envelopes: 3, Claimed: 1, Held: 1})
		up.Store(true)
		if n, err := b.q.Retry(t.Context()); n != 1 || err != nil { // first; keep is in line already
			t.Errorf("retried %d, %v", n, err)
		}
		synctest.Wait()
		b.counts(queue.Counts{Messages: 1, Envelopes: 1, Held: 1})
		if n, err := b.q.Release(t.Context(), queue.Ref{Message: held}); n != 1 || err != nil {
			t.Errorf("released %d, %v", n, err)
		}
		synctest.Wait()
		b.counts(queue.Counts{})
		for who, want := range map[string]int{"keep": 1, "gone": 0, "held": 1, "first": 2} {
			if n := len(d.attempts(who + "@one.example")); n != want {
				t.Errorf("%d attempts at %s, want %d", n, who, want)
			}
		}
		b.stop()
	})
}

// Without names, Remove, Hold and Release do nothing: an empty list in a
// script is not the whole queue.
func TestManageNothing(t *testing.T) {
	b := newBed(t, new(deliverer), nil)
	b.send(rcpt("a@one.example"))
	for name, f := range map[string]func(context.Context, ...queue.Ref) (int, error){
		"remove": b.q.Remove, "hold": b.q.Hold, "release": b.q.Release,
	} {
		if n, err := f(t.Context()); n != 0 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	b.counts(queue.Counts{Messages: 1, Envelopes: 1})
}

func TestRemoveDuringAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		d := &deliverer{
			block: func(_ context.Context, j delivery.Job) {
				if j.Envelopes[0].Action != "report" {
					<-proceed
				}
			},
			answer: func(e *mail.Envelope) delivery.Outcome {
				if e.Action == "report" {
					return delivery.Outcome{Status: delivery.Delivered}
				}
				return refused
			},
		}
		b := newBed(t, d, nil)
		b.run()
		id := b.send(rcpt("a@one.example"), rcpt("b@one.example"))
		synctest.Wait()
		items, _ := b.q.List(t.Context(), queue.Filter{})
		if _, err := b.q.Remove(t.Context(), queue.Ref{Message: id, Envelope: items[0].Envelope.ID}); err != nil {
			t.Fatal(err)
		}
		close(proceed)
		synctest.Wait()
		reports := d.attempts("sender@from.example")
		if len(reports) != 1 || strings.Contains(reports[0].body, "a@one.example") || !strings.Contains(reports[0].body, "b@one.example") {
			t.Errorf("reports: %+v", reports)
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestHeldMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, new(deliverer), nil)
		b.run()
		e := rcpt("a@one.example")
		e.Held = true
		id := b.send(e, rcpt("b@one.example"))
		b.sleep(time.Hour)
		if len(b.d.jobs) != 1 || len(b.d.jobs[0].rcpts) != 1 {
			t.Errorf("jobs: %+v", b.d.jobs)
		}
		if _, err := b.q.Release(t.Context(), queue.Ref{Message: id}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		b.counts(queue.Counts{})
		b.stop()
	})
}
