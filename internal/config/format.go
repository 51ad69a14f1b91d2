package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// formatNames are the specifiers of paths and commands; %{mda} belongs to
// wrappers only.
var formatNames = []string{
	"dest", "dest.domain", "dest.user", "mbox.from", "rcpt", "rcpt.domain", "rcpt.user",
	"sender", "sender.domain", "sender.user", "user.directory", "user.username",
}

var formatModifiers = []string{"lowercase", "raw", "strip", "uppercase"}

// checkFormat says what is wrong with the specifiers of text, each of the
// form %{NAME[FROM:TO]:MODIFIER|MODIFIER}. A "%" before anything but "{" is
// itself.
func checkFormat(text string) error {
	for {
		_, rest, found := strings.Cut(text, "%{")
		if !found {
			return nil
		}
		spec, after, closed := strings.Cut(rest, "}")
		if !closed {
			return fmt.Errorf("%q is not closed by }", "%{"+rest)
		}
		if err := checkSpecifier(spec); err != nil {
			return fmt.Errorf("%q: %w", "%{"+spec+"}", err)
		}
		text = after
	}
}

func checkSpecifier(spec string) error {
	end := strings.IndexAny(spec, "[:")
	name, rest := spec, ""
	if end >= 0 {
		name, rest = spec[:end], spec[end:]
	}
	if !slices.Contains(formatNames, name) {
		return fmt.Errorf("no such value; expected one of: %s", strings.Join(formatNames, ", "))
	}
	if strings.HasPrefix(rest, "[") {
		bounds, after, closed := strings.Cut(rest[1:], "]")
		if !closed || !isRange(bounds) {
			return fmt.Errorf("part %q is not like [0], [1:], [:-4] or [0:6]", rest)
		}
		rest = after
	}
	if rest == "" {
		return nil
	}
	if rest[0] != ':' {
		return fmt.Errorf("found %q, expected : and modifiers", rest)
	}
	for m := range strings.SplitSeq(rest[1:], "|") {
		if !slices.Contains(formatModifiers, m) {
			return fmt.Errorf("no modifier %q; expected one of: %s", m, strings.Join(formatModifiers, ", "))
		}
	}
	return nil
}

// isRange recognises "N", "N:", ":N" and "N:M".
func isRange(s string) bool {
	from, to, both := strings.Cut(s, ":")
	isNumber := func(s string) bool {
		_, err := strconv.ParseInt(s, 10, 16)
		return err == nil
	}
	if !both {
		return isNumber(from)
	}
	return (from == "" || isNumber(from)) && (to == "" || isNumber(to)) && from+to != ""
}
