// Package report writes what was measured into docs/performance.md: tables in
// Markdown, and plots in SVG beside it.
//
// The page is written by hand but for what stands between two comments, as
// <!-- w1 --> and <!-- /w1 -->, which is a table's place. Nothing is measured
// here and nothing judged.
package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/weirmail/weir/bench/measure"
	"github.com/weirmail/weir/bench/record"
)

// table is a table in Markdown. The first column is text, the others numbers.
type table struct {
	head []string
	rows [][]string
}

func (t *table) markdown() string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	rule := slices.Repeat([]string{"---:"}, len(t.head))
	rule[0] = "---"
	line(rule)
	for _, r := range t.rows {
		line(r)
	}
	return b.String()
}

// column is a value of records in a table.
type column struct {
	title    string
	key      string
	decimals int
	brief    bool // the median alone
}

// cell shows the median of values, and the least and the greatest if there
// are several.
func (c column) cell(all []float64) string {
	mid, least, most := measure.Median(all)
	return c.spread(len(all), mid, least, most)
}

// middle shows the median of many values, and what their middle half lies
// between.
func (c column) middle(all []float64) string {
	mid, _, _ := measure.Median(all)
	lower, upper := measure.Middle(all)
	return c.spread(len(all), mid, lower, upper)
}

func (c column) spread(n int, mid, from, to float64) string {
	switch {
	case n == 0:
		return "-"
	case n == 1 || c.brief:
		return number(mid, c.decimals)
	}
	return fmt.Sprintf("%s (%s–%s)", number(mid, c.decimals), number(from, c.decimals), number(to, c.decimals))
}

// number writes a number with separators between thousands.
func number(v float64, decimals int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	s := fmt.Sprintf("%.*f", decimals, math.Abs(v))
	whole, rest, _ := strings.Cut(s, ".")
	var b strings.Builder
	if v < 0 && strings.Trim(s, "0.") != "" {
		b.WriteByte('-')
	}
	for i, d := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	if rest != "" {
		b.WriteString("." + rest)
	}
	return b.String()
}

// group is the records of all rounds of one thing.
type group struct {
	work, peer, variant string
	x                   float64
	records             []record.Record
}

// groups puts the rounds of each thing together, in the order in which they
// were first measured. What lost mail is left out.
func groups(records []record.Record) []group {
	var all []group
	for _, r := range records {
		if r.Lost != "" {
			continue
		}
		same := func(g group) bool {
			return g.work == r.Work && g.peer == r.Peer && g.variant == r.Variant && g.x == r.X
		}
		i := slices.IndexFunc(all, same)
		if i < 0 {
			i = len(all)
			all = append(all, group{work: r.Work, peer: r.Peer, variant: r.Variant, x: r.X})
		}
		all[i].records = append(all[i].records, r)
	}
	return all
}

// values gives a value of all rounds.
func (g group) values(key string) []float64 {
	var all []float64
	for _, r := range g.records {
		if v, ok := r.Values[key]; ok {
			all = append(all, v)
		}
	}
	return all
}

// ratios gives how many times other's value goes into g's, for each round that
// both have: what a round has in common, as the load of the machine, then
// falls out.
func (g group) ratios(other group, key string) []float64 {
	var all []float64
	for _, r := range g.records {
		i := slices.IndexFunc(other.records, func(o record.Record) bool { return o.Round == r.Round })
		if i < 0 || other.records[i].Values[key] == 0 {
			continue
		}
		all = append(all, r.Values[key]/other.records[i].Values[key])
	}
	return all
}

// median gives the median of a value over the rounds; not a number without.
func (g group) median(key string) float64 {
	mid, _, _ := measure.Median(g.values(key))
	return mid
}

// find gives the first group with these names and this x, an empty one if
// there is none.
func find(all []group, peer, variant string, x float64) group {
	for _, g := range all {
		if g.peer == peer && g.variant == variant && g.x == x {
			return g
		}
	}
	return group{}
}
