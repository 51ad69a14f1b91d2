package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/weirmail/weir/bench/record"
)

// part is what stands in one place of the page.
type part struct {
	name  string
	works []string
	text  func(f *record.File) string
}

func parts() []part {
	mail := func(works ...string) func(*record.File) string {
		return func(f *record.File) string { return mailTable(f, works...) }
	}
	all := []part{
		{"w1", []string{"w1"}, mail("w1")},
		{"w2", []string{"w2"}, mail("w2")},
		{"w3", []string{"w3"}, mail("w3")},
		{"w4", []string{"w4"}, mail("w4")},
		{"w5", []string{"w5"}, idleTable},
		{"w6", []string{"w6"}, connectTable},
		{"w7", []string{"w7"}, questionTable},
		{"start", []string{"start"}, func(f *record.File) string {
			return claimTable(f, "start", "filters", column{"ms to the banner", "ms", 1, false})
		}},
		{"questions", []string{"questions"}, func(f *record.File) string {
			return claimTable(f, "questions", "benchmark", column{"questions/s", "questions/s", 0, false}, column{"bytes allocated for each", "B/op", 0, true}, column{"allocations for each", "allocs/op", 0, true})
		}},
		{"sdk", []string{"sdk"}, func(f *record.File) string {
			return claimTable(f, "sdk", "SDK", column{"MB/s", "MB/s", 0, false}, column{"lines/s", "lines/s", 0, false})
		}},
		{"isolation", []string{"isolation"}, isolationTable},
	}
	for _, g := range growths {
		all = append(all, part{g.work, []string{g.work}, func(f *record.File) string {
			var plots strings.Builder
			for _, v := range g.views {
				fmt.Fprintf(&plots, "\n![%s](performance/%s)\n", g.plot(f, v).title, g.file(v))
			}
			return g.table(f) + plots.String()
		}})
	}
	return all
}

// Write renders the results into performance.md of the folder docs, and the
// plots into the folder performance beside it. A part of which nothing was
// measured stays as it is.
func Write(f *record.File, docs string) error {
	page := filepath.Join(docs, "performance.md")
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text := string(b)
	for _, p := range parts() {
		made := about(f, p.works...)
		if made == "" {
			continue
		}
		if text, err = replace(text, p.name, p.text(f)+"\n"+made); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(docs, "performance"), 0o755); err != nil {
		return err
	}
	for _, g := range growths {
		for _, v := range g.views {
			p := g.plot(f, v)
			if len(p.series) == 0 {
				continue
			}
			if err := os.WriteFile(filepath.Join(docs, "performance", g.file(v)), []byte(p.svg()), 0o644); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(page, []byte(text), 0o644)
}

// replace puts text between the comments of a name.
func replace(page, name, text string) (string, error) {
	open, shut := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, ok := strings.Cut(page, open)
	_, after, closed := strings.Cut(rest, shut)
	if !ok || !closed {
		return "", fmt.Errorf("it has no place for %s, as %s and %s", name, strings.TrimSpace(open), shut)
	}
	return before + open + text + shut + after, nil
}
