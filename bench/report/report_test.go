package report

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/bench/record"
)

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		v        float64
		decimals int
		want     string
	}{
		{0, 0, "0"}, {999, 0, "999"}, {1000, 0, "1,000"}, {1234567.89, 1, "1,234,567.9"}, {0.5, 2, "0.50"},
		{-1234.5, 1, "-1,234.5"}, {-0.001, 1, "0.0"}, {math.NaN(), 1, "-"}, {math.Inf(1), 0, "-"},
	} {
		if got := number(c.v, c.decimals); got != c.want {
			t.Errorf("%v with %d: %q, want %q", c.v, c.decimals, got, c.want)
		}
	}
}

func TestCell(t *testing.T) {
	for _, c := range []struct {
		c    column
		in   []float64
		want string
	}{
		{column{}, nil, "-"},
		{column{decimals: 1}, []float64{2}, "2.0"},
		{column{}, []float64{3, 1, 2}, "2 (1–3)"},
		{column{brief: true}, []float64{3, 1, 2}, "2"},
	} {
		if got := c.c.cell(c.in); got != c.want {
			t.Errorf("%v: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestIsolationTable(t *testing.T) {
	f := new(record.File)
	for n := range 4 {
		for peer, v := range map[string]float64{"weir-one": 2, "weir-separated": 3} {
			v *= float64(1 + n) // what a turn has in common falls out
			f.Records = append(f.Records, record.Record{Work: "isolation", Peer: peer, Variant: "maildir", X: 4096, Round: n, Values: map[string]float64{"accepted_s": v, "cpu_ms": v}})
		}
	}
	got := isolationTable(f)
	for _, want := range []string{"| no filter, into a maildir | one process | 5 (2–6) |", "| - | - |", "| separated | 8 (3–9) |", "| 1.500 (1.500–1.500) | 1.500 (1.500–1.500) |"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// rounds are three rounds of W1 in which weir does 4 times what postfix does,
// and one in which postfix lost mail.
func rounds() *record.File {
	f := new(record.File)
	var all []record.Record
	for n := range 3 {
		v := float64(n)
		all = append(all,
			record.Record{Work: "w1", Peer: "weir", Variant: "none", X: 4096, Round: n, Values: map[string]float64{"accepted_s": 4000 + v, "delivered_s": 3000, "cpu_ms": 0.25}},
			record.Record{Work: "w1", Peer: "postfix", Variant: "none", X: 4096, Round: n, Values: map[string]float64{"accepted_s": 1000.25, "delivered_s": 600, "cpu_ms": 2}},
			record.Record{Work: "w2", Peer: "weir", Variant: "noop", X: 4096, Round: n, Values: map[string]float64{"accepted_s": 3600.9}})
	}
	all = append(all, record.Record{Work: "w1", Peer: "postfix", Variant: "none", X: 4096, Round: 4, Lost: "9 of 10", Values: map[string]float64{"accepted_s": 9e9}})
	f.Add(record.Run{ID: "x", Begin: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), Command: "bench peers", Machine: "a machine", Versions: map[string]string{"weir": "1.0"}}, all)
	return f
}

func TestMailTable(t *testing.T) {
	f := rounds()
	got := mailTable(f, "w1")
	for _, want := range []string{
		"| no filter | 4 KB | weir | 4,001 (4,000–4,002) |",
		"| no filter | 4 KB | postfix | 1,000 (1,000–1,000) |",
		"| - | 4.00 (4.00–4.00) | 5.00 (5.00–5.00) | 8.00 (8.00–8.00) |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := mailTable(f, "w2"); !strings.Contains(got, "| 0.90 (0.90–0.90) |") {
		t.Errorf("the share of the rate without filter is not in\n%s", got)
	}
	if got := about(f, "w1"); !strings.Contains(got, "**LOST**: postfix, none, round 4: 9 of 10") ||
		!strings.Contains(got, "2026-01-02 03:04 UTC: `bench peers`, rounds: 4. a machine. weir 1.0.") {
		t.Errorf("about:\n%s", got)
	}
}

func TestQuestionTable(t *testing.T) {
	f := new(record.File)
	of := func(peer, variant string, p50 float64) record.Record {
		return record.Record{Work: "w7", Peer: peer, Variant: variant, Values: map[string]float64{"p50_us": p50, "mean_us": 2 * p50}}
	}
	f.Add(record.Run{ID: "x"}, []record.Record{of("pipe", "none", 7), of("floor", "none", 20), of("weir", "none", 40), of("floor", "noop", 50), of("weir", "noop", 85)})
	if got, want := questionTable(f), "| 1 no-op | weir | 85.0 | 170.0 | - | 45.0 | 90.0 | 1.50 | 1.50 |"; !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
}

// wellFormed reads a plot as XML, and counts what is drawn.
func wellFormed(t *testing.T, svg string) map[string]int {
	t.Helper()
	seen := make(map[string]int)
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return seen
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := tok.(xml.StartElement); ok {
			seen[e.Name.Local]++
		}
	}
}

func TestPlot(t *testing.T) {
	p := plot{title: `a & "b"`, x: "<x>", y: "y", guide: true, series: []series{
		{"one", []point{{1, 2}, {10, 30}, {1000, 5}}}, {"two", []point{{1, 0.004}, {0.5, 0}}},
	}}
	svg := p.svg()
	if seen := wellFormed(t, svg); seen["circle"] != 5 {
		t.Errorf("%v", seen)
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("not all is a number:\n%s", svg)
	}
	wellFormed(t, plot{}.svg())
}

func TestAxis(t *testing.T) {
	a := span([]float64{3, 250, 0})
	if a.from != 1 || math.Abs(a.to-1000) > 1e-9 || len(a.ticks()) != 4 {
		t.Errorf("%+v, ticks %v", a, a.ticks())
	}
	if a.part(1) != 0 || math.Abs(a.part(1000)-1) > 1e-9 || a.part(0) != 0 {
		t.Errorf("parts of %+v", a)
	}
	if a := span([]float64{5}); a.to/a.from < 9 {
		t.Errorf("of one value: %+v", a)
	}
}

// TestWrite renders into the page as it is in docs, which has a place for all.
func TestWrite(t *testing.T) {
	page, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := t.TempDir()
	if err := os.WriteFile(filepath.Join(docs, "performance.md"), page, 0o644); err != nil {
		t.Fatal(err)
	}
	f := new(record.File)
	var all []record.Record
	for _, p := range parts() {
		for _, w := range p.works {
			for _, x := range []float64{0, 10, 100} {
				all = append(all, record.Record{Work: w, Peer: "weir", Variant: "none", X: x, Values: map[string]float64{"cpu_ms": 1, "start_s": 2, "peak_mb": 3, "begun_mb": 4, "accepted_s": 5}})
			}
		}
	}
	f.Add(record.Run{ID: "x", Command: "all of it"}, all)
	if err := Write(f, docs); err != nil {
		t.Fatal(err)
	}
	once, _ := os.ReadFile(filepath.Join(docs, "performance.md"))
	if n := strings.Count(string(once), "`all of it`"); n != len(parts()) {
		t.Errorf("%d of %d parts are in the page", n, len(parts()))
	}
	for _, g := range growths {
		for _, v := range g.views {
			svg, err := os.ReadFile(filepath.Join(docs, "performance", g.file(v)))
			if err != nil {
				t.Error(err)
				continue
			}
			wellFormed(t, string(svg))
			if !strings.Contains(string(once), "(performance/"+g.file(v)+")") {
				t.Errorf("%s is not in the page", g.file(v))
			}
		}
	}
	if err := Write(f, docs); err != nil {
		t.Fatal(err)
	}
	if twice, _ := os.ReadFile(filepath.Join(docs, "performance.md")); string(twice) != string(once) {
		t.Error("written again it is another page")
	}
	if _, err := replace("no place", "w1", ""); err == nil {
		t.Error("a page without a place was written")
	}
}
