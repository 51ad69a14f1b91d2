package report

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// plot is a diagram of a few lines. Both axes are logarithmic: equal work for
// each unit is then a straight line upwards by one decade in a decade.
type plot struct {
	title, x, y string
	series      []series
	guide       bool // show how y would grow if it grew as x does
}

// series is a line.
type series struct {
	name string
	at   []point
}

type point struct{ x, y float64 }

// The size of a plot and of the margins around its field.
const (
	width, height = 720, 420
	left, right   = 80, 44
	top, bottom   = 44, 92
)

// colours are told apart by people who see few of them, too.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"}

// svg draws the plot.
func (p plot) svg() string {
	xs, ys := span(p.values(func(q point) float64 { return q.x })), span(p.values(func(q point) float64 { return q.y }))
	px := func(v float64) float64 { return left + xs.part(v)*(width-left-right) }
	py := func(v float64) float64 { return height - bottom - ys.part(v)*(height-top-bottom) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	label(&b, width/2, 24, "middle", p.title, `font-size="16"`)
	for _, v := range xs.ticks() {
		fmt.Fprintf(&b, `<path d="M%.1f %d V%d" stroke="#ddd"/>`+"\n", px(v), top, height-bottom)
		label(&b, px(v), height-bottom+18, "middle", short(v), "")
	}
	for _, v := range ys.ticks() {
		fmt.Fprintf(&b, `<path d="M%d %.1f H%d" stroke="#ddd"/>`+"\n", left, py(v), width-right)
		label(&b, left-8, py(v)+4, "end", short(v), "")
	}
	fmt.Fprintf(&b, `<path d="M%d %d V%d H%d" fill="none" stroke="black"/>`+"\n", left, top, height-bottom, width-right)
	label(&b, float64(left+width-right)/2, height-bottom+40, "middle", p.x, "")
	label(&b, 0, 0, "middle", p.y, fmt.Sprintf(`transform="translate(20 %d) rotate(-90)"`, (top+height-bottom)/2))
	if p.guide && len(p.series) > 0 {
		p.drawGuide(&b, xs, ys, px, py)
	}
	at := float64(left)
	for i, s := range p.series {
		colour := colours[i%len(colours)]
		var path strings.Builder
		for k, q := range s.at {
			fmt.Fprintf(&path, "%c%.1f %.1f ", "ML"[min(k, 1)], px(q.x), py(q.y))
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"/>`+"\n", px(q.x), py(q.y), colour)
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.TrimSpace(path.String()), colour)
		at = p.legend(&b, at, s.name, colour, "")
	}
	if p.guide {
		p.legend(&b, at, "in proportion", "#888", ` stroke-dasharray="5 4"`)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// drawGuide draws growth in proportion, from the first point of the first line
// as far as the field goes.
func (p plot) drawGuide(b *strings.Builder, xs, ys axis, px, py func(float64) float64) {
	from := p.series[0].at[0]
	to := min(xs.to, ys.to/from.y*from.x)
	fmt.Fprintf(b, `<path d="M%.1f %.1f L%.1f %.1f" stroke="#888" stroke-dasharray="5 4"/>`+"\n",
		px(from.x), py(from.y), px(to), py(from.y*to/from.x))
}

// legend names a line, and gives where the next name goes.
func (p plot) legend(b *strings.Builder, at float64, name, colour, dashes string) float64 {
	fmt.Fprintf(b, `<path d="M%.0f %d h24" stroke="%s" stroke-width="2"%s/>`+"\n", at, height-20, colour, dashes)
	label(b, at+30, height-16, "start", name, "")
	return at + 54 + 7*float64(len(name))
}

func label(b *strings.Builder, x, y float64, anchor, text, more string) {
	if more != "" {
		more = " " + more
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s"%s>`, x, y, anchor, more)
	_ = xml.EscapeText(b, []byte(text))
	b.WriteString("</text>\n")
}

func (p plot) values(of func(point) float64) []float64 {
	var all []float64
	for _, s := range p.series {
		for _, q := range s.at {
			all = append(all, of(q))
		}
	}
	return all
}

// axis is a logarithmic axis.
type axis struct{ from, to float64 }

// span gives the axis that has all values on it, at least a decade long.
func span(all []float64) axis {
	a := axis{math.Inf(1), math.Inf(-1)}
	for _, v := range all {
		if v > 0 {
			a.from, a.to = min(a.from, v), max(a.to, v)
		}
	}
	if math.IsInf(a.from, 0) {
		return axis{1, 10}
	}
	decade := func(v float64, to func(float64) float64) float64 { return math.Pow(10, to(math.Log10(v))) }
	a.from, a.to = decade(a.from*1.0001, math.Floor), decade(a.to*0.9999, math.Ceil)
	if a.to <= a.from {
		a.to = a.from * 10
	}
	return a
}

// part says where on the axis a value is, from 0 to 1.
func (a axis) part(v float64) float64 {
	if v <= 0 {
		return 0
	}
	return math.Log10(v/a.from) / math.Log10(a.to/a.from)
}

// ticks are the decades, and where there is one only, some values between.
func (a axis) ticks() []float64 {
	var all []float64
	for v := a.from; v < a.to*1.001; v *= 10 {
		all = append(all, v)
		if a.to/a.from < 11 && v < a.to*0.9 {
			all = append(all, 2*v, 4*v, 6*v, 8*v)
		}
	}
	return all
}

// short writes a number in few signs.
func short(v float64) string {
	if v >= 1 {
		return number(v, 0)
	}
	return strings.TrimRight(fmt.Sprintf("%.6f", v), "0")
}
