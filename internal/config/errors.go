package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// MaxErrors is how many errors of a configuration are reported; reading stops
// there.
const MaxErrors = 20

// Error is one fault of a configuration file.
type Error struct {
	Pos      Pos      // Line is 0 where the fault is the whole file's
	Found    string   // what stands there; "" for the end of the line
	Expected []string // words and kinds of words that could stand there
	Msg      string   // what is wrong, where it is not Found against Expected
}

// Error gives "file:line:column: " and what is wrong.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Pos.Line == 0 {
		b.WriteString(e.Pos.File)
	} else {
		b.WriteString(e.Pos.String())
	}
	b.WriteString(": ")
	if e.Msg != "" {
		b.WriteString(e.Msg)
		return b.String()
	}
	if e.Found == "" {
		b.WriteString("found end of line")
	} else {
		fmt.Fprintf(&b, "found %q", e.Found)
	}
	if len(e.Expected) == 1 {
		b.WriteString(", expected " + quoteWord(e.Expected[0]))
	} else {
		b.WriteString(", expected one of: " + strings.Join(e.Expected, ", "))
	}
	if near := nearest(e.Found, e.Expected); near != "" {
		fmt.Fprintf(&b, " (did you mean %q?)", near)
	}
	return b.String()
}

// quoteWord quotes words of the grammar and leaves descriptions, which have
// spaces, as they are.
func quoteWord(s string) string {
	if strings.Contains(s, " ") {
		return s
	}
	return fmt.Sprintf("%q", s)
}

// Errors is what is wrong with a configuration, in the order it was found.
type Errors []*Error

// Error gives one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// nearest gives the word that somebody may have wanted to write, "" if none
// is near: at most two slips, and fewer than half of the letters. All numbers
// are near each other.
func nearest(found string, words []string) string {
	best, bestDist := "", 3
	for _, w := range words {
		if strings.Contains(w, " ") || !strings.ContainsFunc(w, unicode.IsLetter) {
			continue
		}
		if d := distance(strings.ToLower(found), w); d < bestDist && 2*d < len(w) {
			best, bestDist = w, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that make b of a. Words that differ much in length are far.
func distance(a, b string) int {
	const far = 100
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return far
	}
	var before, prev []int
	cur := make([]int, len(b)+1)
	for j := range cur {
		cur[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, prev, cur = prev, cur, make([]int, len(b)+1)
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
	}
	return cur[len(b)]
}

// sortedKeys gives the words of a map in order, for lists of what is expected.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
