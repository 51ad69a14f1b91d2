package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirmail/weir/bench/filters"
	"github.com/weirmail/weir/bench/measure"
	"github.com/weirmail/weir/bench/peer"
	"github.com/weirmail/weir/bench/record"
)

// bench is a run that measures.
type bench struct {
	options
	ctx     context.Context
	house   *peer.House
	peers   []peer.Peer
	sink    *sinkProcess
	run     record.Run
	records []record.Record
	failed  []error
}

// work is a workload. Its rounds are run in turn with those of the others, so
// that what is compared was measured in the same minutes.
type work struct {
	name  string
	once  bool // in the first round only
	round func(b *bench, round int)
}

// measured runs the workloads that were chosen and keeps their results.
func measured(ctx context.Context, o options, what string, works []work) error {
	results, err := inModule(o.results)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "weirbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{options: o, ctx: ctx}
	if err := b.prepare(dir); err != nil {
		return err
	}
	defer b.sink.stop()
	if stop := b.nameServer(dir); stop != nil {
		defer stop()
	}
	if what != "peers" {
		b.servers = peer.Weir{}.Name()
	}
	b.choosePeers()
	b.run.Command = command(o, what)
	fmt.Printf("%s\n%v\n", b.run.Machine, b.run.Versions)
	for round := 1; round <= o.rounds; round++ {
		for _, w := range works {
			if chosen(o.only, w.name) && (round == 1 || !w.once) && ctx.Err() == nil {
				w.round(b, round)
			}
		}
	}
	if ctx.Err() != nil {
		// Half of a run must not take the place of a whole one.
		return fmt.Errorf("interrupted, and nothing kept: %w", ctx.Err())
	}
	if len(b.records) == 0 {
		return errors.Join(append(b.failed, fmt.Errorf("nothing was measured; is one of %q a workload of %s?", o.only, what))...)
	}
	return b.keep(results)
}

// command gives what makes the same run anywhere: where files are is left out.
func command(o options, what string) string {
	s := fmt.Sprintf("go run ./bench %s -rounds %d -seconds %v", what, o.rounds, o.seconds)
	if o.only != "" {
		s += " -only " + o.only
	}
	if what == "peers" {
		s += " -peers " + o.servers
	}
	if what == "growth" && o.scale != 1 {
		s += fmt.Sprintf(" -scale %v", o.scale)
	}
	return s
}

// keep writes the records. What was lost is an error, after that.
func (b *bench) keep(path string) error {
	f, err := record.Read(path)
	if err != nil {
		return err
	}
	f.Add(b.run, b.records)
	if err := f.Write(path); err != nil {
		return err
	}
	for _, r := range b.records {
		if r.Lost != "" {
			b.failed = append(b.failed, fmt.Errorf("LOST: %s %s %s, round %d: %s", r.Work, r.Peer, r.Variant, r.Round, r.Lost))
		}
	}
	return errors.Join(b.failed...)
}

// prepare builds and starts what every workload needs.
func (b *bench) prepare(dir string) (err error) {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	h := &peer.House{Dir: dir, Self: self, Weir: b.weir}
	if h.Weir == "" {
		h.Weir = filepath.Join(dir, "weir")
		version, _ := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
		build := exec.Command("go", "build", "-ldflags", "-X main.version="+strings.TrimSpace(string(version)), "-o", h.Weir, "./cmd/weir")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, out)
		}
	} else if h.Weir, err = filepath.Abs(h.Weir); err != nil {
		return err
	}
	if h.Filters, err = filters.Build(dir); err != nil {
		return err
	}
	if h.Cert, err = peer.NewCertificate(dir); err != nil {
		return err
	}
	if b.sink, err = startSink(self); err != nil {
		return err
	}
	h.Sink = b.sink.addr
	b.house = h
	b.run = record.Run{
		ID: time.Now().UTC().Format("20060102T150405Z"), Begin: time.Now().UTC().Truncate(time.Second),
		Machine: measure.Machine(), Versions: make(map[string]string),
	}
	return nil
}

// nameServer starts the name server that the servers see. It takes root.
func (b *bench) nameServer(dir string) (stop func()) {
	if os.Geteuid() != 0 {
		fmt.Println("not root: weir is measured alone, and asks the name servers of the machine")
		return nil
	}
	text, stop, err := peer.NameServer()
	if err == nil {
		b.house.Resolv = filepath.Join(dir, "resolv.conf")
		err = os.WriteFile(b.house.Resolv, []byte(text), 0o644)
	}
	if err == nil {
		err = b.house.TryInside() // root of a container may lack the right
	}
	if err != nil {
		fmt.Println("no name server of our own, so weir is measured alone:", err)
		b.house.Resolv = ""
	}
	return stop
}

// choosePeers takes those peers that were asked for and can run here.
func (b *bench) choosePeers() {
	for _, p := range peer.All() {
		if !chosen(b.servers, p.Name()) {
			continue
		}
		if err := p.Missing(b.house); err != nil {
			fmt.Printf("without %s: %v\n", p.Name(), err)
			continue
		}
		b.peers = append(b.peers, p)
		b.run.Versions[p.Name()] = p.Version(b.house)
	}
}

// add keeps a record and shows it.
func (b *bench) add(r record.Record) {
	b.records = append(b.records, r)
	var s strings.Builder
	fmt.Fprintf(&s, "%s %-9s %-6s", r.Work, r.Peer, r.Variant)
	if r.X != 0 {
		fmt.Fprintf(&s, " %9.0f", r.X)
	}
	names := make([]string, 0, len(r.Values))
	for name := range r.Values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&s, "  %s %.4g", name, r.Values[name])
	}
	if r.Lost != "" {
		fmt.Fprintf(&s, "\n\n*** LOST: %s ***\n", r.Lost)
	}
	fmt.Println(s.String())
}

// try measures something that is more than a run with mail, and adds it.
func (b *bench) try(r record.Record, do func(values map[string]float64) error) {
	if b.ctx.Err() != nil {
		return
	}
	r.Values = make(map[string]float64)
	if err := do(r.Values); err != nil {
		b.fail(r, err)
		return
	}
	b.add(r)
}

// fail notes that a measurement could not be made; the others go on.
func (b *bench) fail(r record.Record, err error) {
	err = fmt.Errorf("%s %s %s: %w", r.Work, r.Peer, r.Variant, err)
	fmt.Println("***", err)
	b.failed = append(b.failed, err)
}
