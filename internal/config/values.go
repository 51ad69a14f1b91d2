package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// number reads a number from lo to hi.
func (p *parser) number(lo, hi int) int {
	t := p.str("a number")
	if p.failed {
		return 0
	}
	n, err := strconv.Atoi(t.text)
	if err != nil || n < lo || n > hi {
		p.failf(t, "found %q, expected a number from %d to %d", t.text, lo, hi)
		return 0
	}
	return n
}

// duration reads a number with its unit.
func (p *parser) duration() time.Duration {
	t := p.str("a time such as 10s, 30m, 4h or 4d")
	if p.failed {
		return 0
	}
	d, ok := parseDuration(t.text)
	if !ok {
		p.failf(t, "found %q, expected a time such as 10s, 30m, 4h or 4d", t.text)
	}
	return d
}

// maxDuration bounds times; a queue that keeps mail longer keeps it forever.
const maxDuration = 366 * 24 * time.Hour

func parseDuration(s string) (time.Duration, bool) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	if len(s) < 2 {
		return 0, false
	}
	unit, ok := units[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if !ok || err != nil || n == 0 || n > uint64(maxDuration/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// size reads a number of bytes.
func (p *parser) size() int64 {
	t := p.str("a size such as 4096, 512K or 35M")
	if p.failed {
		return 0
	}
	n, ok := parseSize(t.text)
	if !ok {
		p.failf(t, "found %q, expected a size such as 4096, 512K or 35M", t.text)
	}
	return n
}

// parseSize reads a size as scan_scaled(3) does: a number, which may have a
// fraction, and a unit of 1024 bytes or a power of it.
func parseSize(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	shift := 0
	if i := strings.IndexByte("BKMGTPE", s[len(s)-1]&^0x20); i >= 0 {
		shift = 10 * i
		s = s[:len(s)-1]
	}
	whole, fraction, hasFraction := strings.Cut(s, ".")
	n, err := strconv.ParseUint(whole, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, false
	}
	size := int64(n) << shift
	if hasFraction {
		if fraction == "" || len(fraction) > 9 {
			return 0, false
		}
		f, err := strconv.ParseUint(fraction, 10, 32)
		if err != nil {
			return 0, false
		}
		size += int64(float64(f) / math.Pow10(len(fraction)) * math.Pow(2, float64(shift)))
	}
	return size, size > 0
}

// ports are the services of a mail server; others go by number.
var ports = map[string]int{"smtp": 25, "smtps": 465, "submissions": 465, "submission": 587, "lmtp": 24}

// maxPort is the largest port.
const maxPort = 65535

func (p *parser) port() int {
	t := p.next()
	if n, ok := ports[t.text]; ok && t.kind == tokWord {
		return n
	}
	n, err := strconv.Atoi(t.text)
	if t.kind != tokWord || err != nil || n < 0 || n > maxPort {
		p.expected(t, "a port from 0 to 65535", "smtp", "smtps", "submission", "submissions")
		return 0
	}
	return n
}

// host reads a name that the server or a client gives of itself.
func (p *parser) host(what string) string {
	t := p.str(what)
	if !p.failed && !isHostname(t.text) && !isAddrLiteral(t.text) {
		p.failf(t, "found %q, expected %s: a name such as mail.example.org or an address as in [192.0.2.1]", t.text, what)
	}
	return t.text
}

// isHostname reports whether s is a domain name: RFC 1123 s2.1, with the
// lengths of RFC 1035 s2.3.4, and "_", which names in use have.
func isHostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; c != '-' && !isNameByte(c) && c < 0x80 {
				return false
			}
		}
	}
	return true
}

// isAddrLiteral recognises RFC 5321 s4.1.3.
func isAddrLiteral(s string) bool {
	rest, ok := strings.CutPrefix(s, "[")
	if !ok || !strings.HasSuffix(rest, "]") {
		return false
	}
	rest = strings.TrimSuffix(rest, "]")
	const tag = "ipv6:"
	if len(rest) > len(tag) && strings.EqualFold(rest[:len(tag)], tag) {
		rest = rest[len(tag):]
	}
	a, err := netip.ParseAddr(rest)
	return err == nil && a.Zone() == ""
}

// isPrintable reports whether s has no control characters.
func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// maxReply is the length of a reply line without its end: RFC 5321 s4.5.3.1.5.
const maxReply = 510

// checkReply says why text cannot be the reply of a reject or disconnect.
func checkReply(text string) error {
	switch {
	case len(text) < 5 || text[3] != ' ' || text[0] != '4' && text[0] != '5' ||
		text[1] < '0' || text[1] > '5' || text[2] < '0' || text[2] > '9':
		// RFC 5321 s4.2: the second digit is 0 to 5.
		return errors.New(`not a reply; expected 4xx or 5xx and a text, as in "550 5.7.1 Go away"`)
	case len(text) > maxReply:
		return fmt.Errorf("a reply has at most %d bytes, this one %d", maxReply, len(text))
	case !isPrintable(text):
		return errors.New("a reply has no control characters")
	}
	// RFC 2034 s4: the class of the enhanced code is the first digit.
	if word, _, _ := strings.Cut(text[4:], " "); isEnhanced(word) && word[0] != text[0] {
		return fmt.Errorf("the enhanced code %s does not fit %s", word, text[:3])
	}
	return nil
}

func isEnhanced(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "2" && parts[0] != "4" && parts[0] != "5" {
		return false
	}
	for _, part := range parts[1:] {
		if n, err := strconv.ParseUint(part, 10, 16); err != nil || n > 999 {
			return false
		}
	}
	return true
}

// parseHostPort splits "host:port" and "[v6]:port"; ok is false if s has no
// valid host, port is -1 if it has none.
func parseHostPort(s string) (host string, port int, ok bool) {
	port = -1
	if rest, found := strings.CutPrefix(s, "["); found {
		literal, after, closed := strings.Cut(rest, "]")
		if !closed || !isAddrLiteral("["+literal+"]") || after != "" && after[0] != ':' {
			return "", 0, false
		}
		if len(literal) > 5 && strings.EqualFold(literal[:5], "ipv6:") {
			literal = literal[5:]
		}
		host, s = literal, strings.TrimPrefix(after, ":")
		if after == "" {
			return host, port, true
		}
	} else {
		var found bool
		host, s, found = strings.Cut(s, ":")
		if !isHostname(host) {
			return "", 0, false
		}
		if !found {
			return host, port, true
		}
	}
	n, err := strconv.Atoi(s)
	return host, n, err == nil && n > 0 && n <= maxPort
}
