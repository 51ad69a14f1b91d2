package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/admin"
)

const (
	chaosFilters  = 8 // at once, each with a seed of its own
	chaosSessions = 4 // at once through each
	chaosShort    = 5 * time.Second
	chaosRound    = 25 * time.Second // with WEIR_FAULTS_LONG=1; each with other seeds
	chaosLong     = 4 * time.Minute

	// chaosWait is the longest that a reply may take: time limits of 2 s for room in
	// the pipe and for the answer, the end of a process that ignores SIGTERM and the
	// start of another, at a machine that is busy.
	chaosWait = 15 * time.Second
)

// The chain of filters, and the one in it that goes wrong.
const (
	chaosChain    = "chaos99"
	chainedFilter = "chaos98"
)

// TestChaosSeparated is TestChaos with a server in several processes.
func TestChaosSeparated(t *testing.T) {
	t.Parallel()
	chaosOf(t, newSeparatedHouse, chaosFilters+2, chaosShort)
}

// TestChaos sends mail through filters that go wrong at random, in any way that
// we could think of. WEIR_CHAOS_SEED is the first seed of them.
func TestChaos(t *testing.T) {
	seed, long := uint64(1), os.Getenv("WEIR_FAULTS_LONG") != ""
	if long {
		seed = uint64(time.Now().Unix())
	} else {
		t.Parallel()
	}
	if s := os.Getenv("WEIR_CHAOS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("WEIR_CHAOS_SEED: %v", err)
		}
	}
	if !long {
		chaosOf(t, newHouse, seed, chaosShort)
		return
	}
	houses := []func(*testing.T, string, ...string) *house{newHouse, newSeparatedHouse}
	for n, end := 0, time.Now().Add(chaosLong); time.Now().Before(end) && !t.Failed(); n++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { chaosOf(t, houses[n%len(houses)], seed, chaosRound) })
		seed += chaosFilters + 1
	}
}

// chaosOf runs one server with filters of the seeds from first on.
func chaosOf(t *testing.T, build func(*testing.T, string, ...string) *house, first uint64, length time.Duration) {
	t.Helper()
	policies := []string{"tempfail", "reject", "accept", "hold"}
	config, names := declare("healthy", "none", "none", ""), []string{"healthy"}
	for i := range chaosFilters {
		name := fmt.Sprintf("chaos%d", i)
		config += declare(name, "chaos", strconv.FormatUint(first+uint64(i), 10), "timeout 2s on-failure "+policies[i%len(policies)])
		names = append(names, name)
	}
	// One more has the healthy filter before and behind it, which others use, too.
	config += declare(chainedFilter, "chaos", strconv.FormatUint(first+chaosFilters, 10), "timeout 2s")
	config += fmt.Sprintf("filter behind proc-exec \"%s none none\"\nfilter %s chain { healthy, %s, behind }\n", misbehave, chaosChain, chainedFilter)
	names = append(names, chaosChain)
	h := build(t, config, names...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("for the same again: WEIR_CHAOS_SEED=%d", first)
		}
	})
	b := h.stand(t)
	memory, open := h.rss(t), h.descriptors(t)
	c := &chaosLoad{t: t, h: h, end: time.Now().Add(length), refused: make(map[string]int), accepted: make(map[string]string), denied: make(map[string]bool)}
	var clients sync.WaitGroup
	for i := range chaosFilters {
		for k := range chaosSessions {
			clients.Go(func() { c.client(names[1+i], policies[i%len(policies)], k) })
		}
		clients.Go(func() { c.client(chaosChain, policies[0], i) })
	}
	stop := make(chan struct{})
	nursed := make(chan struct{})
	go func() { defer close(nursed); c.nurse(stop) }()
	clients.Wait()
	close(stop)
	<-nursed
	h.settled(t, true)
	got := b.leave(t, func() map[string][]string { h.settled(t, true); return h.delivered(t) })
	c.check(got, h.queued(t))
	grown := h.rss(t) - memory
	acts := regexp.MustCompile(`msg="chaos: (.*) at [a-z-]+ of `).FindAllStringSubmatch(h.Log(), -1)
	kinds := make(map[string]bool)
	for _, m := range acts {
		kinds[m[1]] = true
	}
	t.Logf("%d times something went wrong, in %d ways", len(acts), len(kinds))
	t.Logf("seeds from %d: %d accepted, refused %v; slowest reply %v; memory grown by %d KB", first, len(c.accepted), c.refused, c.slowest, grown)
	if grown > grownLimit {
		t.Errorf("the server's memory has grown by %d KB", grown)
	}
	h.nothingLeft(t, open, len(names))
}

// chaosLoad is what the sessions through filters of chaos found.
type chaosLoad struct {
	t   *testing.T
	h   *house
	end time.Time

	mu       sync.Mutex
	refused  map[string]int    // by reply
	accepted map[string]string // policies, by the message's id
	denied   map[string]bool   // the others' ids
	slowest  time.Duration
}

// nurse has filters that have failed started again before their pause is over:
// it grows, and a filter that does not run does nothing wrong. Once in a while
// it has one that is ready replaced.
func (c *chaosLoad) nurse(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
		all, err := c.h.filters(c.t.Context())
		if err != nil {
			c.t.Errorf("filter list: %v", err)
			return
		}
		for name, f := range all {
			const seldom = 100
			if f.State != "restarting" && (f.State != "ready" || rand.IntN(seldom) > 0) {
				continue
			}
			go func() {
				ctl, err := admin.Dial(filepath.Join(c.h.Spool, admin.Socket))
				if err != nil {
					return
				}
				defer ctl.Close()
				ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
				defer cancel()
				ctl.Call(ctx, admin.MethodFilterRestart, admin.Name{Name: name}, nil) // it may fail again
			}()
		}
	}
}

// client sends messages, in a new session when one was closed.
func (c *chaosLoad) client(filter, policy string, k int) {
	for n := 0; time.Now().Before(c.end) && !c.t.Failed(); n++ {
		conn, err := dial(c.h.addrs[filter])
		if err != nil {
			c.t.Errorf("%s: %v", filter, err)
			return
		}
		name := fmt.Sprintf("%s-%d-%d", filter, k, n)
		c.session(conn, filter, policy, name)
		conn.conn.Close()
	}
}

// session sends a few messages.
func (c *chaosLoad) session(conn *client, filter, policy, name string) {
	steps := []string{"", "EHLO " + name}
	const messages = 4
	for i := range messages {
		id := fmt.Sprintf("%s-%d", name, i)
		steps = append(steps, "MAIL FROM:<sender@example.net>", "RCPT TO:<alice@example.test>", "DATA", body(id), "RSET")
	}
	mail := 0 // which step of the message comes next
	for i, step := range steps {
		if i >= 2 {
			mail = (i - 2) % 5
		}
		began := time.Now()
		if mail == 0 && began.After(c.end) {
			return
		}
		ok, err := conn.say(step)
		c.took(time.Since(began), name, step)
		id := fmt.Sprintf("%s-%d", name, (i-2)/5)
		if mail == 3 {
			c.note(id, policy, ok && err == nil)
		}
		switch {
		case err != nil:
			c.t.Errorf("%s: after %q, %.60q: %v", name, conn.last, step, err)
			return
		case ok:
			continue
		}
		if err := chaosReply(filter, policy, step, conn); err != "" {
			c.t.Errorf("%s: %.60q: %s", name, step, err)
		}
		what, _, _ := strings.Cut(conn.last, " in session")
		what, _, _ = strings.Cut(what, "xxx")
		c.mu.Lock()
		c.refused[what]++
		c.mu.Unlock()
		if i == 0 || strings.HasPrefix(conn.last, "421") {
			return // the server has ended it
		}
	}
	conn.do("QUIT")
}

// say says a line, "" for none, and hears the reply. Without a transaction it
// says no more of one: the text of a message would be commands.
func (c *client) say(line string) (bool, error) {
	if line == "" {
		return c.hear()
	}
	if strings.HasPrefix(line, "From:") && !strings.HasPrefix(c.last, "354") {
		return false, nil
	}
	return c.do(line)
}

// Replies that refuse because of what a filter has decided: its text, if it
// is one, and what follows from an address that it wrote or a message that it
// has made too large.
var (
	ownWords    = regexp.MustCompile(`^(550|421) .*chaos`)
	noWords     = "451 4.3.0 Filter gave an answer that is no reply"
	afterwards  = regexp.MustCompile(`^(50[0135]|55[01345]) `)
	policyReply = map[string]string{"tempfail": "451 4.7.1 Filter %s failed in session ", "reject": "550 5.7.1 Filter %s failed in session "}
)

// chaosReply says what is wrong with a reply that refuses.
func chaosReply(filter, policy, step string, c *client) string {
	if i := strings.IndexFunc(c.last, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return fmt.Sprintf("a control byte in %q", c.last)
	}
	if len(c.last) > 510 {
		return fmt.Sprintf("a line of %d bytes", len(c.last))
	}
	if filter == chaosChain {
		filter = chainedFilter
	}
	if want := policyReply[policy]; want != "" && strings.HasPrefix(c.last, fmt.Sprintf(want, filter)) {
		return ""
	}
	if ownWords.MatchString(c.last) || c.last == noWords || strings.HasPrefix(c.last, "550 ") && strings.Trim(c.last[4:], "x") == "" || afterwards.MatchString(c.last) && !strings.Contains(c.last, "Filter") {
		return ""
	}
	return fmt.Sprintf("the reply %q is none of policy %s", c.last, policy)
}

func (c *chaosLoad) took(d time.Duration, name, step string) {
	c.mu.Lock()
	c.slowest = max(c.slowest, d)
	c.mu.Unlock()
	if d > chaosWait {
		c.t.Errorf("%s: %.60q took %v", name, step, d)
	}
}

func (c *chaosLoad) note(id, policy string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok {
		c.accepted[id] = policy
	} else {
		c.denied[id] = true
	}
}

// ofChaos is the id of a message, which has it in three places: a line that a filter
// does not give back is a line that it has removed.
var ofChaos = regexp.MustCompile(`(?m)(?:^Subject: |^Message-ID: <|^the end of )(chaos\d+-\d+-\d+-\d+)`)

// check compares what was accepted with what was delivered.
func (c *chaosLoad) check(delivered map[string][]string, queue []admin.Envelope) {
	got := make(map[string][]string)
	for _, all := range delivered {
		for _, text := range all {
			if m := ofChaos.FindStringSubmatch(text); m != nil {
				got[m[1]] = append(got[m[1]], text)
			}
		}
	}
	held := 0
	for _, e := range queue {
		if e.State == "held" {
			held++
		}
	}
	missing := 0
	for id, policy := range c.accepted {
		m := got[id]
		switch {
		case len(m) == 0 && policy == "hold":
			missing++
		case len(m) != 1:
			c.t.Errorf("%s was accepted and delivered %d times", id, len(m))
		case !strings.Contains(m[0], addedLine) && !strings.HasSuffix(m[0], "first line\nsecond line\nthe end of "+id+"\n"):
			c.t.Errorf("edits of %s apply in part: %.2000q", id, m[0])
		}
	}
	if missing != held {
		c.t.Errorf("%d messages are held, %d neither delivered nor refused", held, missing)
	}
	for id := range c.denied {
		if len(got[id]) > 0 {
			c.t.Errorf("%s was refused and delivered", id)
		}
	}
	if len(c.accepted) == 0 || len(c.refused) == 0 {
		c.t.Error("nothing happened")
	}
}

// descriptors counts what the server has open.
func (h *house) descriptors(t *testing.T) (n int) {
	t.Helper()
	pids := []int{h.PID()}
	if h.separated {
		pids = append(pids, h.engine(t))
	}
	for _, pid := range pids {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Fatal(err)
		}
		n += len(fds)
	}
	return n
}

// The goroutines that a server has which has nothing to do: its own, and those of
// a filter.
const (
	ownGoroutines    = 40
	filterGoroutines = 8
)

// nothingLeft looks at what a server has left that has nothing to do any more, and
// ends it.
func (h *house) nothingLeft(t *testing.T, open, filters int) {
	t.Helper()
	few := 10 + 2*filters // of the runtime, the control socket, and filters that were not ready at first
	for end := time.Now().Add(patience / 2); h.descriptors(t) > open+few; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%d descriptors are open, %d were", h.descriptors(t), open)
			break
		}
	}
	engine := h.engine(t)
	syscall.Kill(engine, syscall.SIGQUIT) // the runtime tells of all goroutines
	for end := time.Now().Add(patience); lives(engine) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	h.Kill()
	dump := h.Log()
	if n := strings.Count(dump, "\ngoroutine "); n > ownGoroutines+filterGoroutines*filters+len(h.addrs)*2 {
		t.Errorf("%d goroutines are left:\n%s", n, dump[strings.Index(dump, "\ngoroutine "):])
	} else {
		t.Logf("%d goroutines, %d descriptors", n, open)
	}
	h.Run(t)
	h.awaitBanner(t)
}
