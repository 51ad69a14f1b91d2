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

const (
	maxSpecifier = 127  // bytes between "%{" and "}"
	maxOffset    = 1024 // of a part of a value
)

// checkFormat says what is wrong with the specifiers of text, each of the
// form %{NAME[FROM:TO]:MODIFIER|MODIFIER}. "%%" is a "%", and so is a "%"
// before anything else.
func checkFormat(text string) error {
	for {
		i := strings.IndexByte(text, '%')
		if i < 0 || i+1 == len(text) {
			return nil
		}
		next := text[i+1]
		text = text[i+1:]
		switch next {
		case '%':
			text = text[1:]
		case '{':
			spec, after, closed := strings.Cut(text[1:], "}")
			if !closed {
				return fmt.Errorf("%q is not closed by }", "%"+text)
			}
			if err := checkSpecifier(spec); err != nil {
				return fmt.Errorf("%q: %w", "%{"+spec+"}", err)
			}
			text = after
		}
	}
}

func checkSpecifier(spec string) error {
	if len(spec) > maxSpecifier {
		return fmt.Errorf("longer than %d bytes", maxSpecifier)
	}
	end := strings.IndexAny(spec, "[:")
	name, rest := spec, ""
	if end >= 0 {
		name, rest = spec[:end], spec[end:]
	}
	if !slices.Contains(formatNames, lower(name)) {
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
		if !slices.Contains(formatModifiers, lower(m)) {
			return fmt.Errorf("no modifier %q; expected one of: %s", m, strings.Join(formatModifiers, ", "))
		}
	}
	return nil
}

// isRange recognises "N", "N:", ":N", "N:M" and ":".
func isRange(s string) bool {
	from, to, both := strings.Cut(s, ":")
	isNumber := func(s string) bool {
		n, err := strconv.Atoi(s)
		return err == nil && -maxOffset <= n && n <= maxOffset
	}
	if !both {
		return isNumber(from)
	}
	return (from == "" || isNumber(from)) && (to == "" || isNumber(to))
}
