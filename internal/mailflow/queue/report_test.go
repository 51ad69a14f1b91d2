package queue_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/trace"
)

func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
			if e.Action == "report" {
				return delivery.Outcome{Status: delivery.Delivered}
			}
			return softly
		}}
		b := newBed(t, d, func(o *queue.Options) {
			o.TTL = func(action string) time.Duration {
				if action != "relay" {
					t.Logf("TTL asked for %q", action)
				}
				return time.Hour
			}
			o.WarnIntervals = []time.Duration{}
		})
		b.run()
		b.send(rcpt("a@one.example"))
		b.sleep(time.Hour - time.Second)
		if n := len(d.attempts("sender@from.example")); n != 0 {
			t.Fatalf("%d reports before the time", n)
		}
		b.sleep(time.Second)
		reports := d.attempts("sender@from.example")
		if len(reports) != 1 || !strings.Contains(reports[0].body, "Status: 4.4.7\n") {
			t.Fatalf("reports: %+v", reports)
		}
		if r := b.results(); r[len(r)-2] != "a@one.example expired" {
			t.Errorf("results: %v", r)
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestOneReportForAllFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
			if e.Action == "report" {
				return delivery.Outcome{Status: delivery.Delivered}
			}
			return refused
		}}
		slow := make(chan struct{})
		d.block = func(_ context.Context, j delivery.Job) {
			if j.Envelopes[0].Dest.Domain == "slow.example" {
				<-slow
			}
		}
		b := newBed(t, d, nil)
		b.run()
		b.send(rcpt("a@one.example"), rcpt("b@one.example"), rcpt("c@two.example"), rcpt("d@slow.example"))
		synctest.Wait()
		if n := len(d.attempts("sender@from.example")); n != 0 {
			t.Fatalf("%d reports before the other attempts ended", n)
		}
		time.Sleep(2 * time.Second) // but they wait no longer
		synctest.Wait()
		close(slow)
		synctest.Wait()
		reports := d.attempts("sender@from.example")
		if len(reports) != 2 {
			t.Fatalf("%d reports", len(reports))
		}
		for _, who := range []string{"a@one.example", "b@one.example", "c@two.example"} {
			if !strings.Contains(reports[0].body, who) {
				t.Errorf("the first report does not tell of %s", who)
			}
		}
		if !strings.Contains(reports[1].body, "d@slow.example") {
			t.Error("the second report does not tell of d@slow.example")
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestNoReport(t *testing.T) {
	for name, m := range map[string]struct {
		msg    mail.Message
		notify mail.Notify
	}{
		"null sender":  {},
		"never":        {mail.Message{Sender: mail.Address{Local: "s", Domain: "from.example"}}, mail.NotifyNever},
		"success only": {mail.Message{Sender: mail.Address{Local: "s", Domain: "from.example"}}, mail.NotifySuccess},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &deliverer{answer: func(*mail.Envelope) delivery.Outcome { return refused }}
				b := newBed(t, d, nil)
				b.run()
				e := rcpt("a@one.example")
				e.Notify = m.notify
				b.sendMessage(&m.msg, e)
				synctest.Wait()
				if len(d.jobs) != 1 {
					t.Errorf("jobs: %+v", d.jobs)
				}
				b.counts(queue.Counts{})
				b.stop()
			})
		})
	}
}

func TestReportIsNeverReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{answer: func(*mail.Envelope) delivery.Outcome { return refused }}
		b := newBed(t, d, nil)
		b.run()
		b.send(rcpt("a@one.example"))
		b.sleep(time.Hour)
		if len(d.jobs) != 2 { // the message, its report
			t.Errorf("jobs: %+v", d.jobs)
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestReportCannotBeRouted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
			if e.Action == "report" {
				return delivery.Outcome{Status: delivery.Delivered}
			}
			return refused
		}}
		b := newBed(t, d, func(o *queue.Options) {
			route := o.Route
			o.Route = func(ctx context.Context, m *mail.Message, a mail.Address) ([]mail.Envelope, error) {
				if down.Load() {
					return nil, errors.New("tables cannot be read")
				}
				return route(ctx, m, a)
			}
		})
		b.run()
		b.send(rcpt("a@one.example"))
		synctest.Wait()
		if e := b.item(); !strings.Contains(e.LastErr, "tables cannot be read") {
			t.Errorf("envelope: %+v", e)
		}
		down.Store(false)
		b.sleep(time.Hour)
		if n := len(d.attempts("sender@from.example")); n != 1 {
			t.Errorf("%d reports", n)
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestDelayWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
			if e.Action == "report" {
				return delivery.Outcome{Status: delivery.Delivered}
			}
			return softly
		}}
		b := newBed(t, d, func(o *queue.Options) { o.WarnIntervals = []time.Duration{time.Hour, 24 * time.Hour} })
		b.run()
		never := rcpt("b@one.example")
		never.Notify = mail.NotifyFailure
		b.send(rcpt("a@one.example"), never)
		b.sleep(3 * 24 * time.Hour)
		reports := d.attempts("sender@from.example")
		if len(reports) != 2 {
			t.Fatalf("%d warnings, want 2", len(reports))
		}
		if !strings.Contains(reports[0].body, "Action: delayed\n") || strings.Contains(reports[0].body, "b@one.example") {
			t.Errorf("warning:\n%s", reports[0].body)
		}
		b.stop()
		b.counts(queue.Counts{Messages: 1, Envelopes: 2})
	})
}

func TestSuccessReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
			return delivery.Outcome{Status: delivery.Delivered, Enhanced: "2.1.5", Text: "250 ok", Remote: e.Dest.Domain, DSN: e.Dest.Domain == "dsn.example"}
		}}
		b := newBed(t, d, nil)
		b.run()
		envs := []mail.Envelope{rcpt("a@plain.example"), rcpt("b@dsn.example"), rcpt("c@silent.example")}
		envs[0].Notify, envs[1].Notify = mail.NotifySuccess, mail.NotifySuccess
		b.send(envs...)
		synctest.Wait()
		reports := d.attempts("sender@from.example")
		if len(reports) != 1 || !strings.Contains(reports[0].body, "Action: relayed\nStatus: 2.1.5\n") {
			t.Fatalf("reports: %+v", reports)
		}
		b.counts(queue.Counts{})
		b.stop()
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
			switch e.Rcpt.Local {
			case "refused":
				return refused
			case "later":
				return softly
			}
			return delivery.Outcome{Status: delivery.Delivered, Text: "250 ok", Remote: "mx"}
		}}
		b := newBed(t, d, nil)
		b.run()
		m := &mail.Message{Sender: mail.Address{Local: "sender", Domain: "from.example"}, Session: 7}
		b.sendMessage(m, rcpt("a@one.example"), rcpt("refused@two.example"), rcpt("later@three.example"))
		synctest.Wait()
		got := b.results()
		slices.Sort(got)
		want := []string{
			"a@one.example delivered", "later@three.example deferred", "refused@two.example failed", "sender@from.example delivered",
		}
		if !slices.Equal(got, want) {
			t.Errorf("results: %v", got)
		}
		for _, e := range b.events {
			switch {
			case e.Kind == trace.BounceSent:
				if e.Message == m.ID || e.Envelope.Message() != m.ID || e.Addr != m.Sender {
					t.Errorf("event of the report: %+v", e)
				}
			case e.Message == m.ID && (e.Session != 7 || e.Filter != "relay"):
				t.Errorf("event: %+v", e)
			}
		}
		b.stop()
	})
}
