package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/mailflow/queue/storetest"
	"github.com/weirmail/weir/internal/trace"
)

// deliverer is a Deliverer of which tests say what comes out. The destination
// of an envelope is its domain.
type deliverer struct {
	// answer says how an attempt ends for one envelope; nil: delivered.
	answer func(e *mail.Envelope) delivery.Outcome
	// block, if set, is called at the begin of each attempt.
	block func(ctx context.Context, j delivery.Job)

	mu      sync.Mutex
	jobs    []job
	running map[string]int
	most    map[string]int // attempts at once, by destination; "" in all
}

type job struct {
	at    time.Time
	msg   mail.MessageID
	rcpts []string
	body  string
}

func (d *deliverer) Destination(e *mail.Envelope) string { return e.Dest.Domain }

func (d *deliverer) count(dest string, n int) {
	if d.running == nil {
		d.running, d.most = make(map[string]int), make(map[string]int)
	}
	d.running[dest] += n
	d.most[dest] = max(d.most[dest], d.running[dest])
}

func (d *deliverer) Deliver(ctx context.Context, j delivery.Job) []delivery.Outcome {
	dest := j.Envelopes[0].Dest.Domain
	d.mu.Lock()
	d.count(dest, 1)
	d.count("", 1)
	d.mu.Unlock()
	if d.block != nil {
		d.block(ctx, j)
	}
	var body []byte
	if r, err := j.Open(); err == nil {
		body, _ = io.ReadAll(r)
		r.Close()
	}
	out := make([]delivery.Outcome, len(j.Envelopes))
	done := job{at: time.Now(), msg: j.Message.ID, body: string(body)}
	for i, e := range j.Envelopes {
		done.rcpts = append(done.rcpts, e.Rcpt.String())
		out[i] = delivery.Outcome{Status: delivery.Delivered, Enhanced: "2.0.0", Text: "ok"}
		if d.answer != nil {
			out[i] = d.answer(e)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count(dest, -1)
	d.count("", -1)
	d.jobs = append(d.jobs, done)
	return out
}

// attempts gives the jobs that had rcpt among theirs.
func (d *deliverer) attempts(rcpt string) []job {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []job
	for _, j := range d.jobs {
		if slices.Contains(j.rcpts, rcpt) {
			out = append(out, j)
		}
	}
	return out
}

var (
	softly      = delivery.Outcome{Status: delivery.Deferred, Enhanced: "4.2.1", Text: "450 4.2.1 later"}
	unreachable = delivery.Outcome{Status: delivery.Deferred, Enhanced: "4.4.1", Text: "connection refused"}
	refused     = delivery.Outcome{Status: delivery.Failed, Enhanced: "5.1.1", Text: "550 5.1.1 no such user", Remote: "mx.example.net"}
)

// bed is a queue under test with what is around it.
type bed struct {
	*testing.T
	q   *queue.Queue
	d   *deliverer
	st  *storetest.Memory
	opt queue.Options

	mu     sync.Mutex
	events []trace.Event
	cancel context.CancelFunc
	ended  chan error
}

func (b *bed) Event(e *trace.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, *e)
}

// results gives the DeliveryResult events as "rcpt result".
func (b *bed) results() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, e := range b.events {
		if e.Kind == trace.DeliveryResult {
			out = append(out, e.Addr.String()+" "+e.Result)
		}
	}
	return out
}

// newBed makes a queue in memory. Reports go to whom they are for, by the
// action "report".
func newBed(t *testing.T, d *deliverer, change func(*queue.Options)) *bed {
	b := &bed{T: t, d: d, st: new(storetest.Memory)}
	b.opt = queue.Options{
		Sink: b, Hostname: "mx.example.org", Rand: func() float64 { return 0.5 },
		Route: func(_ context.Context, _ *mail.Message, rcpt mail.Address) ([]mail.Envelope, error) {
			return []mail.Envelope{{Rcpt: rcpt, Dest: rcpt, Action: "report"}}, nil
		},
	}
	if change != nil {
		change(&b.opt)
	}
	b.open()
	return b
}

// sleep lets time go by, and everything happen that is due then.
func (b *bed) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bed) open() {
	b.Helper()
	var err error
	if b.q, err = queue.Open(b.Context(), b.st, b.d, b.opt); err != nil {
		b.Fatal(err)
	}
}

func (b *bed) run() {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.ended = cancel, make(chan error, 1)
	go func() { b.ended <- b.q.Run(ctx) }()
	synctest.Wait()
}

func (b *bed) stop() {
	b.Helper()
	b.cancel()
	if err := <-b.ended; err != nil {
		b.Error(err)
	}
}

// rcpt gives an envelope that is relayed.
func rcpt(addr string) mail.Envelope {
	local, domain, _ := strings.Cut(addr, "@")
	a := mail.Address{Local: local, Domain: domain}
	return mail.Envelope{Rcpt: a, Dest: a, Action: "relay"}
}

func (b *bed) send(envs ...mail.Envelope) mail.MessageID {
	b.Helper()
	return b.sendMessage(&mail.Message{Sender: mail.Address{Local: "sender", Domain: "from.example"}}, envs...)
}

func (b *bed) sendMessage(m *mail.Message, envs ...mail.Envelope) mail.MessageID {
	b.Helper()
	if err := b.trySend(m, envs...); err != nil {
		b.Fatal(err)
	}
	return m.ID
}

func (b *bed) trySend(m *mail.Message, envs ...mail.Envelope) error {
	id, err := b.q.NewID()
	if err != nil {
		return err
	}
	s, err := b.q.Spool(id)
	if err != nil {
		return err
	}
	defer s.Discard()
	if _, err := io.WriteString(s, "Subject: test\n\nhello\n"); err != nil {
		return err
	}
	return s.Commit(context.Background(), m, envs)
}

func (b *bed) counts(want queue.Counts) {
	b.Helper()
	got, err := b.q.Count(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	if got != want {
		b.Errorf("queue has %+v, want %+v", got, want)
	}
}

// item gives the only envelope in the queue.
func (b *bed) item() *mail.Envelope {
	b.Helper()
	items, err := b.q.List(context.Background(), queue.Filter{})
	if err != nil || len(items) != 1 {
		b.Fatalf("%d items, %v", len(items), err)
	}
	return items[0].Envelope
}

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

func TestManage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		d := &deliverer{answer: func(e *mail.Envelope) delivery.Outcome {
			if down.Load() {
				return unreachable
			}
			return delivery.Outcome{Status: delivery.Delivered}
		}}
		b := newBed(t, d, nil)
		b.run()
		ctx := t.Context()
		var ids []mail.MessageID
		for i := range 4 {
			ids = append(ids, b.send(rcpt(fmt.Sprintf("u%d@one.example", i))))
		}
		synctest.Wait()
		items, body, err := b.q.Show(ctx, ids[0])
		if err != nil || len(items) != 1 {
			t.Fatalf("%d items, %v", len(items), err)
		}
		body.Close()
		if _, _, err := b.q.Show(ctx, 0xffffffff); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("unknown message: %v", err)
		}
		if n, err := b.q.Remove(ctx, queue.Ref{Message: ids[1]}); n != 1 || err != nil {
			t.Errorf("removed %d, %v", n, err)
		}
		if n, err := b.q.Hold(ctx, queue.Ref{Message: ids[2]}); n != 1 || err != nil {
			t.Errorf("held %d, %v", n, err)
		}
		synctest.Wait()
		down.Store(false)
		if _, err := b.q.Retry(ctx); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		for i, want := range []int{1, 0, 0, 1} {
			got := 0
			for _, j := range d.attempts(fmt.Sprintf("u%d@one.example", i)) {
				if j.at.Equal(time.Now()) {
					got = 1
				}
			}
			if i == 1 {
				continue // may have been the one that was tried at first
			}
			if got != want && i != 2 {
				t.Errorf("message %d: attempted %d times", i, got)
			}
		}
		b.counts(queue.Counts{Messages: 1, Envelopes: 1, Held: 1})
		if n, err := b.q.Release(ctx, queue.Ref{Message: ids[2]}); n != 1 || err != nil {
			t.Errorf("released %d, %v", n, err)
		}
		synctest.Wait()
		b.counts(queue.Counts{})
		if n, err := b.q.Remove(ctx); n != 0 || err != nil {
			t.Errorf("removing nothing removed %d, %v", n, err)
		}
		b.stop()
	})
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
