package measure

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// State is what the machine as a whole has done up to a moment.
type State struct {
	Total, Idle, Steal float64 // processor time in ticks; Idle is with waiting for disks
	Flushes            float64 // flushes of all disks
}

// Now reads the machine's State.
func Now() State {
	var s State
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := bytes.Cut(b, []byte("\n"))
	for i, f := range strings.Fields(string(line)) {
		if i == 0 || i > 8 { // user nice system idle iowait irq softirq steal
			continue
		}
		n, _ := strconv.ParseFloat(f, 64)
		s.Total += n
		switch i {
		case 4, 5:
			s.Idle += n
		case 8:
			s.Steal = n
		}
	}
	disks, _ := os.ReadFile("/proc/diskstats")
	s.Flushes = flushes(disks)
	return s
}

// disk is the name of a whole disk, not of a part of one.
var disk = regexp.MustCompile(`^(x?vd[a-z]+|sd[a-z]+|nvme\d+n\d+|mmcblk\d+)$`)

// flushes sums the flush requests that have completed.
func flushes(diskstats []byte) float64 {
	sum := 0.0
	for line := range bytes.Lines(diskstats) {
		if f := strings.Fields(string(line)); len(f) > 18 && disk.MatchString(f[2]) {
			n, _ := strconv.ParseFloat(f[18], 64)
			sum += n
		}
	}
	return sum
}

// Shares gives what parts of the processors' time was idle and what was taken
// by other machines on the same hardware, from s to later, in percent.
func (s State) Shares(later State) (idle, steal float64) {
	total := max(later.Total-s.Total, 1)
	return 100 * (later.Idle - s.Idle) / total, 100 * (later.Steal - s.Steal) / total
}

// Others gives what part of the processors' time, in percent, went from s to
// later to others than those who had so many seconds of it.
func (s State) Others(later State, ours float64) float64 {
	total := max(later.Total-s.Total, 1)
	busy := total - (later.Idle - s.Idle) - (later.Steal - s.Steal)
	return max(100*(busy-ours*userHZ)/total, 0)
}

// Machine describes the machine in one line.
func Machine() string {
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	model := "unknown processor"
	for line := range bytes.Lines(cpu) {
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	mem, _ := os.ReadFile("/proc/meminfo")
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d x %s, %.0f GiB, Linux %s, %s", runtime.NumCPU(), model,
		kilobytes(mem, "MemTotal:")/(1<<20), strings.TrimSpace(string(release)), runtime.Version())
}
