package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weirmail/weir/bench/load"
	"github.com/weirmail/weir/bench/measure"
	"github.com/weirmail/weir/bench/peer"
	"github.com/weirmail/weir/bench/record"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/mailflow/queue/sqlite"
)

// growDeferred starts weir with more and more messages in its queue that wait
// for their next attempt: how long until the banner, how much memory, how fast
// is new mail. Each step adds to the queue of the one before.
func growDeferred(b *bench, round int) {
	dir := filepath.Join(b.house.Dir, "deferred")
	defer os.RemoveAll(dir)
	have := 0
	for _, n := range b.steps(1000, 10_000, 100_000, 1_000_000) {
		for _, step := range []int{0, n} {
			if step < have || have > 0 && step == 0 || b.ctx.Err() != nil {
				continue // nothing deferred is measured once
			}
			r := record.Record{Work: "deferred", Peer: "weir", Variant: "none", X: float64(step), Round: round}
			begin := time.Now()
			if err := deferMessages(b.ctx, dir, step-have); err != nil {
				b.fail(r, err)
				return
			}
			have = step
			fmt.Printf("a queue of %d, made in %.1f s\n", step, time.Since(begin).Seconds())
			if err := b.startOn(dir, &r); err != nil {
				b.fail(r, err)
				continue
			}
			b.add(r)
		}
	}
}

// startOn measures a start with a queue, and new mail after it.
func (b *bench) startOn(dir string, r *record.Record) error {
	on, err := peer.Start(b.ctx, b.house, peer.Weir{}, peer.Setup{Queue: dir})
	if err != nil {
		return err
	}
	defer on.Stop()
	time.Sleep(settle)
	server, _ := on.Processes()
	begun := measure.Memory(server)
	if err := counted(on, int(r.X)); err != nil {
		return err
	}
	j := load.Job{Sessions: 20, Total: endless, Seconds: b.seconds, PerSession: 20, Size: small}
	if err := b.mailOn(on, j, r); err != nil {
		return err
	}
	r.Values["start_s"], r.Values["begun_mb"] = on.Ready.Seconds(), begun/(1<<20)
	return nil
}

// counted shows that the server has that queue: one with an empty queue is
// quick, too.
func counted(on *peer.Running, want int) error {
	var have int
	out := on.Queued()
	// One number in 2^32 gives no id, so a message may be missing.
	if _, err := fmt.Sscan(out, &have); err != nil || have < want-1 || have > want {
		return fmt.Errorf("its queue has not %d messages: %s", want, out)
	}
	return nil
}

// deferBatch is how many messages are stored at once.
const deferBatch = 1000

// deferMessages puts n messages into the queue in dir that wait for an attempt
// hours from now.
func deferMessages(ctx context.Context, dir string, n int) (err error) {
	st, err := sqlite.Open(dir, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	body := []byte("Subject: bench\n\n")
	for len(body) < 500 {
		body = append(body, "a line of a message that waits for its host to come back\n"...)
	}
	for done := 0; done < n; {
		batch := min(deferBatch, n-done)
		block, err := st.Reserve(ctx, batch)
		if err != nil {
			return err
		}
		c := new(queue.Change)
		for i := range batch {
			if id := block.Key.ID(uint32(block.First) + uint32(i)); id != 0 {
				c.Add = append(c.Add, deferredMessage(id, done+i, body))
			}
		}
		if err := st.Apply(ctx, c); err != nil {
			return err
		}
		done += batch
	}
	return nil
}

// deferredMessage is one that was tried a few times. Their next attempts are
// spread over the hours, their destinations over a hundred hosts.
func deferredMessage(id mail.MessageID, n int, body []byte) queue.New {
	now := time.Now()
	rcpt := mail.Address{Local: fmt.Sprintf("user%d", n), Domain: fmt.Sprintf("host%d.example", n%100)}
	return queue.New{
		Message: &mail.Message{
			ID: id, Sender: mail.Address{Local: "sender", Domain: "bench.example"}, Size: int64(len(body)),
			Received: now.Add(-time.Hour), Session: 1, Helo: "client.bench.example", Source: "127.0.0.1",
		},
		Envelopes: []mail.Envelope{{
			ID: mail.NewEnvelopeID(id, 1), Rcpt: rcpt, Dest: rcpt, Action: "out",
			Expires: now.Add(100 * time.Hour), Next: now.Add(10*time.Hour + time.Duration(n%36_000)*time.Second),
			Attempts: 3, LastErr: "421 4.3.2 Come back later",
		}},
		Inline: body,
	}
}
