package queue_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
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
