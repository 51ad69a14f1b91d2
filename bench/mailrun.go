package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/weirmail/weir/bench/load"
	"github.com/weirmail/weir/bench/measure"
	"github.com/weirmail/weir/bench/peer"
	"github.com/weirmail/weir/bench/record"
	"github.com/weirmail/weir/bench/sink"
)

// mailRun measures a server while it takes mail and relays it.
type mailRun struct {
	b      *bench
	on     *peer.Running
	job    load.Job
	server []int
	filter []int
}

// mail starts a server, has it take mail, waits until it has relayed all of it
// and adds the record.
func (b *bench) mail(p peer.Peer, s peer.Setup, j load.Job, r record.Record) {
	r.Peer = p.Name()
	if err := b.tryMail(p, s, j, &r); err != nil {
		b.fail(r, err)
		return
	}
	b.add(r)
}

func (b *bench) tryMail(p peer.Peer, s peer.Setup, j load.Job, r *record.Record) error {
	on, err := peer.Start(b.ctx, b.house, p, s)
	if err != nil {
		return err
	}
	defer on.Stop()
	return b.mailOn(on, j, r)
}

// mailOn is the same on a server that runs.
func (b *bench) mailOn(on *peer.Running, j load.Job, r *record.Record) error {
	j.Kind, j.Addr = load.Mail, on.Addr
	if j.Tag == "" {
		j.Tag = fmt.Sprintf("%s-%s-%d", r.Work, r.Peer, r.Round)
	}
	m := &mailRun{b: b, on: on, job: j}
	if err := m.warm(); err != nil {
		return err
	}
	m.server, m.filter = on.Processes()
	cpu, fcpu := measure.CPU(m.server), measure.CPU(m.filter)
	peak := watchMemory(m.server)
	before, ours := measure.Now(), m.ours()
	res, err := runLoad(b.ctx, b.house.Self, j)
	after := measure.Now()
	ours = m.ours() - ours
	if err != nil {
		return err
	}
	counts, err := m.drain(res)
	if err != nil {
		return err
	}
	server, filter := on.Processes()
	cpu, fcpu = measure.CPU(server)-cpu, measure.CPU(filter)-fcpu
	r.Values = m.values(res, counts)
	n := max(float64(res.Done), 1)
	r.Values["cpu_ms"], r.Values["filter_cpu_ms"] = cpu*1e3/n, fcpu*1e3/n
	r.Values["flushes"] = (after.Flushes - before.Flushes) / n
	r.Values["idle_pct"], r.Values["steal_pct"] = before.Shares(after)
	r.Values["others_pct"] = before.Others(after, ours)
	r.Values["peak_mb"] = peak() / (1 << 20)
	if r.Lost = lost(res, counts, max(j.Recipients, 1)); r.Lost != "" {
		if still := on.Queued(); still != "" {
			r.Lost += "; still in its queue: " + still
		}
		fmt.Printf("the server's log ends with:\n%s\n", on.LogTail())
	}
	if res.Errors > 0 {
		fmt.Println("*** errors:", res.Kinds)
	}
	return nil
}

// ours is the processor time of all that belongs to the run, load and sink
// included. What others take of the machine meanwhile, a reader must know.
func (m *mailRun) ours() float64 {
	server, filter := m.on.Processes()
	return measure.CPU(slices.Concat(server, filter, []int{os.Getpid(), m.b.sink.cmd.Process.Pid}))
}

// values are what client and sink saw.
func (m *mailRun) values(res load.Result, c sink.Counts) map[string]float64 {
	until := max(c.Last, res.End)
	return map[string]float64{
		"accepted": float64(res.Done), "errors": float64(res.Errors),
		"accepted_s": float64(res.Done) / res.Seconds, "mb_s": res.Bytes / 1e6 / res.Seconds,
		"delivered_s":    float64(c.Unique) / (until - res.Begin),
		"delivered_mb_s": float64(c.Unique) * res.Bytes / 1e6 / max(float64(res.Done), 1) / (until - res.Begin),
		"drain_s":        until - res.End, "p50_ms": res.Each.P50 / 1e3, "p99_ms": res.Each.P99 / 1e3,
	}
}

// lost says how what was delivered differs from what was accepted, "" if it
// does not.
func lost(res load.Result, c sink.Counts, recipients int) string {
	want, wantRcpts := int64(res.Done), int64(res.Done*recipients)
	switch {
	case c.Unique < want || c.Recipients < wantRcpts:
		return fmt.Sprintf("%d accepted for %d recipients, %d delivered to %d", want, wantRcpts, c.Unique, c.Recipients)
	case c.Unique > want+int64(res.Errors) || c.Recipients > wantRcpts+int64(res.Errors*recipients):
		// A session that failed may have been heard to the end.
		return fmt.Sprintf("%d accepted, %d delivered %d times", want, c.Unique, c.Messages)
	}
	return ""
}

// warm sends a few messages, so that what a server loads on first use, and the
// connections that it keeps, are not counted.
func (m *mailRun) warm() error {
	j := m.job
	j.Sessions, j.Total, j.PerSession, j.Tag, j.Seconds, j.Gather = 4, 20, 5, "warm", 10, false
	if _, err := m.b.sink.counts(true); err != nil {
		return err
	}
	res, err := runLoad(m.b.ctx, m.b.house.Self, j)
	if err != nil {
		return err
	}
	if res.Done == 0 {
		return fmt.Errorf("it takes no mail: %v", res.Kinds)
	}
	if _, err := m.drain(res); err != nil {
		return err
	}
	_, err = m.b.sink.counts(true)
	return err
}

// The queue has so long to empty, and may deliver nothing for so long before
// the rest counts as lost.
const (
	drainTimeout = 2 * time.Minute
	drainStill   = 25 * time.Second
)

// drain waits until as many messages have arrived as were accepted.
func (m *mailRun) drain(res load.Result) (sink.Counts, error) {
	deadline, still := time.Now().Add(drainTimeout), time.Now()
	want := int64(res.Done * max(m.job.Recipients, 1))
	var last int64
	for {
		c, err := m.b.sink.counts(false)
		if err != nil || c.Recipients >= want {
			return c, err
		}
		if c.Recipients != last {
			last, still = c.Recipients, time.Now()
		}
		if time.Since(still) > drainStill || time.Now().After(deadline) || m.b.ctx.Err() != nil {
			return c, m.b.ctx.Err()
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// watchMemory looks at the resident memory of processes again and again, until
// the function that it gives is called, which gives the most.
func watchMemory(pids []int) func() float64 {
	stop, most := make(chan struct{}), make(chan float64)
	go func() {
		peak := measure.Resident(pids)
		for {
			select {
			case <-stop:
				most <- peak
				return
			case <-time.After(100 * time.Millisecond):
				peak = max(peak, measure.Resident(pids))
			}
		}
	}()
	return func() float64 {
		close(stop)
		return <-most
	}
}
