package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirmail/weir/bench/record"
)

// variants says what a variant of a workload is.
var variants = map[string]string{
	"none": "no filter", "noop": "1 no-op", "noop2": "2 no-ops", "noop4": "4 no-ops",
	"data": "1 for every line", "data2": "2 for every line", "data4": "4 for every line",
	"clear": "in the clear", "tls": "STARTTLS", "maildir": "no filter, into a maildir",
}

var mailColumns = []column{
	{"delivered/s", "delivered_s", 0, false},
	{"p50 ms", "p50_ms", 1, true}, {"p99 ms", "p99_ms", 1, false},
	{"CPU ms a message", "cpu_ms", 2, false}, {"filters' CPU ms", "filter_cpu_ms", 2, true},
	{"flushes a message", "flushes", 2, true},
}

// mailTable is the table of a workload with mail. Of each row, besides what
// was measured: what part is left of the rate without filter, how many times
// another server's rates weir's are, and what part its processor time is.
func mailTable(f *record.File, works ...string) string {
	var all []group
	for _, w := range works {
		all = append(all, groups(f.Of(w))...)
	}
	// What was measured without filter in the same workload, or else in these.
	bare := slices.Concat(all, groups(f.Of("w2")), groups(f.Of("w1")), groups(f.Of("w3")))
	columns := mailColumns
	if slices.ContainsFunc(all, func(g group) bool { return g.x >= 1<<20 }) {
		columns = append([]column{{"MB/s", "mb_s", 1, false}}, columns...)
	}
	t := &table{head: []string{"filter", "size", "server", "accepted/s"}}
	for _, c := range columns {
		t.head = append(t.head, c.title)
	}
	t.head = append(t.head, "of no filter", "weir accepts ×", "delivers ×", "CPU ÷")
	for _, g := range all {
		weir := find(all, "weir", g.variant, g.x)
		row := []string{variants[g.variant], size(g.x), g.peer, column{decimals: 0}.cell(g.values("accepted_s"))}
		for _, c := range columns {
			row = append(row, c.cell(g.values(c.key)))
		}
		left := "-"
		if g.variant != "none" {
			left = share.cell(g.ratios(find(bare, g.peer, "none", g.x), "accepted_s"))
		}
		t.rows = append(t.rows, append(row, left,
			times(g, weir, "accepted_s"), times(g, weir, "delivered_s"), fraction(g, weir, "cpu_ms")))
	}
	return t.markdown()
}

// share is a column of parts of one.
var share = column{decimals: 2}

// times says how many times a server's value weir's is.
func times(g, weir group, key string) string {
	if g.peer == "weir" {
		return "-"
	}
	return share.cell(weir.ratios(g, key))
}

// fraction says into how many of weir's a server's value can be divided.
func fraction(g, weir group, key string) string {
	if g.peer == "weir" {
		return "-"
	}
	return share.cell(g.ratios(weir, key))
}

func size(bytes float64) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%.0f MB", bytes/(1<<20))
	}
	return fmt.Sprintf("%.0f KB", bytes/(1<<10))
}

// idleTable is W5.
func idleTable(f *record.File) string {
	all := groups(f.Of("w5"))
	t := &table{head: []string{"", "sessions", "server", "KB a session", "MB in all", "MB without", "processes", "weir's ÷"}}
	for _, g := range all {
		weir := find(all, "weir", g.variant, g.x)
		t.rows = append(t.rows, []string{
			variants[g.variant], number(g.x, 0), g.peer,
			column{decimals: 1}.cell(g.values("kb_session")), column{}.cell(g.values("mb")), column{}.cell(g.values("mb_none")),
			column{}.cell(g.values("processes")), fraction(g, weir, "kb_session"),
		})
	}
	return t.markdown()
}

// connectTable is W6.
func connectTable(f *record.File) string {
	all := groups(f.Of("w6"))
	t := &table{head: []string{"filter", "server", "sessions/s", "p50 ms", "p99 ms", "CPU ms a session", "errors", "weir ×"}}
	for _, g := range all {
		weir := find(all, "weir", g.variant, g.x)
		t.rows = append(t.rows, []string{
			variants[g.variant], g.peer, column{}.cell(g.values("sessions_s")),
			column{decimals: 2, brief: true}.cell(g.values("p50_ms")), column{decimals: 1}.cell(g.values("p99_ms")),
			column{decimals: 3}.cell(g.values("cpu_ms")), column{brief: true}.cell(g.values("errors")),
			times(g, weir, "sessions_s"),
		})
	}
	return t.markdown()
}

// questionTable is W7: what filters add to the time of MAIL, and how many
// times that is of what pipes add to a server that does nothing else.
func questionTable(f *record.File) string {
	all := groups(f.Of("w7"))
	t := &table{head: []string{"filter", "server", "MAIL p50 µs", "mean µs", "p99 µs", "added p50 µs", "added mean µs", "of the floor, p50", "of the floor, mean"}}
	for _, g := range all {
		row := []string{variants[g.variant], g.peer, column{decimals: 1}.cell(g.values("p50_us")),
			column{decimals: 1}.cell(g.values("mean_us")), column{decimals: 0}.cell(g.values("p99_us"))}
		floor := find(all, "floor", g.variant, 0)
		added := []string{"-", "-", "-", "-"}
		if g.peer == "pipe" {
			row[0] = "a bare pipe"
		} else if g.variant != "none" {
			for i, key := range []string{"p50_us", "mean_us"} {
				more := g.median(key) - find(all, g.peer, "none", 0).median(key)
				least := floor.median(key) - find(all, "floor", "none", 0).median(key)
				added[i], added[2+i] = number(more, 1), number(more/least, 2)
			}
		}
		t.rows = append(t.rows, append(row, added...))
	}
	return t.markdown()
}

// isolationTable is what a server of several processes does of what one of a
// single process does, with its turns beside the other's.
func isolationTable(f *record.File) string {
	all := groups(f.Of("isolation"))
	t := &table{head: []string{"filter", "server", "accepted/s", "p50 ms", "CPU ms a message", "accepted, of one process's", "CPU, of one process's"}}
	for _, g := range all {
		one := find(all, "weir-one", g.variant, g.x)
		row := []string{variants[g.variant], "one process"}
		if g.peer != one.peer {
			row[1] = "separated"
		}
		for _, c := range []column{{key: "accepted_s"}, {key: "p50_ms", decimals: 1}, {key: "cpu_ms", decimals: 3}} {
			row = append(row, c.middle(g.values(c.key)))
		}
		for _, key := range []string{"accepted_s", "cpu_ms"} {
			cell := "-"
			if g.peer != one.peer {
				cell = column{decimals: 3}.middle(g.ratios(one, key))
			}
			row = append(row, cell)
		}
		t.rows = append(t.rows, row)
	}
	return t.markdown()
}

// busy is the part of the processors, in percent, from which on others are
// worth a word. The kernel's own work is never counted as a program's.
const busy = 10

// about says what the records of works were made with, and what was lost.
func about(f *record.File, works ...string) string {
	var b strings.Builder
	for _, run := range f.Runs {
		of, lost := 0, []string(nil)
		rounds, others := 0, 0.0
		for _, w := range works {
			for _, r := range f.Of(w) {
				if r.Run != run.ID {
					continue
				}
				of++
				rounds = max(rounds, r.Round)
				others = max(others, r.Values["others_pct"])
				if r.Lost != "" {
					lost = append(lost, fmt.Sprintf("**LOST**: %s, %s, round %d: %s", r.Peer, r.Variant, r.Round, r.Lost))
				}
			}
		}
		if of == 0 {
			continue
		}
		var versions []string
		for _, p := range []string{"weir", "postfix", "opensmtpd"} {
			if v := run.Versions[p]; v != "" {
				versions = append(versions, p+" "+v)
			}
		}
		fmt.Fprintf(&b, "%s: `%s`, rounds: %d. %s. %s.\n", run.Begin.Format("2006-01-02 15:04 MST"), run.Command, rounds, run.Machine, strings.Join(versions, ", "))
		if others >= busy {
			fmt.Fprintf(&b, "Other programs had up to %.0f%% of the processors meanwhile.\n", others)
		}
		for _, l := range lost {
			b.WriteString("\n" + l + "\n")
		}
	}
	return b.String()
}
