package faults

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Floods are modes of a filter that never stops to write.
var floods = []string{"flood-answers", "flood-lines", "flood-reports", "flood-long-reports", "flood-registrations", "flood-stderr"}

const floodTime = 3 * time.Second

// TestFlood has filters write for ever what is of no use: answers and lines of
// sessions that there are not, reports, registrations, lines on standard error.
// Bystanders notice nothing, a session through each of the filters gets its
// answers, and neither log nor memory grow with what is written.
func TestFlood(t *testing.T) {
	t.Parallel()
	config, names := declare("healthy", "none", "none", ""), []string{"healthy"}
	for _, mode := range floods {
		config += declare(mode, mode, "for-ever", "timeout 20s")
		names = append(names, mode)
	}
	h := newHouse(t, config, names...)
	before := h.rss(t)
	b := h.stand(t)
	end := time.Now().Add(floodTime)
	var mu sync.Mutex
	sent := make(map[string]bool)
	var clients sync.WaitGroup
	for _, mode := range floods {
		clients.Go(func() {
			for n := 0; n == 0 || time.Now().Before(end); n++ {
				id := fmt.Sprintf("%s-%d", mode, n)
				// What the filter answers is behind what it floods with, and may be late.
				ok, reply, err := send(h.addrs[mode], id, nil)
				switch {
				case err != nil:
					t.Errorf("%s: %v", id, err)
				case ok:
					mu.Lock()
					sent[id] = true
					mu.Unlock()
				case !strings.HasPrefix(reply, "451 4.7.1 Filter "+mode+" failed in session "):
					t.Errorf("%s: %q", id, reply)
				}
			}
		})
	}
	clients.Wait()
	got := b.leave(t, func() map[string][]string { h.Drained(t, patience); return h.delivered(t) })
	for id := range sent {
		if len(got[id]) != 1 {
			t.Errorf("%s was delivered %d times", id, len(got[id]))
		}
	}
	log := h.Log()
	lines := strings.Count(log, "\n")
	const most, longest = 20000, 3000 // bursts of 2,000 lines each, and what the mail takes
	for line := range strings.Lines(log) {
		if len(line) > longest {
			t.Errorf("a line of %d bytes: %.200s", len(line), line)
			break
		}
	}
	if grown := h.rss(t) - before; lines > most || grown > grownLimit {
		t.Errorf("the log has %d lines, the server's memory has grown by %d KB", lines, grown)
	} else {
		t.Logf("%d messages through floods; %d lines of log; memory grown by %d KB", len(sent), lines, grown)
	}
}
