package main

import (
	"fmt"
	"os/exec"

	"github.com/weirmail/weir/bench/load"
	"github.com/weirmail/weir/bench/measure"
	"github.com/weirmail/weir/bench/peer"
	"github.com/weirmail/weir/bench/record"
)

// The sizes of messages that workloads send.
const (
	small = 4 << 10
	large = 1 << 20
)

// endless is the Total of jobs that end by time.
const endless = 1 << 30

// peerWorks are the workloads that servers are compared with.
func peerWorks() []work {
	return []work{
		{"w1", false, mailWork("w1", small, variant{peer.None, 0})},
		{"w2", false, mailWork("w2", small, variant{peer.Noop, 1})},
		{"w3", false, mailWork("w3", large, variant{peer.None, 0}, variant{peer.Data, 1})},
		{"w4", false, func(b *bench, round int) {
			mailWork("w4", small, variant{peer.Noop, 2}, variant{peer.Noop, 4})(b, round)
			mailWork("w4", large, variant{peer.Data, 2}, variant{peer.Data, 4})(b, round)
		}},
		{"w5", true, idleSessions},
		{"w6", false, connections},
		{"w7", false, questions},
	}
}

// variant is what filters a workload is run with.
type variant struct {
	filters string
	chain   int
}

func (v variant) String() string {
	if v.chain < 2 {
		return map[string]string{peer.None: "none"}[v.filters] + v.filters
	}
	return fmt.Sprintf("%s%d", v.filters, v.chain)
}

// mailWork sends messages of a size: small ones from 20 sessions at once, 20
// in each, large ones from 4.
func mailWork(name string, size int, variants ...variant) func(*bench, int) {
	sessions := 20
	if size >= large {
		sessions = 4
	}
	return func(b *bench, round int) {
		for _, v := range variants {
			for _, p := range b.peers {
				if b.ctx.Err() != nil {
					return
				}
				b.mail(p, peer.Setup{Filters: v.filters, Chain: v.chain},
					load.Job{Sessions: sessions, Total: endless, Seconds: b.seconds, PerSession: 20, Size: size},
					record.Record{Work: name, Variant: v.String(), X: float64(size), Round: round})
			}
		}
	}
}

// connections is W6: connect, EHLO, QUIT.
func connections(b *bench, round int) {
	for _, v := range []variant{{peer.None, 0}, {peer.Noop, 1}} {
		for _, p := range b.peers {
			r := record.Record{Work: "w6", Peer: p.Name(), Variant: v.String(), Round: round}
			if err := b.connectOn(p, v, &r); err != nil {
				b.fail(r, err)
			} else {
				b.add(r)
			}
		}
	}
}

func (b *bench) connectOn(p peer.Peer, v variant, r *record.Record) error {
	on, err := peer.Start(b.ctx, b.house, p, peer.Setup{Filters: v.filters, Chain: v.chain})
	if err != nil {
		return err
	}
	defer on.Stop()
	j := load.Job{Kind: load.Connect, Addr: on.Addr, Sessions: 20, Total: 200, Dialing: 20}
	if _, err := runLoad(b.ctx, b.house.Self, j); err != nil {
		return err
	}
	server, _ := on.Processes()
	cpu := measure.CPU(server)
	j.Total, j.Seconds = endless, b.seconds
	res, err := runLoad(b.ctx, b.house.Self, j)
	if err != nil {
		return err
	}
	server, _ = on.Processes()
	r.Values = map[string]float64{
		"sessions_s": float64(res.Done) / res.Seconds, "errors": float64(res.Errors),
		"p50_ms": res.Each.P50 / 1e3, "p99_ms": res.Each.P99 / 1e3,
		"cpu_ms": (measure.CPU(server) - cpu) * 1e3 / max(float64(res.Done), 1),
	}
	return nil
}

// questions is W7: how long MAIL takes in one session, without filters and
// with them, and what a pipe alone takes in the same minute.
func questions(b *bench, round int) {
	r := record.Record{Work: "w7", Peer: "pipe", Variant: "none", Round: round}
	if err := b.pingPong(&r); err != nil {
		b.fail(r, err)
	} else {
		b.add(r)
	}
	for _, v := range []variant{{peer.None, 0}, {peer.Noop, 1}, {peer.Noop, 4}} {
		for _, p := range b.peers {
			r := record.Record{Work: "w7", Peer: p.Name(), Variant: v.String(), Round: round}
			if err := b.askOn(p, v, &r); err != nil {
				b.fail(r, err)
			} else {
				b.add(r)
			}
		}
	}
}

// pingPong measures the bare pipe.
func (b *bench) pingPong(r *record.Record) error {
	out, err := exec.CommandContext(b.ctx, b.house.Filters.PingPong, "20000", "100").Output()
	if err != nil {
		return err
	}
	var p50, mean float64
	if _, err := fmt.Sscan(string(out), &p50, &mean); err != nil {
		return err
	}
	r.Values = map[string]float64{"p50_us": p50, "mean_us": mean}
	return nil
}

func (b *bench) askOn(p peer.Peer, v variant, r *record.Record) error {
	on, err := peer.Start(b.ctx, b.house, p, peer.Setup{Filters: v.filters, Chain: v.chain})
	if err != nil {
		return err
	}
	defer on.Stop()
	// Servers bound the commands of a session: a new one now and then, whose
	// beginning is not timed.
	j := load.Job{Kind: load.Command, Addr: on.Addr, Sessions: 1, Total: 500, PerSession: 45, Verb: "MAIL FROM:<sender@bench.example>"}
	if _, err := runLoad(b.ctx, b.house.Self, j); err != nil {
		return err
	}
	j.Total, j.Seconds = endless, b.seconds
	res, err := runLoad(b.ctx, b.house.Self, j)
	if err != nil {
		return err
	}
	r.Values = map[string]float64{
		"p50_us": res.Each.P50, "mean_us": res.Each.Mean, "p99_us": res.Each.P99, "errors": float64(res.Errors),
	}
	return nil
}
