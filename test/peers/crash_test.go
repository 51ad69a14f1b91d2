package peers

import (
	"fmt"
	"math"
	"net"
	"net/smtp"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirmail/weir/test/weirtest"
)

const (
	crashes      = 5  // kills of TestKill; $WEIR_CRASHES is another number
	crashClients = 20 // clients at once
	crashLoad    = 60 // messages accepted between two kills, at least

	// recordLimit is how long before a kill a delivery may be that the kill kept
	// from being recorded. Records share the disk's flushes with new mail.
	recordLimit = time.Second
)

// TestKill kills the server under load, again and again. Every message that
// got its 250 is delivered in the end. A message is delivered again only when a
// kill falls between its delivery and the record of it: it was delivered just
// before a kill then; that is counted. What comes after the last kill is
// delivered once.
func TestKill(t *testing.T) {
	n := crashes
	if s := os.Getenv("WEIR_CRASHES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("WEIR_CRASHES: %v", err)
		}
	}
	h := newHouse(t, "smtp limit max-mails 10\n", "", "")
	l := newLoad(t, h.port)
	var kills []time.Time
	for i := range n {
		// A little more than the load, so that the kills fall at different moments.
		l.await(t, crashLoad+i%7)
		h.Kill()
		kills = append(kills, time.Now())
		h.Run(t, h.port)
	}
	safe := l.ids.Load() // messages with a larger number know no kill
	l.await(t, crashLoad)
	l.stop()
	h.Drained(t, programLimit)

	times := make(map[string]int)
	first := make(map[string]time.Time)
	for _, path := range weirtest.Mails(t, h.mail) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		id := subject(t, string(b))
		times[id]++
		if at, ok := first[id]; !ok || st.ModTime().Before(at) {
			first[id] = st.ModTime()
		}
	}
	again, unknown, longest := 0, 0, time.Duration(0)
	for id, n := range times {
		if n > 1 {
			again++
			gap := untilKill(first[id], kills)
			longest = max(longest, gap)
			if gap > recordLimit {
				t.Errorf("%s was delivered %d times, though no kill came within %v of the first", id, n, recordLimit)
			}
		}
		number, err := strconv.ParseInt(id[1:], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if n > 1 && number > safe {
			t.Errorf("%s was delivered %d times, with no kill after it", id, n)
		}
		if !l.accepted[id] {
			unknown++
		}
	}
	lost := 0
	for id := range l.accepted {
		if times[id] == 0 {
			lost++
			t.Errorf("%s got its 250 and is lost", id)
		}
	}
	t.Logf("%d kills, %d messages accepted: %d lost, %d delivered again (the earliest %v before its kill), %d delivered whose reply a kill took",
		n, len(l.accepted), lost, again, longest, unknown)
	if limit := n * crashClients; unknown > limit {
		t.Errorf("%d messages without a reply were delivered; clients had no more than %d under way", unknown, limit)
	}
}

// untilKill gives the time from at to the next kill.
func untilKill(at time.Time, kills []time.Time) time.Duration {
	for _, k := range kills {
		if !k.Before(at) {
			return k.Sub(at)
		}
	}
	return math.MaxInt64
}

// subject gives the id that is in a message's subject, and checks that the
// message is whole.
func subject(t *testing.T, m string) string {
	t.Helper()
	_, rest, _ := strings.Cut(m, "\nSubject: ")
	id, rest, ok := strings.Cut(rest, "\n")
	if !ok || !strings.HasSuffix(rest, "\nthe end of "+id+"\n") {
		t.Fatalf("a message is cut: %q", m)
	}
	return id
}

// load is clients that send messages as fast as they can, and go on when the
// server is away.
type load struct {
	addr     string
	ids      atomic.Int64
	count    atomic.Int64
	more     chan struct{} // a message was accepted
	quit     chan struct{}
	clients  sync.WaitGroup
	mu       sync.Mutex
	accepted map[string]bool
}

func newLoad(t *testing.T, port int) *load {
	l := &load{
		addr: fmt.Sprintf("127.0.0.1:%d", port), accepted: make(map[string]bool),
		more: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	for range crashClients {
		l.clients.Go(l.client)
	}
	t.Cleanup(l.stop)
	return l
}

// stop ends the clients; calling it again does nothing.
func (l *load) stop() {
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	l.clients.Wait()
}

// await waits until n more messages have been accepted.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	want := l.count.Load() + int64(n)
	limit := time.After(programLimit)
	for l.count.Load() < want {
		select {
		case <-l.more:
		case <-limit:
			t.Fatalf("%d messages accepted; the load stands still", l.count.Load())
		}
	}
}

// client sends until stop, in sessions of a few messages.
func (l *load) client() {
	for {
		select {
		case <-l.quit:
			return
		default:
		}
		if l.session() != nil {
			time.Sleep(5 * time.Millisecond) // the server is away; nothing tells when it is back
		}
	}
}

func (l *load) session() error {
	conn, err := net.DialTimeout("tcp", l.addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(programLimit))
	c, err := smtp.NewClient(conn, "mx.example.test")
	if err != nil {
		return err
	}
	for range 5 {
		id := fmt.Sprintf("m%d", l.ids.Add(1))
		if err := sendOne(c, id); err != nil {
			return err
		}
		l.mu.Lock()
		l.accepted[id] = true
		l.mu.Unlock()
		l.count.Add(1)
		select {
		case l.more <- struct{}{}:
		default:
		}
	}
	return c.Quit()
}

// sendOne sends one message; nil is its 250.
func sendOne(c *smtp.Client, id string) error {
	if err := c.Mail("sender@example.net"); err != nil {
		return err
	}
	if err := c.Rcpt("alice@example.test"); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "From: <sender@example.net>\r\nDate: Mon, 02 Jan 2006 15:04:05 +0000\r\nMessage-ID: <%s@x>\r\nSubject: %s\r\n\r\n%s\r\nthe end of %s\r\n",
		id, id, strings.Repeat("some text of a message\r\n", 40), id)
	return w.Close()
}
