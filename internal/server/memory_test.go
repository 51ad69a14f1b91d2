package server

import (
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/weirmail/weir/test/weirtest"
)

// Memory is given back once a crowd is there, not for each that comes, and not
// again while nobody does.
func TestTrimmer(t *testing.T) {
	var tr trimmer
	for i, step := range []struct {
		n   int
		due bool
	}{
		{trimFrom - 1, false}, {trimFrom - 1, false}, // not worth it
		{trimFrom, true}, {trimFrom, false},
		{60, false}, {2000, true}, // growing, and half as many again
		{2900, false}, {2910, true}, // growing, then still
		{2910, false}, {2950, false}, {2950, false},
		{10, false}, {500, true}, // most have left, others come
		{100000, true}, {104000, false}, {104000, false}, {106000, true},
	} {
		got := tr.due(step.n)
		if got != step.due {
			t.Errorf("step %d, %d sessions: %v", i, step.n, got)
		}
		if got {
			tr.done = step.n
		}
	}
}

func TestPercentFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 800, 1 << 20: 800, 4 << 20: 800, 8 << 20: 400, 16 << 20: 200, 32 << 20: 100, 64 << 20: 50, 1 << 30: 50} {
		if got := percentFor(live); got != want {
			t.Errorf("%d bytes: %d, want %d", live, got, want)
		}
	}
}

// A session that waits keeps a stack of 4 KB. With some more variables on the
// way to where it waits, or calls, it keeps 8; see input.readRaw of session.
func TestIdleStack(t *testing.T) {
	if weirtest.Race {
		t.Skip("the race detector has stacks of its own; make gotest runs this without it")
	}
	dir := t.TempDir()
	r := start(t, dir, "listen on 127.0.0.1 port 0 tag in\n"+boxes(dir), Options{})
	const sessions = 500
	var conns []net.Conn
	var before, m runtime.MemStats // threads of other tests that have ended have stacks as well
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range sessions {
		c, err := net.Dial("tcp", r.addr(t, "in"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		buf := make([]byte, 512)
		c.Read(buf)
		io.WriteString(c, "EHLO client.example.net\r\n")
		c.Read(buf)
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	if each := (int(m.StackInuse) - int(before.StackInuse)) / sessions; each > 5<<10 {
		t.Errorf("a session that waits has %d bytes of stack", each)
	}
	runtime.KeepAlive(conns)
}
