package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/weirmail/weir/bench/peer"
	"github.com/weirmail/weir/bench/record"
)

// claimWorks are what is promised besides: the time to the banner, questions
// through one filter, lines through the SDKs.
func claimWorks() []work {
	return []work{
		{"start", false, starts},
		{"questions", false, goBench("questions", "./internal/mailflow/filter", "Ask1000$")},
		{"sdk", false, goBench("sdk", "./sdk/internal/load", "Lines")},
	}
}

// startsEach is how often a server is started in a round.
const startsEach = 5

// starts is how long a server takes from its start to its banner.
func starts(b *bench, round int) {
	for _, v := range []variant{{peer.None, 0}, {peer.Noop, 1}, {peer.Noop, 4}} {
		for range startsEach {
			r := record.Record{Work: "start", Peer: "weir", Variant: v.String(), Round: round}
			on, err := peer.Start(b.ctx, b.house, peer.Weir{}, peer.Setup{Filters: v.filters, Chain: v.chain})
			if err != nil {
				b.fail(r, err)
				return
			}
			on.Stop()
			r.Values = map[string]float64{"ms": float64(on.Ready.Microseconds()) / 1e3}
			b.add(r)
		}
	}
}

// goBench runs Go benchmarks and keeps all that they say.
func goBench(name, pkg, pattern string) func(*bench, int) {
	return func(b *bench, round int) {
		r := record.Record{Work: name, Peer: "weir", Round: round}
		out, err := exec.CommandContext(b.ctx, "go", "test", "-run", "^$", "-bench", pattern, pkg).CombinedOutput()
		if err != nil {
			b.fail(r, fmt.Errorf("%w\n%s", err, out))
			return
		}
		for line := range strings.Lines(string(out)) {
			if name, values, ok := benchLine(line); ok {
				r.Variant, r.Values = name, values
				b.add(r)
			}
		}
	}
}

// benchLine reads a line as "BenchmarkLines/go-2  1000  230 ns/op  330 MB/s".
func benchLine(line string) (name string, values map[string]float64, ok bool) {
	f := strings.Fields(line)
	if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
		return "", nil, false
	}
	name = strings.TrimPrefix(f[0], "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		name = name[:i] // without the number of processors
	}
	if i := strings.IndexByte(name, '/'); i > 0 {
		name = name[i+1:]
	}
	values = make(map[string]float64)
	for i := 2; i+1 < len(f); i += 2 {
		v, err := strconv.ParseFloat(f[i], 64)
		if err != nil {
			return "", nil, false
		}
		values[f[i+1]] = v
	}
	return name, values, true
}
