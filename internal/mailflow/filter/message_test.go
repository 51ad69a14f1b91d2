package filter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
)

// lines gives n bytes of message, about, with lines of different lengths.
func lines(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		b.WriteString(strings.Repeat("abcdefghijklmnopqrst", i%12))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// 35 MB through a filter that holds all of it till the dot and one that echoes.
func TestLargeMessage(t *testing.T) {
	h, _ := host(t, Options{AnswerTimeout: time.Minute}, command("hold"), command("lines"))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	sum := sha256.New()
	m := s.Message(context.Background(), sum)
	part := lines(1 << 20)
	want := sha256.New()
	for range 35 {
		if _, err := m.Write(part); err != nil {
			t.Fatal(err)
		}
		want.Write(part)
	}
	wantProceed(t, m.Finish(t.Context()))
	if !bytes.Equal(sum.Sum(nil), want.Sum(nil)) {
		t.Error("the message has changed")
	}
	wantProceed(t, ask(t, s, filterwire.Commit, ""))
}

// gate is a writer that waits for somebody to open it.
type gate struct {
	open chan struct{}
	bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.Buffer.Write(p)
}

// A reader behind the filter that does not read costs no memory, and other
// sessions of the same process go on.
func TestSlowOutput(t *testing.T) {
	h, _ := host(t, Options{}, command("lines"))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	out := &gate{open: make(chan struct{})}
	m := s.Message(context.Background(), out)
	body := lines(8 << 20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if _, err := m.Write(body); err != nil {
		t.Fatal(err)
	}
	other := open(h)
	defer other.Close()
	wantProceed(t, ask(t, other, filterwire.MailFrom, "a"))
	got, v := send(t, other, "x") // behind all of the first in the same pipe
	wantProceed(t, v)
	if got != "x\n" {
		t.Errorf("message %q", got)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("memory has grown by %d bytes", grown)
	}
	close(out.open)
	wantProceed(t, m.Finish(t.Context()))
	if !bytes.Equal(out.Bytes(), body) {
		t.Error("the message has changed")
	}
}

func TestTooLarge(t *testing.T) {
	h, _ := host(t, Options{MaxMessage: 100}, command("lines"), command("line-add", strings.Repeat("x", 100)))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	out, v := send(t, s, strings.Repeat("y", 99))
	wantFault(t, v, "b")
	if !errors.Is(v.Err, ErrTooLarge) {
		t.Errorf("error %v, output %q", v.Err, out)
	}
	// The next message is nobody's fault any more; the limit itself is allowed.
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	h2, _ := host(t, Options{MaxMessage: 100}, command("lines"))
	s2 := open(h2)
	defer s2.Close()
	wantProceed(t, ask(t, s2, filterwire.MailFrom, "a"))
	_, v = send(t, s2, strings.Repeat("y", 99))
	wantProceed(t, v)
}

type brokenWriter struct{}

var errBroken = errors.New("disk is full")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestOutputFails(t *testing.T) {
	h, _ := host(t, Options{}, command("lines"))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	m := s.Message(context.Background(), brokenWriter{})
	m.Write([]byte("x\n"))
	v := m.Finish(t.Context())
	if !errors.Is(v.Err, errBroken) || v.Decision != filterwire.Reject || v.Filter != "" {
		t.Errorf("got %v %q of %q, %v", v.Decision, v.Param, v.Filter, v.Err)
	}
}

// What comes after Abort is dropped, and is no fault.
func TestAbort(t *testing.T) {
	h, ev := host(t, Options{}, command("slow-lines"))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	var out bytes.Buffer
	m := s.Message(context.Background(), &out)
	m.Write(lines(4096))
	m.Abort()
	n := out.Len()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	got, v := send(t, s, "second")
	wantProceed(t, v)
	if got != "second\n" || out.Len() != n {
		t.Errorf("message %q, %d bytes of the first after its end", got, out.Len()-n)
	}
	ev.mu.Lock()
	defer ev.mu.Unlock()
	for _, e := range ev.all {
		if e.Cause != nil {
			t.Errorf("fault: %v", e.Cause)
		}
	}
}

func TestFinishEndsWithContext(t *testing.T) {
	h, _ := host(t, Options{}, command("line-silent"))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	m := s.Message(context.Background(), io.Discard)
	m.Write([]byte("x\n"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if v := m.Finish(ctx); !errors.Is(v.Err, context.DeadlineExceeded) {
		t.Errorf("got %v", v.Err)
	}
}

// One process twice in a chain gets the message twice, with its own tokens.
func TestProcessTwiceInChain(t *testing.T) {
	cfg := builtins(command("line-add", "x"))
	again := *cfg.Filters["a"]
	again.Name = "b"
	cfg.Filters["b"] = &again
	all := cfg.Filters["all"]
	link := all.Chain[0]
	link.Filter = &again
	all.Chain = append(all.Chain, link)
	h, _ := hostOf(t, Options{}, cfg)
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	out, v := send(t, s, "line")
	wantProceed(t, v)
	if want := "line\nadded by x\nadded by x\n"; out != want {
		t.Errorf("message %q, want %q", out, want)
	}
}

// Lines longer than any buffer and empty ones pass unchanged.
func TestLineLengths(t *testing.T) {
	h, _ := host(t, Options{}, command("lines"))
	s := open(h)
	defer s.Close()
	wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
	prefix := len(filterwire.AppendDataPrefix(nil, filterwire.V07, time.Now(), 0, 0)) // longer than the answer's
	body := []string{"", strings.Repeat("l", 65535), strings.Repeat("m", lineChunk-prefix), strings.Repeat("m", lineChunk), "\x00\xff|", "."[:0]}
	out, v := send(t, s, body...)
	wantProceed(t, v)
	if want := strings.Join(body, "\n") + "\n"; out != want {
		t.Error("the message has changed")
	}
}

// A thousand sessions at once, answered in random order, each with a message.
func TestManySessions(t *testing.T) {
	h, _ := host(t, Options{AnswerTimeout: time.Minute}, command("shuffle"))
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			s := open(h)
			defer s.Close()
			s.connect()
			for _, ph := range []filterwire.Phase{filterwire.Connect, filterwire.Ehlo, filterwire.MailFrom, filterwire.RcptTo, filterwire.Data} {
				if v := s.Ask(context.Background(), ph, "x"); v.Err != nil || v.Decision != filterwire.Proceed {
					t.Errorf("session %d at %v: %v %v", i, ph, v.Decision, v.Err)
					return
				}
			}
			var out bytes.Buffer
			m := s.Message(context.Background(), &out)
			body := fmt.Sprintf("session %d\n\nline\n", i)
			m.Write([]byte(body))
			if v := m.Finish(context.Background()); v.Err != nil || out.String() != body {
				t.Errorf("session %d: message %q, %v", i, out.String(), v.Err)
			}
		})
	}
	wg.Wait()
}

func TestWorkers(t *testing.T) {
	cfg := builtins(command("record", "/dev/null"))
	cfg.Procs[0].Workers = 3
	h, _ := hostOf(t, Options{}, cfg)
	workers := h.List()[0].Workers
	if len(workers) != 3 || workers[0].PID == workers[1].PID || workers[2].State != stateReady {
		t.Fatalf("workers %+v", workers)
	}
	used := map[*worker]int{}
	for range 9 {
		s := open(h)
		wantProceed(t, ask(t, s, filterwire.MailFrom, "a"))
		w := s.seats[0].w
		wantProceed(t, ask(t, s, filterwire.RcptTo, "a"))
		if s.seats[0].w != w || s.seats[0].p.w != w {
			t.Error("the session has changed its worker")
		}
		used[w]++
		s.Close()
	}
	for w, n := range used {
		if n != 3 {
			t.Errorf("worker %d has %d sessions of 9", w.n, n)
		}
	}
}

// Nothing is left behind by sessions, messages, faults and a stop.
func TestNothingLeft(t *testing.T) {
	fds := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	goroutines, files := runtime.NumGoroutine(), fds()
	h, ev := host(t, Options{}, command("lines"), command("ignores-end"), command("line-exit"))
	for range 3 {
		s := open(h)
		s.connect()
		ask(t, s, filterwire.MailFrom, "a")
		m := s.Message(context.Background(), io.Discard)
		m.Write(lines(300 << 10))
		m.Finish(t.Context())
		s.Close()
	}
	ev.wait(t, "a fault", func(e *traceEvent) bool { return e.Cause != nil })
	var pids []int
	for _, st := range h.List() {
		pids = append(pids, st.Workers[0].PID)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	h.Stop(ctx)
	h.Stop(ctx) // again is harmless
	for _, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); pid != 0 && err == nil {
			t.Errorf("process %d is left", pid)
		}
	}
	limit := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > goroutines || fds() > files {
		if time.Now().After(limit) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines of %d, %d files of %d\n%s", runtime.NumGoroutine(), goroutines, fds(), files, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
	s := h.Chain("all").Open(mail.SessionID(1), nil)
	wantFault(t, ask(t, s, filterwire.MailFrom, "a"), "b")
}
