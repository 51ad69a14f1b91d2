package delivery

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The bounds of format specifiers, those of the original.
const (
	maxToken    = 128  // bytes between "%{" and "}"
	maxValue    = 1024 // bytes of one expanded value; also the largest offset
	maxExpanded = 4096 // bytes of a whole path or command
)

// expansion is what format specifiers stand for in one attempt.
type expansion struct {
	t     *attempt
	delim byte // of sub-addresses, for the modifier strip
}

// errData marks failures that come from the mail's own data: another recipient
// would succeed. All other errors are the configuration's.
var errData = errors.New("the address does not fit the format")

// use is where an expanded value ends up.
type use uint8

const (
	inPath    use = iota // a component of a path
	inCommand            // text that /bin/sh parses
)

// path expands a path. "~/" in front is the user's home. Data of the mail can
// not leave the place that the format gives it: it has no "/", and a component
// that it takes part in is never "." or "..", nor is the last one empty.
func (x *expansion) path(format string) (string, error) {
	p, err := x.expand(format, inPath)
	if err != nil {
		return "", x.wrap(format, err)
	}
	if !strings.HasPrefix(p, "/") {
		return "", deferred("4.3.5", "action %q: path %q is not absolute; write it with a leading / or ~/", x.t.act.Name, format)
	}
	return p, nil
}

// command expands a command line for /bin/sh.
func (x *expansion) command(format string) (string, error) {
	c, err := x.expand(format, inCommand)
	if err != nil {
		return "", x.wrap(format, err)
	}
	return c, nil
}

func (x *expansion) wrap(format string, err error) error {
	if errors.Is(err, errData) {
		return failed("5.1.3", "action %q: %q: %w", x.t.act.Name, format, err)
	}
	return deferred("4.3.5", "action %q: %q: %w", x.t.act.Name, format, err)
}

func (x *expansion) expand(format string, to use) (string, error) {
	var b strings.Builder
	var data []span // where the mail's own data stands
	rest := format
	if after, ok := strings.CutPrefix(rest, "~/"); ok {
		b.WriteString(x.t.user.home + "/")
		rest = after
	}
	for rest != "" {
		i := strings.IndexByte(rest, '%')
		if i < 0 || i+1 == len(rest) {
			b.WriteString(rest)
			break
		}
		b.WriteString(rest[:i])
		if c := rest[i+1]; c != '{' {
			b.WriteByte('%')
			rest = rest[i+1:]
			if c == '%' {
				rest = rest[1:]
			}
			continue
		}
		token, after, ok := strings.Cut(rest[i+2:], "}")
		if !ok {
			return "", fmt.Errorf("%q has no closing }", rest[i:])
		}
		rest = after
		v, fromMail, err := x.token(token)
		if err != nil {
			return "", fmt.Errorf("%%{%s}: %w", token, err)
		}
		if fromMail {
			if to == inCommand && strings.HasPrefix(v, "-") && beginsWord(b.String()) {
				v = ":" + v[1:] // not an option of the command
			}
			data = append(data, span{b.Len(), b.Len() + len(v)})
		}
		b.WriteString(v)
		if b.Len() > maxExpanded {
			break
		}
	}
	if b.Len() > maxExpanded {
		return "", fmt.Errorf("%w: more than %d bytes", errData, maxExpanded)
	}
	s := b.String()
	if to == inPath {
		return s, checkComponents(s, data)
	}
	return s, nil
}

// span is a part of an expanded format, [from, to).
type span struct{ from, to int }

// checkComponents refuses a path in which data of the mail makes a component
// that means another directory.
func checkComponents(p string, data []span) error {
	for _, d := range data {
		from := strings.LastIndexByte(p[:d.from], '/') + 1
		to := len(p)
		if i := strings.IndexByte(p[d.to:], '/'); i >= 0 {
			to = d.to + i
		}
		switch c := p[from:to]; {
		case c == ".", c == "..":
			return fmt.Errorf("%w: %q is not a name for a mailbox", errData, c)
		case c == "" && strings.Trim(p[to:], "/") == "":
			return fmt.Errorf("%w: the name of the mailbox is empty", errData)
		}
	}
	return nil
}

// beginsWord reports whether what follows s in a command begins a word.
func beginsWord(s string) bool {
	return s == "" || strings.ContainsRune(" \t\n\"'", rune(s[len(s)-1]))
}

// token expands what stands between "%{" and "}"; fromMail says that the value
// is the mail's own, not the configuration's or the system's.
func (x *expansion) token(token string) (v string, fromMail bool, err error) {
	if len(token) >= maxToken {
		return "", false, fmt.Errorf("longer than %d bytes", maxToken-1)
	}
	name, rng, mods, err := splitToken(token)
	if err != nil {
		return "", false, err
	}
	v, fromMail, ok := x.value(strings.ToLower(name))
	if !ok {
		return "", false, fmt.Errorf("there is no format specifier %q", name)
	}
	if len(v) >= maxValue {
		return "", false, fmt.Errorf("%w: value of %d bytes", errData, len(v))
	}
	raw := false
	for _, m := range mods {
		switch strings.ToLower(m) {
		case "lowercase":
			v = mapBytes(v, lower)
		case "uppercase":
			v = mapBytes(v, upper)
		case "strip":
			v = x.strip(v)
		case "raw":
			raw = true
		default:
			return "", false, fmt.Errorf("there is no modifier %q", m)
		}
	}
	if fromMail {
		v = sanitise(v, raw)
	}
	if v == "" || !rng.set {
		return v, fromMail, nil
	}
	v, err = rng.cut(v)
	return v, fromMail, err
}

// value gives what a specifier stands for, false for an unknown one.
func (x *expansion) value(name string) (v string, fromMail, ok bool) {
	sender, env := x.t.job.Message.Sender, x.t.env
	switch name {
	case "sender":
		return sender.String(), true, true
	case "sender.user":
		return sender.Local, true, true
	case "sender.domain":
		return sender.Domain, true, true
	case "rcpt":
		return env.Rcpt.String(), true, true
	case "rcpt.user":
		return env.Rcpt.Local, true, true
	case "rcpt.domain":
		return env.Rcpt.Domain, true, true
	case "dest":
		return env.Dest.String(), true, true
	case "dest.user":
		return env.Dest.Local, true, true
	case "dest.domain":
		return env.Dest.Domain, true, true
	case "user.username":
		return x.t.user.name, true, true
	case "user.directory":
		return x.t.user.home, false, true
	case "mbox.from":
		return mboxSender(sender), true, true
	}
	return "", false, false
}

// splitToken takes "name[a:b]:mod|mod" apart.
func splitToken(token string) (name string, rng byteRange, mods []string, err error) {
	name = token
	if i := strings.IndexByte(token, '['); i >= 0 {
		j := strings.IndexByte(token, ']')
		if j < i {
			return "", rng, nil, errors.New("[ without ] after it")
		}
		if rng, err = parseRange(token[i+1 : j]); err != nil {
			return "", rng, nil, err
		}
		name, token = token[:i], token[j+1:]
		if token != "" && token[0] != ':' {
			return "", rng, nil, fmt.Errorf("%q after ]; expected : and modifiers", token)
		}
	}
	before, list, ok := strings.Cut(token, ":")
	if !rng.set {
		name = before
	}
	if ok {
		mods = strings.Split(list, "|")
	}
	return name, rng, mods, nil
}

// byteRange is the [a:b] of a specifier. Both ends are inclusive; a negative
// first counts from the end of the value, and so does a negative last, where
// -1 stands for the byte before the last one (smtpd.conf(5): [0:-4] of
// "example.org" is "example").
type byteRange struct {
	set         bool
	single      bool // [a]
	first, last int
}

func parseRange(s string) (byteRange, error) {
	r := byteRange{set: true, last: maxValue}
	from, to, two := strings.Cut(s, ":")
	var err error
	if from != "" || !two {
		if r.first, err = parseOffset(from); err != nil {
			return r, err
		}
	}
	if !two {
		r.single = true
		return r, nil
	}
	if to != "" {
		r.last, err = parseOffset(to)
	}
	return r, err
}

func parseOffset(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < -maxValue || n > maxValue {
		return 0, fmt.Errorf("offset %q is not a number between %d and %d", s, -maxValue, maxValue)
	}
	return n, nil
}

// cut gives the part of v that r describes; v is not empty.
func (r byteRange) cut(v string) (string, error) {
	first, last := r.first, r.last
	if first < 0 {
		first += len(v)
	}
	switch {
	case r.single:
		last = first
	case last < 0:
		last += len(v) - 1
	}
	last = min(last, len(v)-1)
	if first < 0 || first > last {
		return "", fmt.Errorf("%w: %q has no such part", errData, v)
	}
	return v[first : last+1], nil
}

// strip takes the sub-address off: "user+tag@host" becomes "user@host".
func (x *expansion) strip(v string) string {
	if x.delim == 0 {
		return v
	}
	i := strings.IndexByte(v, x.delim)
	if i < 0 {
		return v
	}
	if j := strings.IndexByte(v[i:], '@'); j >= 0 {
		return v[:i] + v[i+j:]
	}
	return v[:i]
}

// sanitise replaces bytes that are dangerous in a path or a command by ":".
// The original replaces !#$%&'*?`{|}~ and, in later versions, / and ^; we add
// what a quoted local part (RFC 5321 s4.1.2) can bring: white space, quotes,
// the rest of the shell's own characters. With raw those stay that neither
// start a command nor leave a quotation or a directory.
func sanitise(v string, raw bool) string {
	return mapBytes(v, func(c byte) byte {
		switch {
		case c <= ' ', c == 0x7f, strings.IndexByte("\"$&'/();<>\\`|", c) >= 0:
			return ':'
		case !raw && strings.IndexByte("!#%*?[]^{}~", c) >= 0:
			return ':'
		}
		return c
	})
}

func mapBytes(s string, f func(byte) byte) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = f(c)
	}
	return string(b)
}
