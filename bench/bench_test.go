package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirmail/weir/bench/load"
	"github.com/weirmail/weir/bench/record"
	"github.com/weirmail/weir/bench/sink"
	"github.com/weirmail/weir/test/weirtest"
)

// TestMain is this program in another role, if it was started as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"load", "sink", "floor", "inside"}, os.Args[1]) {
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestMeasured runs workloads of each kind for a moment, with the real server.
func TestMeasured(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no C compiler")
	}
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or each process that ends takes a second
	t.Chdir("..")
	results := filepath.Join(t.TempDir(), "results.jsonl")
	weir := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.Command("go", "build", "-o", weir, "./cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	weirtest.Open(t, dir)
	o := options{rounds: 1, seconds: 0.05, scale: 0.001, servers: "weir", weir: weir, dir: dir, results: results}
	for _, c := range []struct {
		works []work
		only  string
		want  int
	}{
		{peerWorks(), "w2,w7", 2 + 7},
		{growthWorks(), "memory", 1},
	} {
		o.only = c.only
		if err := measured(t.Context(), o, "peers", c.works); err != nil {
			t.Fatal(err)
		}
		f, err := record.Read(results)
		if err != nil {
			t.Fatal(err)
		}
		run := f.Runs[len(f.Runs)-1]
		n := 0
		for _, r := range f.Records {
			if r.Run == run.ID {
				n++
			}
		}
		if n != c.want || run.Versions["weir"] == "" || run.Machine == "" {
			t.Errorf("%s: %d records, want %d, of %+v", c.only, n, c.want, run)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(o.dir, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLost(t *testing.T) {
	for _, c := range []struct {
		name             string
		done, errs, each int
		c                sink.Counts
		lost             bool
	}{
		{"all", 10, 0, 1, sink.Counts{Messages: 10, Unique: 10, Recipients: 10}, false},
		{"one less", 10, 0, 1, sink.Counts{Messages: 9, Unique: 9, Recipients: 9}, true},
		{"one less, one twice", 10, 0, 1, sink.Counts{Messages: 10, Unique: 9, Recipients: 10}, true},
		{"one twice", 10, 0, 1, sink.Counts{Messages: 11, Unique: 10, Recipients: 11}, true},
		{"one more than was accepted", 10, 0, 1, sink.Counts{Messages: 11, Unique: 11, Recipients: 11}, true},
		{"one whose 250 did not arrive", 10, 1, 1, sink.Counts{Messages: 11, Unique: 11, Recipients: 11}, false},
		{"a recipient", 10, 0, 3, sink.Counts{Messages: 10, Unique: 10, Recipients: 29}, true},
		{"in two transactions", 10, 0, 3, sink.Counts{Messages: 20, Unique: 10, Recipients: 30}, false},
	} {
		if got := lost(load.Result{Done: c.done, Errors: c.errs}, c.c, c.each); (got != "") != c.lost {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestBenchLine(t *testing.T) {
	name, values, ok := benchLine("BenchmarkLines/go-2 \t  1000\t 230.5 ns/op\t 330.1 MB/s\t  4 lines/s\n")
	want := map[string]float64{"ns/op": 230.5, "MB/s": 330.1, "lines/s": 4}
	if d := cmp.Diff(want, values); !ok || name != "go" || d != "" {
		t.Errorf("%q %v %v", name, ok, d)
	}
	for _, line := range []string{"ok  \tpkg\t1.2s", "goos: linux", "BenchmarkX", "--- SKIP: BenchmarkLines/perl", "BenchmarkX-2 1 a b"} {
		if _, _, ok := benchLine(line); ok {
			t.Errorf("%q is a result", line)
		}
	}
}

func TestSteps(t *testing.T) {
	for scale, want := range map[float64][]int{1: {1, 10, 100}, 0.5: {1, 10}, 0.1: {1, 10}, 0: {1}} {
		b := &bench{options: options{scale: scale}}
		if d := cmp.Diff(want, b.steps(1, 10, 100)); d != "" {
			t.Errorf("scale %v: %s", scale, d)
		}
	}
}

func TestChosen(t *testing.T) {
	for list, want := range map[string]bool{"": true, "w1": true, "w2, W1": true, "w11": false} {
		if chosen(list, "w1") != want {
			t.Errorf("%q", list)
		}
	}
}
