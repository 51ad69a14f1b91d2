package filter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/trace"
)

// A thousand sessions that wait for the end of a message from a silent filter
// cost what sessions cost, and nothing when they have left: a second thousand
// finds the memory of the first.
func TestManyWait(t *testing.T) {
	const n = 1000
	h, _ := host(t, Options{AnswerTimeout: time.Minute}, command("line-silent"))
	manyWait(t, h, n)
	before := heap()
	waiting := manyWait(t, h, n) - before
	const each = 16 << 10 // with stacks it is more; they are not of the heap
	if waiting > n*each {
		t.Errorf("%d bytes for a session that waits", waiting/n)
	}
	rest := heap() - before
	if rest > 256<<10 {
		t.Errorf("%d bytes are left of sessions that have ended", rest)
	}
	t.Logf("%d bytes for a session that waits; %d are left of all", waiting/n, rest)
	p := h.Set().procs["a"].workers[0].latest.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seats) != 0 {
		t.Errorf("%d sessions are still known", len(p.seats))
	}
}

// manyWait lets n sessions wait and leave. It gives the heap between the two.
func manyWait(t *testing.T, h *Host, n int) int64 {
	ctx, leave := context.WithCancel(t.Context())
	var waiting, left sync.WaitGroup
	waiting.Add(n)
	for i := range n {
		left.Go(func() {
			s := open(h)
			defer s.Close()
			if v := s.Ask(ctx, filterwire.MailFrom, "a"); v.Err != nil {
				t.Errorf("session %d: %v", i, v.Err)
			}
			m := s.Message(ctx, io.Discard)
			m.Write([]byte(strings.Repeat("line\n", 100)))
			waiting.Done()
			if v := m.Finish(ctx); !errors.Is(v.Err, context.Canceled) {
				t.Errorf("session %d: %v", i, v.Err)
			}
		})
	}
	waiting.Wait()
	during := heap()
	leave()
	left.Wait()
	return during
}

// counter counts what is logged.
type counter struct {
	mu      sync.Mutex
	lines   int
	longest int
	dropped int64
}

func (c *counter) Enabled(context.Context, slog.Level) bool { return true }
func (c *counter) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *counter) WithGroup(string) slog.Handler            { return c }
func (c *counter) Handle(_ context.Context, r slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if strings.HasPrefix(r.Message, "lines on standard error dropped") {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "count" {
				c.dropped += a.Value.Int64()
			}
			return true
		})
		return nil
	}
	c.lines++
	c.longest = max(c.longest, len(r.Message))
	return nil
}

// What a filter says on standard error is bounded in length and number, and what
// is left out is counted.
func TestStderrBounds(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{}
	h := &Host{opt: Options{Log: slog.New(c)}}
	done := make(chan struct{})
	begin := time.Now()
	go func() {
		defer close(done)
		(&worker{h: h, proc: &proc{name: "a"}}).logStderr(r)
	}()
	const lines = 10000
	w.WriteString(strings.Repeat("x", 100000) + "\n")
	for range lines - 1 {
		w.WriteString("line\n")
	}
	w.Close()
	<-done
	most := logBurst + int(time.Since(begin).Seconds()*logPerSecond) + 1
	if c.lines < logBurst || c.lines > most || int64(c.lines)+c.dropped != lines || c.longest > maxLogLine {
		t.Errorf("%d lines (at most %d), %d dropped, the longest has %d bytes", c.lines, most, c.dropped, c.longest)
	}
}

func TestHistogram(t *testing.T) {
	last := 0
	for d := time.Duration(0); d < 2*time.Hour; d += d/7 + 100*time.Nanosecond {
		b := bucket(d)
		if b < last || b >= latencyBuckets {
			t.Fatalf("%v is in bucket %d after %d", d, b, last)
		}
		last = b
		if up := upper(b); b < latencyBuckets-1 && (d >= up || d >= 8*time.Microsecond && float64(up) > 1.26*float64(d)) {
			t.Fatalf("%v is in bucket %d, up to %v", d, b, up)
		}
	}
	var h histogram
	if a, b := h.percentiles(); a != 0 || b != 0 {
		t.Errorf("of nothing: %v, %v", a, b)
	}
	for range 98 {
		h.add(10 * time.Microsecond)
	}
	h.add(time.Second)
	h.add(time.Second)
	if p50, p99 := h.percentiles(); p50 < 10*time.Microsecond || p50 > 13*time.Microsecond || p99 < time.Second || p99 > 1300*time.Millisecond {
		t.Errorf("percentiles %v, %v", p50, p99)
	}
}

// TestReportBounds: what a filter reports by itself is bounded in number, and
// what waits for a session in size.
func TestReportBounds(t *testing.T) {
	c := &counter{}
	told := 0
	h := &Host{opt: Options{Log: slog.New(c), Sink: sinkFunc(func(*trace.Event) { told++ })}.withDefaults()}
	s := &Session{chain: &Chain{h: h}, id: 1}
	p := &process{seats: map[mail.SessionID]*seat{1: {s: s}}}
	w := newWorker(h, &proc{name: "a"}, 0)
	begin := time.Now()
	for range 2 * strayBurst {
		w.report(p, &filterwire.Line{Session: 2, Text: []byte("stray")})
	}
	if most := strayBurst + int(time.Since(begin).Seconds()*straysPerSecond) + 1; told < strayBurst || told > most {
		t.Errorf("%d reports of no session were told, want %d to %d", told, strayBurst, most)
	}
	for range 4 {
		w.report(p, &filterwire.Line{Session: 1, Text: bytes.Repeat([]byte("x"), maxReportBytes/3)})
	}
	if len(s.reports) != 3 || s.lost != 1 {
		t.Errorf("%d reports wait, %d are lost", len(s.reports), s.lost)
	}
	for range 2 * reportBurst {
		w.report(p, &filterwire.Line{Session: 1})
	}
	allowed, most := len(s.reports)+s.lost, reportBurst+int(time.Since(begin).Seconds()*reportsPerSecond)+1
	if allowed < reportBurst || allowed > most || len(s.reports) != maxReports {
		t.Errorf("%d reports of a session were heeded, want %d to %d; %d wait", allowed, reportBurst, most, len(s.reports))
	}
	s.flushReports()
	if s.waiting != 0 || s.reports != nil {
		t.Errorf("%d bytes wait in %d reports", s.waiting, len(s.reports))
	}
}

type sinkFunc func(*trace.Event)

func (f sinkFunc) Event(e *trace.Event) { f(e) }

// TestExitedWithOpenPipes: a program that has ended has, also if somebody whom
// it has left behind holds its pipes open.
func TestExitedWithOpenPipes(t *testing.T) {
	_, ev := host(t, Options{}, "/bin/sh -c 'echo \"register|ready\"; setsid sleep 6 & sleep 0.5; exit 3'")
	e := ev.wait(t, "the fault", kind(trace.FilterFailed, ""))
	if !errors.Is(e.Cause, ErrExited) || !strings.Contains(e.Cause.Error(), "exit status 3") {
		t.Errorf("fault %v", e.Cause)
	}
}

// TestOneLimit: the time that a question waits for room in the pipe counts, too.
func TestOneLimit(t *testing.T) {
	p, st, _ := loneProcess()
	var pp pipes
	if err := pp.open(); err != nil {
		t.Fatal(err)
	}
	defer pp.close()
	var err error
	if p.stdin, err = newWriter(pp.ours[0], func(error) {}); err != nil {
		t.Fatal(err)
	}
	defer p.stdin.close()
	for line := make([]byte, 64<<10); err == nil; {
		err = p.stdin.put(line, patience{limit: 50 * time.Millisecond})
	}
	const limit = time.Second
	st.w.proc.policy.timeout = limit
	st.token = 0
	began := time.Now()
	time.AfterFunc(limit*9/10, func() { io.Copy(io.Discard, pp.child[0]) }) // and never answers
	_, _, err = st.ask(&question{p: p, token: p.token(false), phase: filterwire.RcptTo, line: []byte("line\n")})
	if took := time.Since(began); !errors.Is(err, ErrTimeout) || took < limit || took > limit*8/5 {
		t.Errorf("%v after %v", err, took)
	}
}
