package faults

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	waiting = 1000 // sessions that wait for one filter

	// sessionMemory is what a session that waits may cost the server, in KB; the
	// race detector takes several times what the session itself does.
	sessionMemory = 100
)

// TestDeadSlow has a thousand sessions wait for a filter that takes a second
// for each line it reads, each with more to send than goes into any buffer.
// They cost the server no more than sessions do, those that leave give it back,
// the others get the filter's policy when their time is up, and bystanders
// notice nothing.
func TestDeadSlow(t *testing.T) {
	t.Parallel()
	h := newHouse(t, declare("healthy", "none", "none", "")+declare("slow", "slow", "none", "timeout 5s"), "healthy", "slow")
	b := h.stand(t)
	before := h.rss(t)
	var conns []net.Conn
	flood := []byte(strings.Repeat("NOOP "+strings.Repeat("x", 500)+"\r\n", 400))
	for range waiting {
		c, err := net.Dial("tcp", h.addrs["slow"])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			c.SetWriteDeadline(time.Now().Add(2 * time.Second))
			n, _ := c.Write(flood) // as much as goes
			if i%100 == 0 && n == len(flood) {
				return // the kernel took it all
			}
		})
	}
	wg.Wait()
	full := h.rss(t)
	t.Logf("%d sessions that wait: %d KB more, %d KB each", waiting, full-before, (full-before)/waiting)
	if (full-before)/waiting > sessionMemory {
		t.Errorf("a session that waits costs %d KB", (full-before)/waiting)
	}

	// Half of them leave, the other half hear the policy.
	for _, c := range conns[:waiting/2] {
		c.Close()
	}
	got := make(map[string]int)
	var mu sync.Mutex
	for _, c := range conns[waiting/2:] {
		wg.Go(func() {
			c.SetReadDeadline(time.Now().Add(patience))
			line := make([]byte, 100)
			n, err := c.Read(line)
			what := strings.TrimRight(string(line[:n]), "\r\n")
			if err != nil {
				what = err.Error()
			}
			what, _, _ = strings.Cut(what, " in session")
			what, _, _ = strings.Cut(what, "\r\n") // the banner, and replies to what was sent ahead
			mu.Lock()
			got[what]++
			mu.Unlock()
			c.Close()
		})
	}
	wg.Wait()
	for what, n := range got {
		const few = 10 // whom the filter answers in time
		if what != "451 4.7.1 Filter slow failed" && (!strings.HasPrefix(what, "220 ") || n > few) {
			t.Errorf("%d sessions heard %q", n, what)
		}
	}
	h.left(t)
	b.leave(t, func() map[string][]string { h.Drained(t, patience); return h.delivered(t) })
	t.Logf("what they heard: %v; in the end %d KB more than at first", got, h.rss(t)-before)
}

// left waits until the server has no sessions any more but the bystanders'.
func (h *house) left(t *testing.T) {
	t.Helper()
	const few = 20
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		n := strings.Count(h.Log(), "msg=connected") - strings.Count(h.Log(), "msg=disconnected")
		if n < few {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d sessions are left", n)
		}
	}
}

// TestUploads: messages of a megabyte to a filter that reads slowly. The client
// is held up, not taken in; a bystander goes on.
func TestUploads(t *testing.T) {
	t.Parallel()
	const uploads, size = 40, 1 << 20
	h := newHouse(t, declare("healthy", "none", "none", "")+declare("slow", "deaf", "data-line", "timeout 5s"), "healthy", "slow")
	b := h.stand(t)
	before := h.rss(t)
	text := strings.Repeat(strings.Repeat("x", 76)+"\r\n", size/78)
	var wg sync.WaitGroup
	peak := 0
	replies := make([]string, uploads)
	for i := range uploads {
		wg.Go(func() {
			c, err := dial(h.addrs["slow"])
			if err != nil {
				t.Error(err)
				return
			}
			defer c.conn.Close()
			ok, err := c.greet()
			for _, line := range []string{"MAIL FROM:<sender@example.net>", "RCPT TO:<alice@example.test>", "DATA"} {
				if ok && err == nil {
					ok, err = c.do(line)
				}
			}
			if ok && err == nil {
				c.conn.SetWriteDeadline(time.Now().Add(patience))
				if _, err = c.conn.Write([]byte(text)); err == nil {
					_, err = c.do("\r\n.")
				}
			}
			replies[i] = fmt.Sprint(c.last, " ", err)
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		case <-time.After(200 * time.Millisecond):
			peak = max(peak, h.rss(t)-before)
		}
	}
	for _, r := range replies {
		if !strings.HasPrefix(r, "451 4.7.1 Filter slow failed in session ") {
			t.Errorf("an upload ended with %q", r)
		}
	}
	t.Logf("%d uploads of %d KB: at most %d KB more", uploads, size>>10, peak)
	if peak > grownLimit/2 {
		t.Errorf("the server's memory has grown by %d KB", peak)
	}
	b.leave(t, func() map[string][]string { h.Drained(t, patience); return h.delivered(t) })
}
