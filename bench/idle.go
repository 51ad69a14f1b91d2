package main

import (
	"fmt"
	"syscall"
	"time"

	"github.com/weirmail/weir/bench/load"
	"github.com/weirmail/weir/bench/measure"
	"github.com/weirmail/weir/bench/peer"
	"github.com/weirmail/weir/bench/record"
)

// idleSessions is W5: the memory of sessions that have said EHLO and nothing
// more, in the clear and with TLS.
func idleSessions(b *bench, round int) {
	for _, p := range b.peers {
		for _, secure := range []bool{false, true} {
			for _, n := range []int{100, 1000, 10_000, 50_000} {
				most := p.Most()
				n := affordable(n)
				if secure {
					most = min(most, 10_000) // half the memory would be the client's
				}
				if n > most || b.ctx.Err() != nil {
					continue
				}
				r := record.Record{Work: "w5", Peer: p.Name(), Variant: "clear", X: float64(n), Round: round}
				if secure {
					r.Variant = "tls"
				}
				b.try(r, func(values map[string]float64) error { return b.holdOn(p, secure, n, values) })
			}
		}
	}
}

// reserve are the descriptors that a server, or the load, has besides sessions.
const reserve = 1000

// affordable gives n, or if the system lets a process have fewer descriptors,
// as many thousand sessions as there can be.
func affordable(n int) int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur >= uint64(n+reserve) {
		return n
	}
	most := (int(l.Cur) - reserve) / 1000 * 1000
	fmt.Printf("%d sessions instead of %d: the system allows %d open files (ulimit -n)\n", most, n, l.Cur)
	return most
}

// settle is how long sessions do nothing before memory is read: what a server
// frees when it is quiet is not part of what a session costs.
const settle = time.Second

func (b *bench) holdOn(p peer.Peer, secure bool, n int, values map[string]float64) error {
	on, err := peer.Start(b.ctx, b.house, p, peer.Setup{Sessions: n, TLS: secure})
	if err != nil {
		return err
	}
	defer on.Stop()
	// What is loaded on first use belongs to the server, not to a session.
	warm := load.Job{Kind: load.Connect, Addr: on.Addr, Sessions: 4, Total: 40, TLS: secure}
	if _, err := runLoad(b.ctx, b.house.Self, warm); err != nil {
		return err
	}
	time.Sleep(settle)
	server, _ := on.Processes()
	before := measure.Memory(server)
	j := load.Job{
		Kind: load.Idle, Addr: on.Addr, Sessions: n, Total: n, TLS: secure,
		Sources: 1 + n/20_000, Timeout: time.Minute,
	}
	res, stop, err := holdLoad(b.ctx, b.house.Self, j)
	defer stop()
	if err != nil {
		return err
	}
	if res.Done < n {
		return fmt.Errorf("%d of %d sessions: %v", res.Done, n, res.Kinds)
	}
	time.Sleep(settle)
	server, _ = on.Processes()
	after := measure.Memory(server)
	values["kb_session"] = (after - before) / 1024 / float64(n)
	values["mb"], values["mb_none"] = after/(1<<20), before/(1<<20)
	values["processes"], values["open_s"] = float64(len(server)), res.Seconds
	return nil
}
