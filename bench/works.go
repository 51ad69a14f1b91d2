package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

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
		{"w2", false, mailWork("w2", small, variant{peer.None, 0}, variant{peer.Noop, 1})},
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
			b.try(r, func(values map[string]float64) error { return b.connectOn(p, v, values) })
		}
	}
}

func (b *bench) connectOn(p peer.Peer, v variant, values map[string]float64) error {
	on, err := peer.Start(b.ctx, b.house, p, peer.Setup{Filters: v.filters, Chain: v.chain})
	if err != nil {
		return err
	}
	defer on.Stop()
	// Who is forgotten by a server whose queue of connections is full is told
	// nothing: a short wait, so that it does not count for more than it is.
	j := load.Job{Kind: load.Connect, Addr: on.Addr, Sessions: 20, Total: 200, Dialing: 20, Timeout: 5 * time.Second}
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
	values["sessions_s"], values["errors"] = float64(res.Done)/res.Seconds, float64(res.Errors)
	values["p50_ms"], values["p99_ms"] = res.Each.P50/1e3, res.Each.P99/1e3
	values["cpu_ms"] = (measure.CPU(server) - cpu) * 1e3 / max(float64(res.Done), 1)
	return nil
}

// questions is W7: how long MAIL takes in one session, without filters and
// with them. In the same minute: what a pipe alone takes, and what pipes add
// to the least that a server can do.
func questions(b *bench, round int) {
	b.try(record.Record{Work: "w7", Peer: "pipe", Variant: "none", Round: round}, b.pingPong)
	for _, v := range []variant{{peer.None, 0}, {peer.Noop, 1}, {peer.Noop, 4}} {
		r := record.Record{Work: "w7", Peer: "floor", Variant: v.String(), Round: round}
		b.try(r, func(values map[string]float64) error { return b.askFloor(v, values) })
		for _, p := range b.peers {
			r.Peer = p.Name()
			b.try(r, func(values map[string]float64) error { return b.askPeer(p, v, values) })
		}
	}
}

// pingPong measures the bare pipe.
func (b *bench) pingPong(values map[string]float64) error {
	out, err := exec.CommandContext(b.ctx, b.house.Filters.PingPong, "20000", "100").Output()
	if err != nil {
		return err
	}
	var p50, mean float64
	if _, err := fmt.Sscan(string(out), &p50, &mean); err != nil {
		return err
	}
	values["p50_us"], values["mean_us"] = p50, mean
	return nil
}

func (b *bench) askPeer(p peer.Peer, v variant, values map[string]float64) error {
	on, err := peer.Start(b.ctx, b.house, p, peer.Setup{Filters: v.filters, Chain: v.chain})
	if err != nil {
		return err
	}
	defer on.Stop()
	return b.ask(on.Addr, values)
}

func (b *bench) askFloor(v variant, values map[string]float64) error {
	floor, err := startRole(b.house.Self, "floor", slices.Repeat([]string{b.house.Filters.PingPong}, v.chain)...)
	if err != nil {
		return err
	}
	defer floor.stop()
	addr, err := floor.out.ReadString('\n')
	if err != nil {
		return err
	}
	return b.ask(strings.TrimSpace(addr), values)
}

// ask times MAIL. Servers bound the commands of a session: there is a new one
// now and then, whose beginning is not timed.
func (b *bench) ask(addr string, values map[string]float64) error {
	j := load.Job{Kind: load.Command, Addr: addr, Sessions: 1, Total: 500, PerSession: 45, Verb: "MAIL FROM:<sender@bench.example>"}
	if _, err := runLoad(b.ctx, b.house.Self, j); err != nil {
		return err
	}
	j.Total, j.Seconds = endless, b.seconds
	res, err := runLoad(b.ctx, b.house.Self, j)
	if err != nil {
		return err
	}
	values["p50_us"], values["mean_us"], values["p99_us"] = res.Each.P50, res.Each.Mean, res.Each.P99
	values["errors"] = float64(res.Errors)
	return nil
}
