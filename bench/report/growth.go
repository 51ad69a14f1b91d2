package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/weirmail/weir/bench/record"
)

// growth is a table and a plot of what grows with what.
type growth struct {
	work, x string // the workload, and what grows
	views   []view
	columns []column
	each    bool // also the processor time for each x
	guide   bool // show what growth in proportion would be
	names   map[string]string
}

// view is what a plot shows.
type view struct{ key, unit string }

var (
	cpuView    = view{"cpu_ms", "CPU ms a message"}
	memoryView = view{"peak_mb", "most memory MB"}
)

var growths = []growth{
	{
		work: "sessions", x: "sessions at once", views: []view{cpuView, memoryView},
		columns: []column{
			{"messages/s", "accepted_s", 0, false}, {"p50 ms", "p50_ms", 1, true}, {"p99 ms", "p99_ms", 1, true},
			{"CPU ms a message", "cpu_ms", 3, false}, {"most memory MB", "peak_mb", 0, false},
		},
	}, {
		work: "filters", x: "filters", views: []view{cpuView},
		columns: []column{
			{"messages/s", "accepted_s", 0, false}, {"p50 ms", "p50_ms", 1, true},
			{"CPU ms a message", "cpu_ms", 3, false}, {"filters' CPU ms", "filter_cpu_ms", 3, true},
		},
		names: map[string]string{"noop": "asked at every phase", "data": "given every line"},
	}, {
		work: "recipients", x: "recipients of a message", views: []view{cpuView}, each: true, guide: true,
		columns: []column{{"messages/s", "accepted_s", 1, false}, {"p50 ms", "p50_ms", 1, true}, {"CPU ms a message", "cpu_ms", 3, false}},
	}, {
		work: "deferred", x: "messages that wait",
		views: []view{{"start_s", "seconds to the banner"}, {"begun_mb", "memory after the start MB"}, {"accepted_s", "new mail/s"}},
		columns: []column{
			{"to the banner s", "start_s", 3, false}, {"memory after it MB", "begun_mb", 0, false}, {"most memory MB", "peak_mb", 0, false},
			{"new mail/s", "accepted_s", 0, false}, {"p99 ms", "p99_ms", 1, true}, {"CPU ms a message", "cpu_ms", 3, false},
		},
	}, {
		work: "size", x: "KB of a message", views: []view{cpuView, memoryView}, each: true, guide: true,
		columns: []column{
			{"messages/s", "accepted_s", 1, false}, {"MB/s", "mb_s", 1, false}, {"p50 ms", "p50_ms", 1, true},
			{"CPU ms a message", "cpu_ms", 3, false}, {"most memory MB", "peak_mb", 0, false},
		},
	}, {
		work: "memory", x: "sessions that send 1 MB at once", views: []view{memoryView},
		columns: []column{{"most memory MB", "peak_mb", 0, false}, {"MB/s", "mb_s", 0, true}, {"CPU ms a message", "cpu_ms", 2, true}},
	},
}

// name says what a line of the plot is.
func (g growth) name(variant string) string {
	if n := g.names[variant]; n != "" {
		return n
	}
	return variants[variant]
}

// table is the growth as a table.
func (g growth) table(f *record.File) string {
	t := &table{head: []string{"", g.x}}
	for _, c := range g.columns {
		t.head = append(t.head, c.title)
	}
	if g.each {
		t.head = append(t.head, "CPU µs for each")
	}
	for _, of := range groups(f.Of(g.work)) {
		row := []string{g.name(of.variant), number(of.x, 0)}
		for _, c := range g.columns {
			row = append(row, c.cell(of.values(c.key)))
		}
		if g.each {
			row = append(row, number(of.median("cpu_ms")*1000/of.x, 1))
		}
		t.rows = append(t.rows, row)
	}
	return t.markdown()
}

// file is the name of the plot of a view.
func (g growth) file(v view) string {
	if v == g.views[0] {
		return g.work + ".svg"
	}
	return g.work + "-" + strings.ReplaceAll(v.key, "_", "-") + ".svg"
}

// plot is the growth as a plot. A logarithmic axis has no zero: what was
// measured without any is in the table.
func (g growth) plot(f *record.File, v view) plot {
	p := plot{title: fmt.Sprintf("%s, by %s", v.unit, g.x), x: g.x, y: v.unit, guide: g.guide && v == cpuView}
	for _, of := range groups(f.Of(g.work)) {
		y := of.median(v.key)
		if of.x <= 0 || math.IsNaN(y) {
			continue
		}
		i := 0
		for i < len(p.series) && p.series[i].name != g.name(of.variant) {
			i++
		}
		if i == len(p.series) {
			p.series = append(p.series, series{name: g.name(of.variant)})
		}
		p.series[i].at = append(p.series[i].at, point{of.x, y})
	}
	return p
}

// claimTable is a table of one value of what has no more to it.
func claimTable(f *record.File, work, what string, columns ...column) string {
	t := &table{head: []string{what}}
	for _, c := range columns {
		t.head = append(t.head, c.title)
	}
	for _, g := range groups(f.Of(work)) {
		name := g.variant
		if n := variants[name]; n != "" {
			name = n
		}
		row := []string{name}
		for _, c := range columns {
			row = append(row, c.cell(g.values(c.key)))
		}
		t.rows = append(t.rows, row)
	}
	return t.markdown()
}
