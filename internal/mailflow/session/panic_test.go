package session

import (
	"slices"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/trace"
)

// TestPanic: whatever panics, and however often, ends its session alone, and
// nothing of the session stays.
func TestPanic(t *testing.T) {
	for _, kinds := range [][]trace.Kind{
		{trace.TxData}, {trace.ProtocolServer}, {trace.TxRollback, trace.TxReset}, {trace.LinkDisconnect},
		{trace.TxData, trace.ProtocolServer, trace.TxRollback, trace.TxReset, trace.LinkDisconnect},
	} {
		b := newBench()
		b.opt.Sink = sinkFunc(func(e *trace.Event) {
			if slices.Contains(kinds, e.Kind) && b.queue.next > 0 {
				panic("told too much")
			}
		})
		c := &script{in: strings.NewReader(crlf(hello + from + to + "DATA\na: b\n"))}
		New(c, &b.opt, Peer{}).Serve(t.Context())
		if !strings.Contains(b.log.String(), "session panicked") {
			t.Errorf("%v: the log does not tell", kinds)
		}
		if b.filters.closed != 1 || len(b.queue.messages) != 0 || !c.closed {
			t.Errorf("%v: filters closed %d times, %d messages, connection closed: %v", kinds, b.filters.closed, len(b.queue.messages), c.closed)
		}
	}
}

type sinkFunc func(*trace.Event)

func (f sinkFunc) Event(e *trace.Event) { f(e) }
