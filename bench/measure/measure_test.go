package measure

import (
	"bufio"
	"math"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestDistribution(t *testing.T) {
	var all []time.Duration
	for i := 100; i >= 1; i-- {
		all = append(all, time.Duration(i)*time.Microsecond)
	}
	if got, want := Distribution(all), (Dist{N: 100, Mean: 50.5, P50: 50, P90: 90, P99: 99, Max: 100}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := Distribution([]time.Duration{time.Millisecond}); got.P50 != 1000 || got.P99 != 1000 {
		t.Errorf("of one: %+v", got)
	}
	if got := Distribution(nil); got != (Dist{}) {
		t.Errorf("of none: %+v", got)
	}
}

func TestMiddle(t *testing.T) {
	if lower, upper := Middle([]float64{8, 1, 7, 2, 6, 3, 5, 4}); lower != 2 || upper != 6 {
		t.Errorf("%v to %v", lower, upper)
	}
	if lower, upper := Middle(nil); !math.IsNaN(lower) || !math.IsNaN(upper) {
		t.Errorf("of nothing: %v to %v", lower, upper)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in               []float64
		mid, least, most float64
	}{
		{[]float64{3, 1, 2}, 2, 1, 3},
		{[]float64{4, 1, 2, 3}, 2.5, 1, 4},
		{[]float64{7}, 7, 7, 7},
	} {
		in := slices.Clone(c.in)
		if mid, least, most := Median(c.in); mid != c.mid || least != c.least || most != c.most || !slices.Equal(in, c.in) {
			t.Errorf("%v: %v, %v to %v", c.in, mid, least, most)
		}
	}
	if mid, _, _ := Median(nil); !math.IsNaN(mid) {
		t.Errorf("of none: %v", mid)
	}
}

// TestChild measures a child that has a child and some work.
func TestChild(t *testing.T) {
	cmd := exec.Command("sh", "-c", `i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 60 & echo ready; wait`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(out).ReadString('\n')
	tree := Tree(cmd.Process.Pid)
	if len(tree) != 2 || Comm(tree[0]) != "sh" {
		t.Errorf("tree %v", tree)
	}
	if cpu := CPU(tree); cpu <= 0 {
		t.Errorf("%v s of processor time", cpu)
	}
	if pss, rss := Memory(tree), Resident(tree); pss <= 0 || rss < pss {
		t.Errorf("memory %v, resident %v", pss, rss)
	}
	for _, pid := range slices.Backward(tree) {
		if !Alive(pid) {
			t.Errorf("%d does not run", pid)
		}
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	}
	_ = cmd.Wait()
	if Alive(tree[0]) || Tree(tree[0]) != nil || CPU(tree[:1]) != 0 {
		t.Error("it has ended and seems to run")
	}
}

func TestFlushes(t *testing.T) {
	stats := " 254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 77 18\n" +
		" 254 1 vda1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 50 18\n" +
		" 259 0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 3 18\n"
	if got := flushes([]byte(stats)); got != 80 {
		t.Errorf("%v flushes", got)
	}
}

func TestShares(t *testing.T) {
	idle, steal := State{Total: 100, Idle: 50, Steal: 1}.Shares(State{Total: 300, Idle: 100, Steal: 11})
	if idle != 25 || steal != 5 {
		t.Errorf("idle %v, steal %v", idle, steal)
	}
	if others := (State{Total: 100, Idle: 50, Steal: 1}).Others(State{Total: 300, Idle: 100, Steal: 11}, 0.4); others != 50 {
		t.Errorf("others have %v", others) // of 200 ticks 50 were idle, 10 stolen, 40 ours
	}
	if Machine() == "" || Now().Total <= 0 {
		t.Error("the machine says nothing of itself")
	}
}
