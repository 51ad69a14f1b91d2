package load

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/bench/sink"
)

func server(t *testing.T) (string, *sink.Sink) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := sink.New()
	go s.Serve(l)
	return l.Addr().String(), s
}

func run(t *testing.T, j Job) Result {
	t.Helper()
	r, err := Run(t.Context(), j, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Errors != 0 {
		t.Errorf("%d errors: %v", r.Errors, r.Kinds)
	}
	return r
}

// TestMail sends messages of all sizes that matter to the reader at the other
// end: smaller than a buffer, larger, larger than what is written at once.
func TestMail(t *testing.T) {
	for _, size := range []int{0, 300, 4096, 64 << 10, 1 << 20} {
		addr, s := server(t)
		r := run(t, Job{Kind: Mail, Addr: addr, Sessions: 3, Total: 25, PerSession: 4, Size: size, Recipients: 2, Gather: size == 300, Tag: "t"})
		c := s.Counts()
		if r.Done != 25 || c.Messages != 25 || c.Unique != 25 || c.Recipients != 50 {
			t.Errorf("size %d: %d sent, arrived: %+v", size, r.Done, c)
		}
		if want := int64(r.Bytes); c.Bytes != want {
			t.Errorf("size %d: %d bytes sent, %d arrived", size, want, c.Bytes)
		}
		if r.Each.N != 25 || r.Each.P50 <= 0 {
			t.Errorf("size %d: times %+v", size, r.Each)
		}
	}
}

func TestConnect(t *testing.T) {
	addr, _ := server(t)
	if r := run(t, Job{Kind: Connect, Addr: addr, Sessions: 4, Total: 30}); r.Done != 30 {
		t.Errorf("%d sessions", r.Done)
	}
}

func TestCommand(t *testing.T) {
	addr, s := server(t)
	r := run(t, Job{Kind: Command, Addr: addr, Sessions: 1, Total: 30, PerSession: 7, Verb: "MAIL FROM:<a@b.example>"})
	if r.Done != 30 || s.Counts().Messages != 0 {
		t.Errorf("%d commands, %+v", r.Done, s.Counts())
	}
}

func TestIdle(t *testing.T) {
	addr, _ := server(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Run(ctx, Job{Kind: Idle, Addr: addr, Sessions: 40, Total: 1, Sources: 3}, func(r Result) {
		if r.Done != 40 {
			t.Errorf("%d sessions are there: %v", r.Done, r.Kinds)
		}
		cancel()
	})
	if err != nil || r.Errors != 0 {
		t.Error(r, err)
	}
}

// TestSeconds shows that a job without a practical Total ends.
func TestSeconds(t *testing.T) {
	addr, _ := server(t)
	begin := time.Now()
	r := run(t, Job{Kind: Connect, Addr: addr, Sessions: 2, Total: 1 << 30, Seconds: 0.2})
	if r.Done == 0 || time.Since(begin) > 5*time.Second {
		t.Errorf("%d sessions in %v", r.Done, time.Since(begin))
	}
}

func TestRefused(t *testing.T) {
	for _, j := range []Job{
		{Kind: Mail, Addr: "192.0.2.1:25", Sessions: 1, Total: 1},
		{Kind: Mail, Addr: "localhost:25", Sessions: 1, Total: 1}, // a name may lead anywhere
		{Kind: Mail, Addr: "127.0.0.1:25", Sessions: 1},
		{Kind: Mail, Addr: "127.0.0.1:25", Total: 1},
		{Kind: "other", Addr: "127.0.0.1:25", Sessions: 1, Total: 1},
	} {
		if _, err := Run(t.Context(), j, nil); err == nil {
			t.Errorf("%+v was begun", j)
		}
	}
}

// TestFailures shows that a server that refuses is counted and not asked for
// ever.
func TestFailures(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("421 4.3.2 no\r\n"))
			c.Close()
		}
	}()
	r, err := Run(t.Context(), Job{Kind: Mail, Addr: l.Addr().String(), Sessions: 1, Total: 1 << 30, Size: 10}, nil)
	if err != nil || r.Done != 0 || r.Errors != maxFailures {
		t.Errorf("%+v, %v", r, err)
	}
	for k := range r.Kinds {
		if !strings.Contains(k, "421 4.3.2 no") {
			t.Errorf("error %q", k)
		}
	}
}
