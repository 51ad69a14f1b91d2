package server

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A session that has greeted has left behind a stack of 8 KB, of which it needs
// a quarter while it waits, and twice the heap that it keeps. The collector
// sees to both when it next runs, which in a server whose sessions are idle is
// in minutes. So it is asked to when many sessions have come: measured with
// 5,000 idle ones, 11.6 KB each without it and 7.4 KB with it.
const (
	trimEvery = 250 * time.Millisecond
	trimFrom  = 50              // no fewer sessions than that are worth it
	trimPause = 5 * time.Second // between one time and the next, in the long run
	trimBurst = 8               // times without a pause, while a crowd comes
)

// trimmer decides when memory is given back.
type trimmer struct {
	last int // sessions when it looked last
	done int // sessions for which it was done
}

// due reports whether memory is to be given back now that n sessions are open:
// when the crowd has stopped growing, or half as many again have come meanwhile.
func (t *trimmer) due(n int) bool {
	grows := n > t.last+t.last/50
	t.last = n
	t.done = min(t.done, n)
	more := n - t.done
	return more >= trimFrom && more >= t.done/20 && (!grows || more >= t.done/2)
}

// The collector runs when the heap has doubled, which in a server that keeps
// little is each few megabytes: with 4 KB messages, 15 times a second. It may
// wait until there are collectAfter bytes to collect. In one that keeps much,
// whose size somebody will have reckoned with, the heap grows by half.
const (
	collectAfter = 32 << 20
	leastPercent = 50  // debug.SetGCPercent
	mostPercent  = 800 // with which the collector first runs at 32 MB
)

// pace is for paceCollector: there is one collector, however many Servers.
var pace sync.Once

// paceCollector keeps to that from now on. A GOGC in the environment is somebody's
// decision, and stays.
func paceCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(mostPercent)
		afterCollection()
	}
}

// afterCollection sets the percent for what the last collection has left, and
// sees to it that this happens after the next one too.
func afterCollection() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(percentFor(live[0].Value.Uint64()))
	runtime.AddCleanup(new([16]byte), func(struct{}) { afterCollection() }, struct{}{})
}

// percentFor gives the percent with which a heap of live bytes grows by
// collectAfter, or by half if that is more.
func percentFor(live uint64) int {
	return int(max(leastPercent, min(mostPercent, 100*collectAfter/max(live, 1))))
}

// trim gives memory back as sessions come, until ctx ends.
func (r *registry) trim(ctx context.Context) {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	var t trimmer
	pauses := rate.NewLimiter(rate.Every(trimPause), trimBurst)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n := r.count(); t.due(n) && pauses.Allow() {
			t.done = n
			runtime.GC() // a stack is halved at most each time
			debug.FreeOSMemory()
		}
	}
}
