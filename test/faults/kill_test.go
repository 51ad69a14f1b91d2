package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/admin"
)

const (
	killSessions = 1000                  // at once
	killEvery    = 50 * time.Millisecond // a filter process
	killShort    = 8 * time.Second       // for how long
	killLong     = 5 * time.Minute       // with WEIR_FAULTS_LONG=1
)

// TestKill sends mail in a thousand sessions while filter processes are killed
// at random. Each reply is success or the policy of a filter, no session
// hangs or is cut off, and what was accepted is delivered once.
func TestKill(t *testing.T) {
	length := killShort
	if os.Getenv("WEIR_FAULTS_LONG") != "" {
		length = killLong
	}
	var config string
	for _, name := range []string{"tempfail", "reject", "accept", "first", "second"} {
		policy := name
		if name == "first" || name == "second" {
			policy = "accept"
		}
		config += declare(name, "none", "none", "workers 4 timeout 20s on-failure "+policy)
	}
	kinds := []string{"tempfail", "reject", "accept", "both"}
	h := newHouse(t, config+"filter both chain { first, second }\n", kinds...)
	l := &killLoad{h: h, stop: make(chan struct{}), accepted: make(map[string]bool), refused: make(map[string]int)}
	for n := range killSessions {
		l.clients.Go(func() { l.client(t, h.addrs[kinds[n%len(kinds)]], n) })
	}
	kills := l.kill(t, length)
	close(l.stop)
	l.clients.Wait()
	h.hasten(t)

	got := h.delivered(t)
	for id := range l.accepted {
		if n := len(got[id]); n != 1 {
			t.Errorf("%s was accepted and delivered %d times", id, n)
		}
	}
	for id, m := range got {
		if !l.accepted[id] {
			t.Errorf("%s was delivered and not accepted", id)
		}
		// A filter's line is there or not; the rest always.
		if !strings.Contains(m[0], "first line\nsecond line\nthe end of "+id+"\n") {
			t.Errorf("%s is not whole: %q", id, m[0])
		}
	}
	for r, n := range l.refused {
		if !strings.HasPrefix(r, "451 4.7.1 Filter tempfail failed") && !strings.HasPrefix(r, "550 5.7.1 Filter reject failed") {
			t.Errorf("%d times %q", n, r)
		}
	}
	t.Logf("%d kills in %v; %d messages accepted, refused %v; slowest reply %v", kills, length, len(l.accepted), l.refused, time.Duration(l.slowest.Load()))
	if len(l.accepted) == 0 || kills == 0 {
		t.Error("nothing happened")
	}
}

// hasten has everything delivered. The queue puts off for minutes what one mailbox
// has beyond a measure; nobody is to wait for that here.
func (h *house) hasten(t *testing.T) {
	t.Helper()
	c, err := admin.Dial(filepath.Join(h.Spool, admin.Socket))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for end := time.Now().Add(2 * patience); len(h.queued(t)) > 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the queue does not get empty")
		}
		if err := c.Call(t.Context(), admin.MethodQueueRetry, admin.Selection{All: true}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// killLoad is sessions that send mail until stop.
type killLoad struct {
	h       *house
	stop    chan struct{}
	clients sync.WaitGroup
	slowest atomic.Int64

	mu       sync.Mutex
	accepted map[string]bool
	refused  map[string]int // by reply
}

// kill ends one filter process after the other.
func (l *killLoad) kill(t *testing.T, length time.Duration) int {
	var pids atomic.Pointer[[]int]
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	go func() { // on a machine with this load it takes longer to find out than to kill
		for ctx.Err() == nil {
			all, err := l.h.filters(ctx)
			if err != nil && ctx.Err() == nil {
				t.Errorf("filter list: %v", err)
			}
			var now []int
			for _, f := range all {
				now = append(now, f.PIDs...)
			}
			if len(now) > 0 {
				pids.Store(&now)
			}
		}
	}()
	kills := 0
	tick := time.NewTicker(killEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return kills
		case <-tick.C:
		}
		if now := pids.Load(); now != nil && killOne((*now)[rand.IntN(len(*now))]) {
			kills++
		}
	}
}

// killOne kills a process if it is one of our filters: the number may be another's
// by now.
func killOne(pid int) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && exe == misbehave && syscall.Kill(pid, syscall.SIGKILL) == nil
}

// client sends messages in one session, and in another when that was refused
// at its beginning.
func (l *killLoad) client(t *testing.T, addr string, n int) {
	for k := 0; ; {
		c, err := dial(addr)
		if err != nil {
			t.Errorf("session %d: %v", n, err)
			return
		}
		ok, err := c.greet()
		for ok && err == nil {
			id := fmt.Sprintf("m%d-%d", n, k)
			k++
			begin := time.Now()
			ok, err = c.mail(id, nil)
			l.note(id, ok, c.last, time.Since(begin))
			if !ok && err == nil {
				_, err = c.do("RSET")
				ok = true
			}
			if l.over() {
				break
			}
		}
		if !ok && err == nil {
			l.note("", false, c.last, 0)
		}
		c.conn.Close()
		if err != nil {
			t.Errorf("session %d: after %q: %v", n, c.last, err)
			return
		}
		if l.over() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *killLoad) over() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

func (l *killLoad) note(id string, ok bool, reply string, took time.Duration) {
	for d := l.slowest.Load(); int64(took) > d && !l.slowest.CompareAndSwap(d, int64(took)); d = l.slowest.Load() {
	}
	reply, _, _ = strings.Cut(reply, " in session")
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok {
		l.accepted[id] = true
	} else {
		l.refused[reply]++
	}
}
