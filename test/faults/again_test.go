package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// soon is less than the time limit of the filters of TestNextTransaction: what
// they do is noticed when they do it.
const soon = 30 * time.Second

// TestNextTransaction has filters that are asked at one phase alone go wrong in
// one transaction. The next one of the session, which begins at once, finds them
// started again: it is accepted, and what they do to messages is done. It runs
// before the tests that are parallel: on a machine with all that they do, a
// process may need longer to start than a transaction waits for it.
func TestNextTransaction(t *testing.T) {
	for _, policy := range []string{"tempfail", "accept"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			var config string
			var names []string
			for _, phase := range []string{"rcpt-to", "data-line", "commit"} {
				for _, mode := range []string{"exit-1", "kill", "garbage", "partial", "close-stdout", "close-both"} {
					name := mode + "." + phase
					config += declare(name, mode, "only-"+phase, "timeout 60s on-failure "+policy)
					names = append(names, name)
				}
			}
			h := newHouse(t, config, names...)
			for _, name := range names {
				twice(t, h, name, policy == "accept")
			}
			h.settled(t, false)
			got := h.delivered(t)
			for _, name := range names {
				edits := strings.HasSuffix(name, "data-line")
				if m := got[name+"-good"]; len(m) != 1 || strings.Contains(m[0], addedLine) != edits {
					t.Errorf("%s: the next message is delivered so: %q", name, m)
				}
				if m := got[name+"-bad"]; len(m) != map[string]int{"accept": 1}[policy] || len(m) > 0 && strings.Contains(m[0], addedLine) {
					t.Errorf("%s: the message that met the fault is delivered so: %q", name, m)
				}
			}
		})
	}
}

// twice sends two messages in one session; the filter fails the first.
func twice(t *testing.T, h *house, name string, accepts bool) {
	t.Helper()
	c, err := dial(h.addrs[name])
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	if ok, err := c.greet(); !ok || err != nil {
		t.Fatalf("%s: %q, %v", name, c.last, err)
	}
	begin := time.Now()
	ok, err := c.message("bad", name+"-bad")
	if ok != accepts || err != nil {
		t.Errorf("%s: %q, %v", name, c.last, err)
	}
	if d := time.Since(begin); d > soon {
		t.Errorf("%s: the fault was noticed after %v", name, d)
	}
	c.do("RSET")
	if ok, err := c.message("good", name+"-good"); !ok || err != nil {
		t.Errorf("%s: the next transaction got %q, %v", name, c.last, err)
	}
}

// message sends a message of that sender, and stops where it is refused.
func (c *client) message(sender, id string) (bool, error) {
	for _, line := range []string{fmt.Sprintf("MAIL FROM:<%s@example.net>", sender), "RCPT TO:<alice@example.test>", "DATA", body(id)} {
		if ok, err := c.do(line); !ok || err != nil {
			return ok, err
		}
	}
	return true, nil
}
