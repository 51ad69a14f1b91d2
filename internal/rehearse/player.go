package rehearse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
)

const (
	// batch is how many bytes of lines are written at once.
	batch = 32 << 10
	// settle is how long a filter has to be quiet to have nothing to say.
	settle = 500 * time.Millisecond
	// maxLate is how long an answer that is late is waited for, to tell late
	// from never.
	maxLate = 5 * time.Second
	// grace is for what follows an end: the exit behind a closed pipe.
	grace = time.Second
)

// player plays scenes to one process. It is the server: it sends what was
// registered, waits for answers before a session goes on, and gives up a
// session that the filter refused.
type player struct {
	ctx    context.Context
	o      *Options
	p      *process
	j      *judge
	out    []byte // not yet written
	strict bool   // play what was recorded, whatever the filter says

	left map[uint64]bool   // sessions that were given up
	tx   map[uint64]string // open transactions, by session: message id
	tap  func(h heard)     // hears all, if it is not nil
	over bool              // the process cannot be played to any more
}

// open starts the program and shakes hands with it.
func open(ctx context.Context, o *Options, sc *Scene) (*player, error) {
	p, err := start(o)
	if err != nil {
		return nil, err
	}
	pl := &player{ctx: ctx, o: o, p: p, j: newJudge(sc.version(), o.Timeout), left: make(map[uint64]bool), tx: make(map[uint64]string)}
	for _, st := range sc.steps {
		if name, ok := strings.CutPrefix(string(st.line), "config|feature|"); ok && st.kind == "config" && !st.answer {
			pl.j.features[name] = true
		}
	}
	pl.j.scene = "handshake"
	pl.put(sc.config())
	pl.flush()
	return pl, nil
}

// handshake waits for register|ready.
func (pl *player) handshake() {
	if !pl.until(pl.o.StartTimeout, func() bool { return pl.j.ready }) && !pl.over {
		pl.add(breach("never-ready", fmt.Sprintf("it did not say register|ready within %v", pl.o.StartTimeout), nil, "register|... for what it wants, then register|ready"), 0, "")
	}
}

// lull waits until the filter has had time to do something unasked.
func (pl *player) lull() {
	pl.until(settle, func() bool { return false })
}

func (pl *player) add(f *Finding, id uint64, phase string) {
	pl.j.add(f, id, phase)
	pl.over = pl.over || f.ends
}

// put collects lines for the filter.
func (pl *player) put(b []byte) {
	pl.out = append(pl.out, b...)
	if len(pl.out) >= batch {
		pl.flush()
	}
}

// flush writes what was collected.
func (pl *player) flush() {
	if len(pl.out) == 0 || pl.over {
		pl.out = pl.out[:0]
		return
	}
	err := pl.p.write(pl.out, pl.o.Timeout)
	pl.out = pl.out[:0]
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		pl.hear()
		if !pl.over {
			pl.add(breach("does-not-read", fmt.Sprintf("it did not read its standard input for %v", pl.o.Timeout), nil, "lines read as they come"), 0, pl.j.last)
		}
	default: // it has ended, or closed its input: which, its output tells
		pl.until(grace, func() bool { return false })
		if !pl.over {
			pl.add(breach("closed-input", "it closed its standard input and lives on", nil, "to read until the end of file"), 0, pl.j.last)
		}
	}
}

// hear judges what has come.
func (pl *player) hear() {
	for _, h := range pl.p.take() {
		if pl.tap != nil {
			pl.tap(h)
		}
		switch h.kind {
		case heardLine:
			pl.j.heard(h.line, h.at)
		case heardLong:
			if !pl.j.ended {
				pl.j.add(breach("line-too-long", fmt.Sprintf("it sent a line of more than %d bytes", filterwire.MaxLine), h.line, "shorter lines"), 0, "")
			}
		case heardHalf:
			if !pl.j.ended {
				pl.j.add(breach("half-a-line", "it ended in the middle of a line", h.line, "LF at the end of each line"), 0, pl.place())
			}
		case heardEnd:
			pl.ended()
		}
		pl.over = pl.over || pl.j.ended
	}
}

// place is the phase that was asked last, "" before any was.
func (pl *player) place() string {
	if pl.j.last == "start" || pl.j.last == "ready" {
		return ""
	}
	return pl.j.last
}

// ended names the end of the filter's output.
func (pl *player) ended() {
	pl.over = true
	if pl.j.ended {
		return
	}
	if !pl.p.ends(grace) {
		if pl.p.deaf() {
			pl.add(breach("closed-input", "it closed its standard input and output and lives on", nil, "to answer until the end of file, then to exit"), 0, pl.place())
		} else {
			pl.add(breach("closed-output", "it closed its standard output and lives on", nil, "to answer until the end of file, then to exit"), 0, pl.place())
		}
		return
	}
	name, text := "exits", "it ended"
	switch asking := pl.asking(); {
	case !pl.j.ready:
		name, text = "exits-at-start", "it ended before register|ready"
	case pl.j.last == "ready":
		name, text = "exits-after-ready", "it ended behind register|ready, before it was asked anything"
	case pl.j.last == filterwire.DataLine.String():
		name, text = "exits-in-message", "it ended within a message"
	case asking:
		name, text = "exits-at-question", "it ended when it was asked"
	}
	f := breach(name, text+", "+pl.p.status(), nil, "to live until its input ends")
	f.Log = pl.p.log.String()
	pl.add(f, 0, pl.place())
}

// asking reports whether a question is open.
func (pl *player) asking() bool {
	for _, s := range pl.j.sessions {
		if s.open != nil && !s.over {
			return true
		}
	}
	return false
}

// until hears the filter until done, for no longer than patience. It gives
// what done says at the end.
func (pl *player) until(patience time.Duration, done func() bool) bool {
	t := time.NewTimer(patience)
	defer t.Stop()
	for {
		pl.hear()
		if done() {
			return true
		}
		if pl.over {
			return false
		}
		select {
		case <-pl.p.news:
		case <-t.C:
			pl.hear()
			return done()
		case <-pl.ctx.Done():
			pl.over = true
			return false
		}
	}
}

// close ends the filter's input, as a server does at its end, and judges what
// it still says.
func (pl *player) close() {
	defer pl.p.kill()
	if pl.over {
		return
	}
	pl.flush()
	pl.j.scene = "end of input"
	pl.p.in.Close()
	ended := func() bool {
		select {
		case <-pl.p.exited:
			return true
		default:
			return false
		}
	}
	// The end of its output comes first and is no fault now.
	deadline := time.Now().Add(pl.o.Timeout)
	for !ended() && !pl.j.ended && time.Now().Before(deadline) && pl.ctx.Err() == nil {
		pl.last()
		select {
		case <-pl.p.news:
		case <-pl.p.exited:
		case <-time.After(time.Until(deadline)):
		case <-pl.ctx.Done():
		}
	}
	pl.last()
	switch {
	case pl.ctx.Err() != nil || pl.j.ended:
	case !ended() && pl.j.late > 0: // still busy with what it has not read
	case !ended():
		pl.add(fault("stays-at-end", fmt.Sprintf("its input has ended and it has not, after %v", pl.o.Timeout), nil, "to exit at the end of its input"), 0, "")
	case pl.p.err != nil:
		f := remark("exit-status", "at the end of its input it ended "+pl.p.status()+"; status 0 is a good end", nil)
		f.Log = pl.p.log.String()
		pl.add(f, 0, "")
	}
}

// last judges what comes when all is over.
func (pl *player) last() {
	for _, h := range pl.p.take() {
		if pl.tap != nil {
			pl.tap(h)
		}
		switch h.kind {
		case heardLine:
			pl.j.heard(h.line, h.at)
		case heardHalf:
			pl.j.add(breach("half-a-line", "it ended in the middle of a line", h.line, "LF at the end of each line"), 0, pl.place())
		}
	}
}
