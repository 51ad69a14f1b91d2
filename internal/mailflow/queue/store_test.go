package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// When the store fails.

func TestCommitNoSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, new(deliverer), nil)
		b.run()
		b.st.Fail = func(*queue.Change) error { return fmt.Errorf("disk: %w", queue.ErrNoSpace) }
		if err := b.trySend(&mail.Message{}, rcpt("a@one.example")); !errors.Is(err, queue.ErrNoSpace) {
			t.Errorf("error is %v", err)
		}
		b.st.Fail = nil
		b.send(rcpt("b@one.example"))
		synctest.Wait()
		if len(b.d.jobs) != 1 || len(b.d.attempts("b@one.example")) != 1 {
			t.Errorf("jobs: %+v", b.d.jobs)
		}
		b.stop()
	})
}

// A commit of which nobody knows whether it happened is an error, and the
// message is not delivered though it did happen.
func TestCommitInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, new(deliverer), nil)
		b.run()
		b.st.Fail = func(*queue.Change) error { return queue.ErrInDoubt }
		if err := b.trySend(&mail.Message{}, rcpt("a@one.example")); !errors.Is(err, queue.ErrInDoubt) {
			t.Errorf("error is %v", err)
		}
		b.st.Fail = nil
		b.counts(queue.Counts{})
		b.sleep(24 * time.Hour)
		if len(b.d.jobs) != 0 {
			t.Errorf("jobs: %+v", b.d.jobs)
		}
		b.stop()
	})
}

// The ends of attempts are recorded when the store works again; nothing is
// delivered twice for that.
func TestRecordLater(t *testing.T) {
	for _, cause := range []error{queue.ErrNoSpace, queue.ErrInDoubt, errors.New("broken")} {
		t.Run(cause.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var broken atomic.Bool
				d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
					switch {
					case strings.HasPrefix(e.Rcpt.Local, "fail"):
						return refused
					case strings.HasPrefix(e.Rcpt.Local, "later"):
						return softly
					}
					return delivery.Outcome{Status: delivery.Delivered}
				}}
				b := newBed(t, d, nil)
				b.run()
				b.st.Fail = func(c *queue.Change) error {
					if broken.Load() && len(c.Done)+len(c.Defer) > 0 {
						return cause
					}
					return nil
				}
				broken.Store(true)
				b.send(rcpt("a@one.example"))
				b.send(rcpt("fail@two.example"), rcpt("fail2@three.example"))
				b.send(rcpt("later@four.example"))
				b.sleep(30 * time.Second)
				broken.Store(false)
				b.sleep(10 * time.Second)
				for _, who := range []string{"a@one.example", "fail@two.example", "sender@from.example", "later@four.example"} {
					if n := len(d.attempts(who)); n != 1 {
						t.Errorf("%d attempts at %s", n, who)
					}
				}
				b.counts(queue.Counts{Messages: 1, Envelopes: 1})
				b.stop()
			})
		})
	}
}

// While nothing can be recorded, attempts stop before too much could be
// delivered again after a crash.
func TestUnrecordedBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		b := newBed(t, new(deliverer), nil)
		b.run()
		broken.Store(true)
		b.st.Fail = func(c *queue.Change) error {
			if broken.Load() && len(c.Done) > 0 {
				return errors.New("broken")
			}
			return nil
		}
		const sent = 3000
		for i := range sent {
			b.send(rcpt(fmt.Sprintf("u@d%d.example", i)))
			if i%50 == 0 {
				synctest.Wait()
			}
		}
		b.sleep(time.Minute)
		if n := len(b.d.jobs); n < 1500 || n > 2200 {
			t.Errorf("%d attempts without a record", n)
		}
		broken.Store(false)
		b.sleep(time.Hour)
		if n := len(b.d.jobs); n != sent {
			t.Errorf("%d attempts, want %d", n, sent)
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestIDs(t *testing.T) {
	b := newBed(t, new(deliverer), nil)
	const n = 100000
	seen := make(map[mail.MessageID]bool, n)
	inOrder := 0
	var last mail.MessageID
	for i := range n {
		if i%30000 == 29999 {
			b.open() // as after a restart
		}
		id, err := b.q.NewID()
		if err != nil {
			t.Fatal(err)
		}
		if id == 0 || seen[id] {
			t.Fatalf("id %v is zero or was given before", id)
		}
		if id == last+1 {
			inOrder++
		}
		seen[id], last = true, id
	}
	if inOrder > 10 {
		t.Errorf("%d ids follow the one before", inOrder)
	}
}

func TestSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, new(deliverer), nil)
		b.run()
		for _, size := range []int{0, 1, 8 << 10, 8<<10 + 1, queue.InlineBody, queue.InlineBody + 1, 3 * queue.InlineBody} {
			for _, chunk := range []int{999, 100000} {
				content := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
				id, _ := b.q.NewID()
				s, err := b.q.Spool(id)
				if err != nil {
					t.Fatal(err)
				}
				for p := content; len(p) > 0; p = p[min(len(p), chunk):] {
					if _, err := s.Write(p[:min(len(p), chunk)]); err != nil {
						t.Fatal(err)
					}
				}
				if s.Size() != int64(size) {
					t.Errorf("size is %d, want %d", s.Size(), size)
				}
				m := &mail.Message{}
				if err := s.Commit(t.Context(), m, []mail.Envelope{rcpt(fmt.Sprintf("u%d-%d@one.example", size, chunk))}); err != nil {
					t.Fatal(err)
				}
				if m.ID != id || m.Size != int64(size) || !m.Received.Equal(time.Now()) {
					t.Errorf("message is %+v", m)
				}
				s.Discard()
				if _, err := s.Write([]byte("x")); err == nil {
					t.Error("a committed message takes more")
				}
				if err := s.Commit(t.Context(), m, []mail.Envelope{rcpt("x@one.example")}); err == nil {
					t.Error("a message is committed twice")
				}
				synctest.Wait()
				got := b.d.attempts(fmt.Sprintf("u%d-%d@one.example", size, chunk))
				if len(got) != 1 || got[0].body != string(content) {
					t.Errorf("body of %d bytes: another was delivered", size)
				}
			}
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestCommitFaults(t *testing.T) {
	b := newBed(t, new(deliverer), nil)
	other := rcpt("a@one.example")
	other.ID = mail.NewEnvelopeID(0xffffffff, 1)
	for name, envs := range map[string][]mail.Envelope{
		"no envelopes":     nil,
		"another message":  {other},
		"the same id":      {{ID: mail.NewEnvelopeID(1, 7)}, {ID: mail.NewEnvelopeID(1, 7)}},
		"the same by rule": {{ID: mail.NewEnvelopeID(1, 2)}, {}},
	} {
		s, err := b.q.Spool(1)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), &mail.Message{}, envs); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := b.q.Spool(0); err == nil {
		t.Error("a message with the id 0: no error")
	}
	b.counts(queue.Counts{})
}

// What the caller of Commit does with its envelopes afterwards is its own
// business.
func TestCommitCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		d := &deliverer{block: func(_ context.Context, j delivery.Job) { <-hold }}
		b := newBed(t, d, nil)
		b.run()
		m := &mail.Message{Sender: mail.Address{Local: "s"}}
		envs := []mail.Envelope{rcpt("a@one.example")}
		b.sendMessage(m, envs...)
		m.Sender, envs[0].Rcpt = mail.Address{}, mail.Address{Local: "changed"}
		close(hold)
		synctest.Wait()
		if len(d.attempts("a@one.example")) != 1 {
			t.Errorf("jobs: %+v", d.jobs)
		}
		b.stop()
	})
}

// A deliverer that does wrong harms nobody else.
func TestBadDeliverer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
			return delivery.Outcome{Status: 77}
		}}
		d.block = func(_ context.Context, j delivery.Job) {
			if j.Envelopes[0].Rcpt.Local == "panic" {
				panic("a fault of the deliverer")
			}
		}
		b := newBed(t, d, nil)
		b.run()
		b.send(rcpt("status@one.example"))
		b.sleep(time.Second)
		if e := b.item(); e.Attempts != 1 || !strings.Contains(e.LastErr, "status 77") {
			t.Errorf("envelope: %+v", e)
		}
		if _, err := b.q.Remove(t.Context(), queue.Ref{Message: b.item().ID.Message()}); err != nil {
			t.Fatal(err)
		}
		b.send(rcpt("panic@two.example"))
		b.sleep(time.Second)
		if e := b.item(); e.Attempts != 1 || e.LastErr == "" {
			t.Errorf("envelope after a panic: %+v", e)
		}
		b.stop()
	})
}

func TestReadersOutliveAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept io.ReadCloser
		d := &deliverer{block: func(_ context.Context, j delivery.Job) {
			if kept == nil {
				kept, _ = j.Open()
			}
		}}
		b := newBed(t, d, nil)
		b.run()
		b.send(rcpt("a@one.example"))
		synctest.Wait()
		for range 100 { // would reuse the buffer
			b.send(rcpt("b@two.example"))
		}
		synctest.Wait()
		got, err := io.ReadAll(kept)
		if err != nil || string(got) != "Subject: test\n\nhello\n" {
			t.Errorf("read %q, %v", got, err)
		}
		kept.Close()
		kept.Close()
		if _, err := kept.Read(make([]byte, 1)); err == nil {
			t.Error("a closed body can be read")
		}
		b.stop()
	})
}

func TestRefs(t *testing.T) {
	for s, want := range map[string]queue.Ref{
		"0000000a":         {Message: 10},
		"DEADBEEF":         {Message: 0xdeadbeef},
		"deadbeef00000001": {Message: 0xdeadbeef, Envelope: 0xdeadbeef00000001},
	} {
		got, err := queue.ParseRef(s)
		if err != nil || got != want {
			t.Errorf("%s is %+v, %v", s, got, err)
		}
		if again, err := queue.ParseRef(got.String()); err != nil || again != want {
			t.Errorf("%s comes back as %+v, %v", got, again, err)
		}
	}
	for _, s := range []string{"", "a", "00000000", "0000000000000001", "+000000a", "0x00000a", "deadbeef0", "deadbeef000000011"} {
		if got, err := queue.ParseRef(s); err == nil {
			t.Errorf("%q is %+v", s, got)
		}
	}
}
