package rehearse

import (
	"bytes"
	"fmt"
)

// longLine is the length, in bytes, from which on a line that came back as
// its own beginning was cut and not edited.
const longLine = 256

// compareMessage looks for lines that a filter returned spoiled. What it
// changes is its own affair, so only such changes are told that nobody makes
// on purpose. Both messages are dot-escaped and without their dot. Lines
// are compared from the end, since filters add lines at the top; a filter
// that dropped lines is not looked at.
func compareMessage(sent, got [][]byte) []*Finding {
	extra := len(got) - len(sent)
	if extra < 0 {
		return nil
	}
	var found []*Finding
	seen := make(map[string]bool)
	for i, was := range sent {
		if f := compareLine(was, got[i+extra]); f != nil && !seen[f.Name] {
			seen[f.Name] = true
			found = append(found, f)
		}
	}
	return found
}

func compareLine(was, is []byte) *Finding {
	if bytes.Equal(was, is) {
		return nil
	}
	want := fmt.Sprintf("%q, or a line of its own making", cut(was))
	switch {
	case bytes.HasPrefix(was, []byte("..")) && bytes.Equal(was[1:], is):
		return fault("dot-not-escaped", "a line came back with a dot less: lines are dot-escaped in both directions", is, want)
	case bytes.HasPrefix(was, is) && was[len(is)] == 0:
		return remark("cut-at-nul", "a line came back without its NUL and what followed it", is)
	case bytes.HasPrefix(was, is) && was[len(is)] == '|':
		return fault("cut-at-pipe", "a line came back cut at a |: the last field takes all the rest of the line", is, want)
	case bytes.HasPrefix(was, is) && len(is) >= longLine:
		return fault("line-cut", fmt.Sprintf("a line of %d bytes came back cut after %d", len(was), len(is)), is, want)
	case len(is) > 0 && bytes.ContainsFunc(was, highByte) && bytes.Equal(ascii(was), ascii(is)):
		return fault("bytes-changed", "a line came back with its 8-bit bytes changed: mail is bytes, not text", is, want)
	}
	return nil
}

func highByte(r rune) bool { return r >= 0x80 }

// ascii gives the printable bytes of a line, without the signs that stand for
// what could not be decoded.
func ascii(s []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if highByte(r) || r == '?' {
			return -1
		}
		return r
	}, s)
}
