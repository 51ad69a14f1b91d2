package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/weirmail/weir/internal/mail"
)

// Limits of paths in octets.
const (
	MaxLocalPart = 64  // RFC 5321 s4.5.3.1.1
	MaxDomain    = 255 // RFC 5321 s4.5.3.1.2
	MaxPath      = 256 // RFC 5321 s4.5.3.1.3, with its angle brackets
	maxLabel     = 63  // RFC 1035 s2.3.4
)

// The ways an address can be wrong. All of them wrap ErrAddress.
var (
	ErrAddress         = errors.New("address syntax error")
	ErrNoBrackets      = fmt.Errorf("%w: not in angle brackets", ErrAddress)
	ErrLocalPart       = fmt.Errorf("%w: malformed local part", ErrAddress)
	ErrDomain          = fmt.Errorf("%w: malformed domain", ErrAddress)
	ErrRoute           = fmt.Errorf("%w: malformed source route", ErrAddress)
	ErrAddressLength   = fmt.Errorf("%w: too long", ErrAddress)
	ErrAddressNonASCII = fmt.Errorf("%w: bytes above 127 without SMTPUTF8, or no valid UTF-8", ErrAddress)
)

// Path is a reverse-path or forward-path (RFC 5321 s4.1.2).
type Path struct {
	Address mail.Address // without source route
	Raw     string       // what stood between the brackets, byte for byte: what filters are told
}

// ParseMailArg reads what follows "MAIL FROM:": "<path>" and parameters, which
// it gives back as rest for ParseMailParams. White space may stand before the
// "<" and is not required after the ">". "<>" is the null reverse-path. Bytes
// above 127 need utf8OK and an SMTPUTF8 among the parameters (RFC 6531 s3.4),
// and then must be UTF-8. The error wraps ErrAddress: 553 5.1.0.
func ParseMailArg(arg []byte, utf8OK bool) (p Path, rest string, err error) {
	raw, rest, err := cutPath(arg)
	if err != nil {
		return Path{}, "", err
	}
	if raw == "" {
		return Path{}, rest, nil
	}
	a, err := parsePath(raw, utf8OK && hasUTF8Param(rest))
	if err != nil {
		return Path{}, "", err
	}
	return Path{Address: a, Raw: raw}, rest, nil
}

// ParseRcptArg reads what follows "RCPT TO:"; see ParseMailArg. "<>" is an
// error here. utf8OK is true if the transaction declared SMTPUTF8. The error
// wraps ErrAddress: 501 5.1.3.
func ParseRcptArg(arg []byte, utf8OK bool) (p Path, rest string, err error) {
	raw, rest, err := cutPath(arg)
	if err != nil {
		return Path{}, "", err
	}
	a, err := parsePath(raw, utf8OK)
	if err != nil {
		return Path{}, "", err
	}
	return Path{Address: a, Raw: raw}, rest, nil
}

// ParseAddress reads an address of a configuration or an aliases file:
// "local@domain" or "local", no brackets, no source route. UTF-8 is allowed.
func ParseAddress(s string) (mail.Address, error) {
	if len(s) > MaxPath-len("<>") {
		return mail.Address{}, ErrAddressLength
	}
	return parseMailbox(s, true)
}

// ValidHeloName reports whether s may stand in HELO or EHLO: a host name, in
// which underscores are tolerated, or an address literal (RFC 5321 s4.1.3).
func ValidHeloName(s string) bool { return validDomain(s, false) }

// cutPath takes "<...>" off arg. The first ">" ends the path: a quoted local
// part, where another might stand, is not taken anyway.
func cutPath(arg []byte) (raw, rest string, err error) {
	arg = trimLeft(arg)
	end := bytes.IndexByte(arg, '>')
	if len(arg) == 0 || arg[0] != '<' || end < 0 {
		return "", "", ErrNoBrackets
	}
	if end+1 > MaxPath {
		return "", "", ErrAddressLength
	}
	return string(arg[1:end]), string(arg[end+1:]), nil
}

func parsePath(raw string, utf8OK bool) (mail.Address, error) {
	box, err := cutRoute(raw)
	if err != nil {
		return mail.Address{}, err
	}
	return parseMailbox(box, utf8OK)
}

// cutRoute drops a source route "@a,@b:". RFC 5321 s4.1.1.3: servers must
// accept it and should ignore it.
func cutRoute(raw string) (string, error) {
	if !strings.HasPrefix(raw, "@") {
		return raw, nil
	}
	route, box, ok := strings.Cut(raw, ":")
	if !ok {
		return "", ErrRoute
	}
	for hop := range strings.SplitSeq(route, ",") {
		if !strings.HasPrefix(hop, "@") || !validDomain(hop[1:], false) {
			return "", ErrRoute
		}
	}
	return box, nil
}

// parseMailbox reads "local@domain", "local" or "local@"; the last two are
// local-only, as smtpd.conf(5) knows it.
func parseMailbox(s string, utf8OK bool) (mail.Address, error) {
	if !isASCII(s) && (!utf8OK || !utf8.ValidString(s)) {
		return mail.Address{}, ErrAddressNonASCII
	}
	var a mail.Address
	a.Local = s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		a.Local, a.Domain = s[:i], s[i+1:]
	}
	switch {
	case len(a.Local) > MaxLocalPart || len(a.Domain) > MaxDomain:
		return mail.Address{}, ErrAddressLength
	case !validLocalPart(a.Local):
		return mail.Address{}, ErrLocalPart
	case a.Domain != "" && !validDomain(a.Domain, utf8OK):
		return mail.Address{}, ErrDomain
	}
	return a, nil
}

// validLocalPart checks for a Dot-string of RFC 5321 s4.1.2; bytes above 127
// were checked before (RFC 6531 s3.3).
// Differs from RFC 5321 s4.1.2: a Quoted-string is refused, because no local
// delivery and few filters handle one right; OpenSMTPD refuses it as well.
func validLocalPart(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := range len(atom) {
			if !isAtext(atom[i]) {
				return false
			}
		}
	}
	return true
}

// validDomain checks a domain or an address literal. Names follow the
// resolver's idea of a host name: labels of letters, digits, "-" and "_", no
// "-" at the very beginning, no dot at the end.
func validDomain(s string, utf8OK bool) bool {
	if strings.HasPrefix(s, "[") {
		return validLiteral(s)
	}
	if s == "" || len(s) > MaxDomain || s[0] == '-' {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isAlnum(c) && c != '-' && c != '_' && (c < utf8.RuneSelf || !utf8OK) {
				return false
			}
		}
	}
	return true
}

// validLiteral checks "[192.0.2.1]" and "[IPv6:2001:db8::1]" (RFC 5321
// s4.1.3). The tag may lack, as clients are known to leave it out.
func validLiteral(s string) bool {
	if len(s) < 2 || s[len(s)-1] != ']' {
		return false
	}
	s = s[1 : len(s)-1]
	if len(s) >= 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Zone() == ""
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// isAtext: RFC 5322 s3.2.3, and RFC 6532 s3.2 for bytes above 127.
func isAtext(c byte) bool {
	return isAlnum(c) || c >= utf8.RuneSelf || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
