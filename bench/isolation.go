package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weirmail/weir/bench/load"
	"github.com/weirmail/weir/bench/measure"
	"github.com/weirmail/weir/bench/peer"
	"github.com/weirmail/weir/bench/record"
)

// isolationWorks measure what it costs that a server is several processes, none
// of which has more rights than it needs.
func isolationWorks() []work {
	return []work{
		{"isolation", true, func(b *bench, _ int) {
			isolation(b, variant{peer.None, 0}, false)
			isolation(b, variant{peer.Noop, 1}, false)
			isolation(b, variant{peer.None, 0}, true)
		}},
	}
}

// rival is a server that takes turns with another.
type rival struct {
	peer.Weir
	on   *peer.Running
	home string // of who gets the mail, "" if it is relayed
	had  int    // messages of earlier turns in that mailbox
}

// isolation has a server of one process and one of several run side by side,
// and gives them work in turns of a length of -seconds, each pair of turns in
// the other order than the last; there are as many pairs as rounds. So both
// meet the same machine, and neither is the younger one.
func isolation(b *bench, v variant, maildir bool) {
	what := v.String()
	if maildir {
		what = "maildir"
	}
	rivals := []*rival{{Weir: peer.Weir{As: peer.One}}, {Weir: peer.Weir{As: peer.Separated}}}
	for _, s := range rivals {
		if err := b.startRival(s, v, maildir); err != nil {
			b.fail(record.Record{Work: "isolation", Peer: s.Name(), Variant: what}, err)
			return
		}
		defer s.on.Stop()
	}
	for turn := 0; turn <= b.rounds; turn++ {
		for i := range rivals {
			s := rivals[(i+turn)%len(rivals)]
			r := record.Record{Work: "isolation", Peer: s.Name(), Variant: what, X: small, Round: turn}
			if turn == 0 { // to warm up
				if err := s.turn(b, r, make(map[string]float64)); err != nil {
					b.fail(r, err)
					return
				}
				continue
			}
			b.try(r, func(values map[string]float64) error { return s.turn(b, r, values) })
		}
	}
}

func (b *bench) startRival(s *rival, v variant, maildir bool) (err error) {
	if err := s.Missing(b.house); err != nil {
		return err
	}
	if maildir {
		s.home = filepath.Join(b.house.Dir, "home-"+s.As)
		const nobody = 65534
		if err := errors.Join(os.MkdirAll(s.home, 0o700), os.Chown(s.home, nobody, nobody)); err != nil {
			return err
		}
	}
	s.on, err = peer.Start(b.ctx, b.house, s.Weir, peer.Setup{Filters: v.filters, Chain: v.chain, Home: s.home})
	return err
}

// turn has the server take mail for a while and be done with it.
func (s *rival) turn(b *bench, r record.Record, values map[string]float64) error {
	m := &mailRun{b: b, on: s.on, job: load.Job{
		Kind: load.Mail, Addr: s.on.Addr, Sessions: 20, Total: endless, Seconds: b.seconds, PerSession: 20, Size: small,
		Tag: fmt.Sprintf("%s-%d", r.Peer, r.Round),
	}}
	if _, err := b.sink.counts(true); err != nil {
		return err
	}
	server, filter := s.on.Processes()
	cpu, fcpu := measure.CPU(server), measure.CPU(filter)
	res, err := runLoad(b.ctx, b.house.Self, m.job)
	if err != nil {
		return err
	}
	if s.home != "" {
		err = s.delivered(b, res.Done)
	} else if counts, e := m.drain(res); e != nil || lost(res, counts, 1) != "" {
		err = errors.Join(e, errors.New(lost(res, counts, 1)))
	}
	if err != nil {
		return err
	}
	server, filter = s.on.Processes()
	n := max(float64(res.Done), 1)
	values["accepted_s"], values["p50_ms"], values["p99_ms"] = float64(res.Done)/res.Seconds, res.Each.P50/1e3, res.Each.P99/1e3
	values["cpu_ms"], values["filter_cpu_ms"] = (measure.CPU(server)-cpu)*1e3/n, (measure.CPU(filter)-fcpu)*1e3/n
	return nil
}

// delivered waits until the mailbox has n messages more. They stay in it: the
// file system takes its time to use again what was removed a moment ago.
func (s *rival) delivered(b *bench, n int) error {
	s.had += n
	for deadline := time.Now().Add(drainTimeout); ; time.Sleep(20 * time.Millisecond) {
		f, err := os.Open(filepath.Join(s.home, "Maildir", "new"))
		if err != nil {
			return err
		}
		names, err := f.Readdirnames(0)
		f.Close()
		switch {
		case err != nil || len(names) == s.had:
			return err
		case len(names) > s.had || time.Now().After(deadline) || b.ctx.Err() != nil:
			return errors.Join(b.ctx.Err(), fmt.Errorf("%d accepted, %d delivered", s.had, len(names)))
		}
	}
}
