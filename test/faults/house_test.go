package faults

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/test/weirtest"
)

// patience is how long a client waits for one reply. No reply takes that long
// unless something is wrong: time limits of filters are a few seconds.
const patience = time.Minute

var misbehave string // the program

func TestMain(m *testing.M) {
	os.Exit(func() int {
		defer weirtest.Clean()
		dir, err := os.MkdirTemp("", "faults-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		os.Chmod(dir, 0o755) // filters may have a user of their own
		misbehave = filepath.Join(dir, "misbehave")
		if out, err := exec.Command("go", "build", "-o", misbehave, "./misbehave").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// house is a server with a mailbox.
type house struct {
	*weirtest.Server
	mail  string
	addrs map[string]string // of the listeners, by filter; "" has none

	separated bool // in several processes
}

// loopback gives an address of this machine that nobody else uses, so that the
// ports of a house with hundreds of listeners are free.
func loopback() string {
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

// newHouse starts a server with a listener for each of filters, which config
// declares, and one without filter.
func newHouse(t *testing.T, config string, filters ...string) *house {
	t.Helper()
	dir := t.TempDir()
	return startHouse(t, &house{mail: filepath.Join(dir, "mail")}, dir, config, weirtest.Userbase(filepath.Join(dir, "home"), "alice"), filters...)
}

func startHouse(t *testing.T, h *house, dir, config, userbase string, filters ...string) *house {
	t.Helper()
	h.addrs = make(map[string]string)
	const first = 12000 // below the ports that the system gives to clients
	own := loopback()
	for i, f := range append(filters, "") {
		h.addrs[f] = fmt.Sprintf("%s:%d", own, first+i)
		config += fmt.Sprintf("listen on %s port %d hostname mx.example.test", own, first+i)
		if f != "" {
			config += fmt.Sprintf(" filter %q", f)
		}
		config += "\n"
	}
	config += fmt.Sprintf(`
smtp limit max-sessions 5000 max-sessions-per-source 5000 max-errors 1000000 max-mails 1000000
table users { %s }
action "local" maildir "%s/%%{rcpt.user}" userbase <users>
match from any for domain "example.test" action "local"
`, userbase, h.mail)
	h.Server = weirtest.Start(t, dir, config)
	h.awaitBanner(t)
	return h
}

// awaitBanner waits until the server serves.
func (h *house) awaitBanner(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if c, err := dial(h.addrs[""]); err == nil {
			ok, err := c.hear()
			c.conn.Close()
			if ok && err == nil {
				return
			}
		}
		if !h.Alive() || time.Now().After(end) {
			t.Fatalf("weir does not start:\n%s", h.Log())
		}
	}
}

// declare gives the line of a filter that misbehaves.
func declare(name, mode, phase, options string) string {
	return fmt.Sprintf("filter %q proc-exec \"%s %s %s\" %s\n", name, misbehave, mode, phase, options)
}

// rss gives the server's memory in KB.
func (h *house) rss(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.engine(t)))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// filters gives what filter list shows, by name.
func (h *house) filters(ctx context.Context) (map[string]admin.Filter, error) {
	all := make(map[string]admin.Filter)
	c, err := admin.Dial(filepath.Join(h.Spool, admin.Socket))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	err = admin.Each(ctx, c, admin.MethodFilterList, nil, func(f admin.Filter) error { all[f.Name] = f; return nil })
	return all, err
}

// queued gives the envelopes in the queue.
func (h *house) queued(t *testing.T) []admin.Envelope {
	t.Helper()
	c, err := admin.Dial(filepath.Join(h.Spool, admin.Socket))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all []admin.Envelope
	if err := admin.Each(t.Context(), c, admin.MethodQueueList, nil, func(e admin.Envelope) error { all = append(all, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// delivered gives the messages in the mailbox by the id in their subject, as
// often as they are there.
func (h *house) delivered(t *testing.T) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for _, path := range weirtest.Mails(t, h.mail) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "\nSubject: ")
		id, _, _ := strings.Cut(rest, "\n")
		all[id] = append(all[id], string(b))
	}
	return all
}

// client is one SMTP session.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	last string // the last reply
}

func dial(addr string) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, in: bufio.NewReaderSize(conn, 1<<10)}, nil
}

// hear reads a reply; true if it is 2xx or 3xx.
func (c *client) hear() (bool, error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		line, err := c.in.ReadString('\n')
		c.last = strings.TrimRight(line, "\r\n")
		switch {
		case err != nil:
			return false, fmt.Errorf("no reply: %w", err)
		case len(c.last) < 4:
			return false, fmt.Errorf("a reply of %q", c.last)
		case c.last[3] == ' ':
			return c.last[0] == '2' || c.last[0] == '3', nil
		}
	}
}

// do says a line and hears the reply.
func (c *client) do(line string) (bool, error) {
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c.conn, "%s\r\n", line); err != nil {
		return false, err
	}
	return c.hear()
}

// body is the message with that id, and its end.
func body(id string) string {
	return "From: <sender@example.net>\r\nDate: Mon, 02 Jan 2006 15:04:05 +0000\r\nMessage-ID: <" + id + "@x>\r\nSubject: " +
		id + "\r\n\r\nfirst line\r\nsecond line\r\nthe end of " + id + "\r\n."
}

// greet hears the banner and says EHLO.
func (c *client) greet() (bool, error) {
	if ok, err := c.hear(); !ok || err != nil {
		return ok, err
	}
	return c.do("EHLO client.example.net")
}

// mail sends one message: true if it was accepted, else last is the reply that
// refused it.
func (c *client) mail(id string, pause func()) (bool, error) {
	for _, line := range []string{"MAIL FROM:<sender@example.net>", "RCPT TO:<alice@example.test>", "DATA"} {
		if ok, err := c.do(line); !ok || err != nil {
			return ok, err
		}
	}
	text := body(id)
	if pause != nil {
		head, rest, _ := strings.Cut(text, "second line")
		if _, err := c.conn.Write([]byte(head)); err != nil {
			return false, err
		}
		pause()
		text = "second line" + rest
	}
	return c.do(text)
}

// send is a whole session with one message.
func send(addr, id string, pause func()) (accepted bool, reply string, err error) {
	c, err := dial(addr)
	if err != nil {
		return false, "", err
	}
	defer c.conn.Close()
	ok, err := c.greet()
	if ok && err == nil {
		ok, err = c.mail(id, pause)
	}
	reply = c.last
	if err == nil && !strings.HasPrefix(reply, "421") {
		c.do("QUIT")
	}
	return ok, reply, err
}

// bystanders are sessions that have nothing to do with what goes wrong.
type bystanders struct {
	stop    atomic.Bool
	clients sync.WaitGroup
	mu      sync.Mutex
	sent    []string
	slowest time.Duration
	edited  map[string]bool // went through the healthy filter
}

// stand lets bystanders send mail one after the other, through the filter
// "healthy" and through none, until leave.
func (h *house) stand(t *testing.T) *bystanders {
	b := &bystanders{edited: make(map[string]bool)}
	for _, f := range []string{"", "healthy"} {
		b.clients.Go(func() {
			for n := 0; !b.stop.Load(); n++ {
				id := fmt.Sprintf("bystander-%s-%d", f, n)
				begin := time.Now()
				ok, reply, err := send(h.addrs[f], id, nil)
				if !ok || err != nil {
					t.Errorf("%s: %q, %v", id, reply, err)
					return
				}
				b.mu.Lock()
				b.sent = append(b.sent, id)
				b.edited[id] = f != ""
				b.slowest = max(b.slowest, time.Since(begin))
				b.mu.Unlock()
				time.Sleep(10 * time.Millisecond) // they are to be there, not to load the machine
			}
		})
	}
	return b
}

// bystanderLimit is how long a bystander's session may take on a machine that
// has a lot to do. What they could be waiting for by mistake takes longer.
const bystanderLimit = 30 * time.Second

// leave ends the bystanders and checks that each of their messages was
// delivered, once.
func (b *bystanders) leave(t *testing.T, delivered func() map[string][]string) map[string][]string {
	t.Helper()
	b.stop.Store(true)
	b.clients.Wait()
	got := delivered()
	for _, id := range b.sent {
		m := got[id]
		if len(m) != 1 || strings.Contains(m[0], addedLine) != b.edited[id] {
			t.Errorf("%s was delivered %d times: %q", id, len(m), m)
		}
	}
	if b.slowest > bystanderLimit {
		t.Errorf("a bystander needed %v", b.slowest)
	}
	t.Logf("%d messages of bystanders, the slowest session took %v", len(b.sent), b.slowest)
	return got
}

// addedLine is in messages that went through the filter.
const addedLine = "this line was added by the filter"
