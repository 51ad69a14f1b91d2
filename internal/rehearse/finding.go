package rehearse

import (
	"fmt"
	"strconv"
	"strings"
)

// maxQuoted is how much of an offending line a finding keeps, in bytes.
const maxQuoted = 200

// Finding is something that a filter did and should not have done, or that
// its author should know of.
type Finding struct {
	Name     string `json:"name"`            // what it is, in a word: "answered-twice"
	Remark   bool   `json:"remark"`          // worth knowing, no fault
	Phase    string `json:"phase,omitempty"` // phase that was asked
	Session  string `json:"session,omitempty"`
	Scene    string `json:"scene,omitempty"` // what was played
	Text     string `json:"text"`            // what happened, in words
	Line     string `json:"line,omitempty"`  // the offending line, cut after maxQuoted bytes
	HasLine  bool   `json:"-"`               // an empty line can offend, too
	Expected string `json:"expected,omitempty"`
	Times    int    `json:"times"`         // how often, in all scenes
	Log      string `json:"log,omitempty"` // the end of the filter's standard error, if it died

	// ends is set if a server would end the filter for it, so that nothing
	// which follows means anything.
	ends bool
}

// String gives the finding in several lines, for a person.
func (f *Finding) String() string {
	var b strings.Builder
	b.WriteString("fault ")
	if f.Remark {
		b.Reset()
		b.WriteString("remark ")
	}
	b.WriteString(f.Name)
	if f.Phase != "" {
		fmt.Fprintf(&b, " at %s", f.Phase)
	}
	fmt.Fprintf(&b, ": %s\n", f.Text)
	if f.Scene != "" {
		fmt.Fprintf(&b, "    scene:    %s", f.Scene)
		if f.Session != "" {
			fmt.Fprintf(&b, ", session %s", f.Session)
		}
		if f.Times > 1 {
			fmt.Fprintf(&b, "; %d times in all", f.Times)
		}
		b.WriteByte('\n')
	}
	if f.HasLine {
		fmt.Fprintf(&b, "    line:     %s\n", strconv.QuoteToGraphic(f.Line))
	}
	if f.Expected != "" {
		fmt.Fprintf(&b, "    expected: %s\n", f.Expected)
	}
	for line := range strings.Lines(f.Log) {
		fmt.Fprintf(&b, "    its log:  %s\n", strings.Trim(strconv.QuoteToGraphic(strings.TrimSuffix(line, "\n")), `"`))
	}
	return b.String()
}

// cut gives the beginning of a line, as findings keep it.
func cut(line []byte) string {
	if len(line) > maxQuoted {
		return string(line[:maxQuoted]) + "..."
	}
	return string(line)
}

// breach is a fault for which a server ends the filter.
func breach(name, text string, line []byte, expected string) *Finding {
	return &Finding{Name: name, Text: text, Line: cut(line), HasLine: line != nil, Expected: expected, Times: 1, ends: true}
}

// fault is one that a server lives with, at the cost of the session.
func fault(name, text string, line []byte, expected string) *Finding {
	f := breach(name, text, line, expected)
	f.ends = false
	return f
}

// remark is no fault.
func remark(name, text string, line []byte) *Finding {
	f := fault(name, text, line, "")
	f.Remark = true
	return f
}
