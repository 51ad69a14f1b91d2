package measure

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// userHZ is the unit in which /proc tells processor time; the kernel's
// interface has had 100 of them in a second ever since.
const userHZ = 100

// Tree gives pid and all processes below it that exist now.
func Tree(pid int) []int {
	if _, err := os.Stat(proc(pid, "")); err != nil {
		return nil
	}
	all := []int{pid}
	tasks, _ := filepath.Glob(proc(pid, "task/*/children"))
	for _, task := range tasks {
		children, _ := os.ReadFile(task)
		for _, f := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, Tree(child)...)
			}
		}
	}
	return all
}

// Comm gives the name of a process, "" if there is none.
func Comm(pid int) string {
	b, _ := os.ReadFile(proc(pid, "comm"))
	return strings.TrimSpace(string(b))
}

// Alive reports whether a process runs, which one that only waits to be
// collected does not.
func Alive(pid int) bool {
	f := stat(pid)
	return len(f) > 0 && f[0] != "Z" && f[0] != "X"
}

// CPU gives the processor time, user and system, of processes and of their
// children that have ended and were collected, in seconds. So a process that
// ends between two calls is not lost as long as its parent is measured.
func CPU(pids []int) float64 {
	ticks := 0
	for _, pid := range pids {
		if f := stat(pid); len(f) > 14 {
			for _, s := range f[11:15] { // utime stime cutime cstime
				n, _ := strconv.Atoi(s)
				ticks += n
			}
		}
	}
	return float64(ticks) / userHZ
}

// Memory gives the bytes of memory that processes have in use, a page that
// several share counted once between them (PSS). It includes none of the
// kernel's memory, such as that of sockets.
func Memory(pids []int) float64 {
	sum := 0.0
	for _, pid := range pids {
		b, err := os.ReadFile(proc(pid, "smaps_rollup"))
		if err != nil {
			continue
		}
		sum += kilobytes(b, "Pss:") * 1024
	}
	return sum
}

// Resident gives the bytes of resident memory of processes. It is quick, and
// counts what several share once for each.
func Resident(pids []int) float64 {
	sum := 0.0
	for _, pid := range pids {
		b, _ := os.ReadFile(proc(pid, "statm"))
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseFloat(f[1], 64)
			sum += pages * float64(os.Getpagesize())
		}
	}
	return sum
}

// stat gives the fields of /proc/PID/stat from the state on.
func stat(pid int) []string {
	b, err := os.ReadFile(proc(pid, "stat"))
	if err != nil {
		return nil
	}
	// The name before may hold blanks and brackets.
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// kilobytes finds a line as "Name:   123 kB".
func kilobytes(text []byte, name string) float64 {
	for line := range bytes.Lines(text) {
		if f := strings.Fields(string(line)); len(f) > 1 && f[0] == name {
			n, _ := strconv.ParseFloat(f[1], 64)
			return n
		}
	}
	return 0
}

func proc(pid int, file string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), file)
}
