package rehearse

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/weirmail/weir/internal/filterwire"
)

// diagnose names what is wrong with a line that filterwire does not read.
// That codec is strict and short of words: a server needs to know only that
// the filter is broken.
func diagnose(line []byte, err error) *Finding {
	expected := "a line of the protocol"
	var pe *filterwire.ProtocolError
	if errors.As(err, &pe) {
		expected = pe.Expected
	}
	var l filterwire.Line
	word, rest, _ := bytes.Cut(line, bar)
	switch {
	case len(line) == 0:
		return breach("empty-line", "it sent a line with nothing in it", line, expected)
	case line[len(line)-1] == '\r' && filterwire.Parse(line[:len(line)-1], &l) == nil:
		return carriageReturn(line)
	case string(word) == "register":
		return diagnoseRegister(line, rest, expected)
	case string(word) == "filter-result", string(word) == "filter-dataline":
		return diagnoseAnswer(line, rest, expected)
	}
	return breach("unknown-line", "it sent a line that is none of the protocol; standard output is for the protocol alone, standard error is the log", line, expected)
}

var bar = []byte{'|'}

func carriageReturn(line []byte) *Finding {
	return breach("cr-at-line-end", "it ends its lines in CR LF", line, "LF alone at the end of a line")
}

func diagnoseRegister(line, rest []byte, expected string) *Finding {
	f := bytes.Split(rest, bar)
	switch string(f[0]) {
	case "report", "filter":
		if len(f) < 3 {
			return breach("unknown-registration", "it registers half a thing", line, expected)
		}
		name, report := f[2], string(f[0]) == "report"
		switch sub := string(f[1]); {
		case sub != "smtp-in" && !(report && sub == "smtp-out"):
			return breach("unknown-subsystem", fmt.Sprintf("it registers for a subsystem %q", f[1]), line, expected)
		case report:
			return breach("unknown-report", fmt.Sprintf("it registers a report %q", name), line, expected)
		case string(name) == "*":
			return breach("wildcard-phase", "it registers all phases at once, which only reports allow", line, "register|filter|smtp-in|PHASE for each phase")
		}
		return breach("unknown-phase", fmt.Sprintf("it registers a phase %q", name), line, expected)
	case "feature":
		return breach("unknown-feature", "it registers a feature of no name", line, expected)
	}
	return breach("unknown-registration", fmt.Sprintf("it registers for %q", f[0]), line, expected)
}

func diagnoseAnswer(line, rest []byte, expected string) *Finding {
	f := bytes.SplitN(rest, bar, 4)
	if len(f) < 3 {
		return breach("truncated-answer", "an answer lacks fields", line, expected)
	}
	var l filterwire.Line
	probe := func(session, token []byte) bool {
		return filterwire.Parse(bytes.Join([][]byte{[]byte("filter-dataline"), session, token, {'x'}}, bar), &l) == nil
	}
	one := []byte{'1'}
	switch {
	case !probe(f[0], one):
		return breach("bad-session-id", fmt.Sprintf("an answer has the session %q", cut(f[0])), line, expected)
	case !probe(one, f[1]):
		return breach("bad-token", fmt.Sprintf("an answer has the token %q", cut(f[1])), line, expected)
	}
	switch decision := string(bytes.TrimSuffix(f[2], []byte{'\r'})); decision {
	case "proceed", "junk":
		return breach("parameter-not-wanted", decision+" has a parameter, or a | after it", line, expected)
	case "reject", "disconnect", "rewrite", "report":
		return breach("missing-parameter", decision+" has no parameter", line, expected)
	}
	return breach("unknown-decision", fmt.Sprintf("there is no decision %q", cut(f[2])), line, expected)
}

// badReply says what is wrong with the reply of reject or disconnect, "" if
// nothing. The server checks more; this is what the protocol promises.
func badReply(text []byte) string {
	switch {
	case len(text) < 3 || text[0] < '4' || text[0] > '5' || !digit(text[1]) || !digit(text[2]):
		return "its reply does not begin with a code of 400 to 599"
	case len(text) < 5 || text[3] != ' ':
		return "its reply has no text, or no space, behind the code"
	}
	for _, c := range text {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "its reply has control characters in it"
		}
	}
	return ""
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
