package filter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/trace"
)

// loneProcess makes a process without program, with one session that asks and
// has a message under way.
func loneProcess() (*process, *seat, *stream) {
	h := &Host{opt: Options{Sink: trace.Discard}}
	w := newWorker(h, &proc{name: "a"}, 0)
	p := &process{
		w: w, base: 0x1000, seats: map[mail.SessionID]*seat{},
		ready: make(chan struct{}), over: make(chan struct{}),
	}
	s := (&Chain{h: h}).Open(1, &routing.Facts{})
	st := &seat{s: s, w: w, answer: make(chan struct{}, 1), on: p}
	p.seats[1] = st
	st.token = p.token(false)
	st.phase = filterwire.MailFrom
	x := &stream{m: &Message{s: s, quit: make(chan struct{})}, link: &link{name: "a", proc: w.proc}, seat: st, p: p, token: p.token(true), out: newSpool(1<<20, &h.shelfs), skip: make(chan struct{})}
	st.streams = []*stream{x}
	return p, st, x
}

// Whatever a filter writes, cut where it may be, the reader gives a typed
// fault or goes on, and nothing but lines of the message gets into it.
func FuzzReader(f *testing.F) {
	ready := "register|filter|smtp-in|mail-from\nregister|ready\n"
	for _, s := range []string{
		ready + "filter-result|1|1002|proceed\n",
		ready + "filter-dataline|1|1005|a\nfilter-dataline|1|1005|b\nfilter-dataline|1|1005|.\nfilter-dataline|1|1005|late\n",
		ready + "filter-dataline|1|1003|gone\nfilter-dataline|2|1005|x\nreport|1.000000|smtp-in|1|hi\n",
		ready + "filter-result|1|1002|proceed\nfilter-result|1|1002|proceed\n",
		"filter-result|1|1002|proceed\n", "\n", "register|ready\nfilter-dataline|1|1005|.\r\n",
	} {
		f.Add([]byte(s), uint8(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		p, st, x := loneProcess()
		r := &reader{p: p}
		var pending []byte
		for len(in) > 0 {
			n := min(int(cut)+1, len(in))
			pending = append(pending, in[:n]...)
			in = in[n:]
			used, err := r.lines(pending)
			r.release()
			if err != nil {
				var pe *filterwire.ProtocolError
				if !errors.As(err, &pe) {
					t.Fatalf("fault %v", err)
				}
				break
			}
			pending = append(pending[:0], pending[used:]...)
		}
		if st.token == 0 && len(st.answer) != 1 {
			t.Error("the question is answered and nobody is told")
		}
		data, _, err := x.out.take(nil)
		if err != nil || data != nil && (*data)[len(*data)-1] != '\n' {
			t.Errorf("message %q, %v", *data, err)
		}
	})
}

// What is added comes out, in order and in whole lines, whoever is faster.
func TestSpool(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var left budget
		left.give(int(seed % 5)) // 0 to 4 blocks on the shelf, then the file
		s := newSpool(1<<30, &left)
		var want, got bytes.Buffer
		var buf *[]byte
		line := make([]byte, 200<<10)
		take := func() bool {
			data, end, err := s.take(buf)
			if err != nil {
				t.Fatal(err)
			}
			if buf = data; data != nil {
				if n := len(*data); n == 0 || (*data)[n-1] != '\n' {
					t.Fatal("nothing, or part of a line")
				}
				got.Write(*data)
			}
			return end
		}
		for range 400 {
			n := rnd.IntN(2000)
			if rnd.IntN(50) == 0 {
				n = rnd.IntN(len(line))
			}
			s.mu.Lock()
			s.add(line[:n])
			if m := len(*s.mem); m > spoolMemory && m > n+1 {
				t.Fatalf("%d bytes in memory", m)
			}
			s.mu.Unlock()
			want.Write(line[:n])
			want.WriteByte('\n')
			if rnd.IntN(3+int(seed)*10) == 0 {
				take()
			}
		}
		s.mu.Lock()
		s.ended, s.shut = true, true
		s.add([]byte("ignored"))
		s.mu.Unlock()
		for !take() {
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("seed %d: %d bytes, want %d", seed, got.Len(), want.Len())
		}
		s.close()
		if n := left.left.Load(); n != int32(seed%5) {
			t.Errorf("seed %d: %d blocks of the budget are back", seed, n)
		}
	}
}

// Lines of many writers come out whole, each writer's in order, and all of them.
func TestWriter(t *testing.T) {
	var pp pipes
	if err := pp.open(); err != nil {
		t.Fatal(err)
	}
	defer pp.close()
	w, err := newWriter(pp.ours[0], func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 50, 400
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := range each {
				line := fmt.Appendf(nil, "%d %d %s\n", i, n, strings.Repeat("x", n*7))
				if err := w.put(line, patience{limit: time.Minute}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var next [writers]int
	r := bufio.NewReader(pp.child[0])
	for range writers * each {
		var i, n int
		var text string
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		fmt.Sscan(line, &i, &n, &text)
		if n != next[i] || len(text) != n*7 {
			t.Fatalf("line %q of writer %d, want its number %d", line, i, next[i])
		}
		next[i]++
	}
	wg.Wait()
	w.close()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("end of input: %v", err)
	}
}

// Who waits for room gives up in time, when told to, and when the pipe ends.
func TestWriterFull(t *testing.T) {
	var pp pipes
	if err := pp.open(); err != nil {
		t.Fatal(err)
	}
	defer pp.close()
	lost := make(chan error, 1)
	w, err := newWriter(pp.ours[0], func(err error) { lost <- err })
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 64<<10))
	var perr error
	for perr == nil {
		perr = w.put(line, patience{limit: 50 * time.Millisecond})
	}
	if !errors.Is(perr, ErrTimeout) {
		t.Errorf("got %v", perr)
	}
	left := make(chan struct{})
	close(left)
	if err := w.put(line, patience{limit: time.Minute, done: left}); !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
	waiting := make(chan error)
	go func() { waiting <- w.put(line, patience{limit: time.Minute}) }()
	pp.child[0].Close() // the filter closes its input
	if err := <-waiting; !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
	if err := <-lost; !errors.Is(err, syscall.EPIPE) {
		t.Errorf("lost with %v", err)
	}
	w.close()
}

// Those who wait for room get it in the order in which they came, as many at once
// as there is room for; one that gives up does not hold up those behind it.
func TestWriterTurns(t *testing.T) {
	var pp pipes
	if err := pp.open(); err != nil {
		t.Fatal(err)
	}
	defer pp.close()
	w, err := newWriter(pp.ours[0], func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	filler := append(bytes.Repeat([]byte("x"), writeBuffer/4-1), '\n')
	waiting := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.line)
	}
	for w.put(filler, patience{limit: 50 * time.Millisecond}) == nil { // until pipe and buffer are full
	}
	const sessions = 200
	left := make(chan struct{})
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			pat := patience{limit: time.Minute}
			if i%7 == 3 {
				pat.done = left
			}
			err := w.put(fmt.Appendf(bytes.Clone(filler[:len(filler)-1]), "%d\n", i), pat)
			if gone := i%7 == 3; gone != errors.Is(err, errGone) {
				t.Errorf("%d: %v", i, err)
			}
		})
		for waiting() <= i {
			runtime.Gosched()
		}
	}
	close(left)
	for waiting() > sessions-(sessions+3)/7 {
		runtime.Gosched()
	}
	go func() { wg.Wait(); w.put([]byte("end\n"), patience{limit: time.Minute}) }()
	r := bufio.NewReader(pp.child[0])
	var came []int
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line = strings.Trim(line, "x\n"); line == "end" {
			break
		} else if n, err := strconv.Atoi(line); err == nil {
			came = append(came, n)
		}
	}
	want := 0
	for _, n := range came {
		if want%7 == 3 {
			want++
		}
		if n < want-40 || n > want+40 { // four have room at once, and one of them may sleep for a while
			t.Errorf("%d came where %d was to", n, want)
		}
		want++
	}
	if n := sessions - (sessions+3)/7; len(came) != n {
		t.Errorf("%d came, want %d", len(came), n)
	}
	if w.granted != 0 {
		t.Errorf("%d bytes of room are nobody's", w.granted)
	}
}

// What an idle session costs.
func TestIdleSession(t *testing.T) {
	h, _ := host(t, Options{}, command("record", "/dev/null"))
	const n = 200
	all := make([]*Session, n)
	before := heap()
	for i := range all {
		s := open(h)
		s.connect()
		s.told(trace.LinkGreeting, func(e *trace.Event) { e.Text = "mx.example.test" })
		wantProceed(t, ask(t, s, filterwire.Ehlo, "client.example.net"))
		s.told(trace.LinkIdentify, func(e *trace.Event) { e.Method, e.Text = "EHLO", "client.example.net" })
		all[i] = s
	}
	if each := (heap() - before) / n; each > 2048 {
		t.Errorf("%d bytes for an idle session", each)
	} else {
		t.Logf("%d bytes for an idle session", each)
	}
	for _, s := range all {
		s.Close()
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Of a filter that writes and closes its output before anybody has read, the
// poller tells once. Both are noticed.
func TestEndWithTheLastLines(t *testing.T) {
	p, st, _ := loneProcess()
	p.isReady = true
	ours, its, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	fmt.Fprintf(its, "filter-result|1|%x|proceed\n", st.token)
	its.Close()
	time.Sleep(20 * time.Millisecond) // for the poller
	p.stdout = ours
	go (&reader{p: p}).run()
	select {
	case <-p.over:
	case <-time.After(10 * time.Second):
		t.Fatal("the end of the output is not noticed")
	}
	if err := p.reason(); !errors.Is(err, ErrExited) {
		t.Error(err)
	}
	select {
	case <-st.answer:
		if st.got != filterwire.Proceed || st.err != nil {
			t.Errorf("answer %v, %v", st.got, st.err)
		}
	default:
		t.Error("the answer is lost")
	}
}

// What is left of a filter that is over may write for ever: the pipe can be
// closed all the same.
func TestFloodAfterTheEnd(t *testing.T) {
	p, _, _ := loneProcess()
	p.isReady = true
	ours, its, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer its.Close()
	p.stdout = ours
	go func() {
		lines := bytes.Repeat([]byte("filter-result|2|1|proceed\n"), 4000)
		for {
			if _, err := its.Write(lines); err != nil {
				return
			}
		}
	}()
	ended := make(chan struct{})
	go func() { (&reader{p: p}).run(); close(ended) }()
	time.Sleep(10 * time.Millisecond)
	p.fail(ErrExited)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the reader goes on")
	}
	ours.Close()
}
