// Man makes the manual page weir-filters(7) from FILTER.md, for go generate.
// It knows the Markdown that FILTER.md uses and nothing more: headings,
// paragraphs, lists, tables, blocks that are indented, `code` and **strong**.
package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

//go:generate go run . ../FILTER.md ../../docs/man/weir-filters.7

const head = `.\" Made from protocol/FILTER.md by protocol/man; change that and run go generate.
.Dd $Mdocdate: November 27 2026 $
.Dt WEIR-FILTERS 7
.Os
.Sh NAME
.Nm weir-filters
.Nd the protocol between the server and its mail filters
.Sh DESCRIPTION
`

const tail = `.Sh SEE ALSO
.Xr weir.conf 5 ,
.Xr weir 8
`

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: man FILTER.md PAGE")
		os.Exit(2)
	}
	text, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = os.WriteFile(os.Args[2], []byte(page(string(text))), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// page gives the manual page for a text in Markdown.
func page(markdown string) string {
	w := &writer{lines: strings.Split(strings.TrimRight(markdown, "\n"), "\n")}
	w.out.WriteString(head)
	w.fresh = true
	for len(w.lines) > 0 {
		w.block()
	}
	w.out.WriteString(tail)
	return w.out.String()
}

type writer struct {
	lines []string
	out   strings.Builder
	fresh bool // nothing stands below the heading yet
}

var (
	bullet = regexp.MustCompile(`^- `)
	number = regexp.MustCompile(`^\d+\. `)
	title  = regexp.MustCompile(`^(#+) (.*)$`)
)

// take gives the lines from the next on that belong together: as long as ok.
func (w *writer) take(ok func(string) bool) []string {
	n := 0
	for n < len(w.lines) && (n == 0 || ok(w.lines[n])) {
		n++
	}
	lines := w.lines[:n]
	w.lines = w.lines[n:]
	return lines
}

func (w *writer) block() {
	line := w.lines[0]
	switch m := title.FindStringSubmatch(line); {
	case line == "":
		w.lines = w.lines[1:]
	case m != nil:
		w.lines = w.lines[1:]
		if len(m[1]) > 1 { // the first is the title
			fmt.Fprintf(&w.out, ".%s %s\n", map[bool]string{true: "Sh", false: "Ss"}[len(m[1]) == 2], heading(m[2], len(m[1])))
			w.fresh = true
		}
	case strings.HasPrefix(line, "    "):
		w.literal()
	case strings.HasPrefix(line, "|"):
		w.table()
	case bullet.MatchString(line):
		w.list("bullet", bullet)
	case number.MatchString(line):
		w.list("enum", number)
	default:
		if !w.fresh {
			w.out.WriteString(".Pp\n")
		}
		w.fresh = false
		lines := w.take(func(l string) bool {
			return l != "" && !strings.HasPrefix(l, "|") && !bullet.MatchString(l)
		})
		w.prose(strings.Join(lines, " "))
	}
}

func heading(s string, level int) string {
	if level == 2 {
		s = strings.ToUpper(s)
	}
	return inline(s)
}

func (w *writer) literal() {
	lines := w.take(func(l string) bool { return l == "" || strings.HasPrefix(l, "    ") })
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	w.out.WriteString(".Bd -literal -offset indent\n")
	for _, l := range lines {
		w.out.WriteString(protect(escape(strings.TrimPrefix(l, "    "))) + "\n")
	}
	w.out.WriteString(".Ed\n")
	w.fresh = false
}

func (w *writer) list(kind string, mark *regexp.Regexp) {
	fmt.Fprintf(&w.out, ".Bl -%s -compact\n", kind)
	var item string
	put := func() {
		if item != "" {
			w.out.WriteString(".It\n")
			w.prose(item)
		}
	}
	lines := w.take(func(l string) bool { return mark.MatchString(l) || strings.HasPrefix(l, "  ") })
	for _, l := range lines {
		if mark.MatchString(l) {
			put()
			item = mark.ReplaceAllString(l, "")
		} else {
			item += " " + strings.TrimSpace(l)
		}
	}
	put()
	w.out.WriteString(".El\n")
	w.fresh = false
}

// table writes a row as a paragraph with its first cell in front. What a
// column of three means stands before each row.
func (w *writer) table() {
	rows := w.take(func(l string) bool { return strings.HasPrefix(l, "|") })
	names := cells(rows[0])
	w.out.WriteString(".Bl -tag -width Ds\n")
	for _, row := range rows[2:] {
		c := cells(row)
		w.out.WriteString(".It " + inline(c[0]) + "\n")
		for i := 1; i < len(c); i++ {
			text := c[i]
			if len(c) > 2 && names[i] != "" {
				text = strings.ToUpper(names[i][:1]) + names[i][1:] + ": " + text
			}
			w.prose(strings.TrimSuffix(text, ".") + ".")
		}
	}
	w.out.WriteString(".El\n")
	w.fresh = false
}

// cells cuts a row at the bars that no backslash stands in front of.
func cells(row string) []string {
	row = strings.ReplaceAll(strings.Trim(row, "|"), `\|`, "\x00")
	out := strings.Split(row, "|")
	for i := range out {
		out[i] = strings.TrimSpace(strings.ReplaceAll(out[i], "\x00", "|"))
	}
	return out
}

// sentence is the end of one: what follows begins a line in mdoc.
var sentence = regexp.MustCompile(`([.:?][)*]*) ([A-Z*])`)

func (w *writer) prose(s string) {
	s = inline(s)
	s = sentence.ReplaceAllString(s, "$1\n$2")
	for _, line := range strings.Split(s, "\n") {
		w.out.WriteString(protect(line) + "\n")
	}
}

var (
	code   = regexp.MustCompile("`([^`]*)`")
	strong = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	soft   = regexp.MustCompile(`(^|[ (])\*([a-z][a-z ]*)\*`)
)

// inline sets code and strong words in bold, others in italic.
func inline(s string) string {
	var kept []string
	s = code.ReplaceAllStringFunc(s, func(m string) string {
		kept = append(kept, `\fB`+escape(m[1:len(m)-1])+`\fR`)
		return fmt.Sprintf("\x01%d\x01", len(kept)-1)
	})
	s = escape(s)
	s = strong.ReplaceAllString(s, `\fB$1\fR`)
	s = soft.ReplaceAllString(s, `$1\fI$2\fR`)
	for i, k := range kept {
		s = strings.Replace(s, fmt.Sprintf("\x01%d\x01", i), k, 1)
	}
	return s
}

// escape makes text safe for roff: the backslash, and signs that it would
// make typographic.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "…", "...", "^", `\(ha`, "~", `\(ti`).Replace(s)
}

// protect keeps a line from being taken for a request.
func protect(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}
