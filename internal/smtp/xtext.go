package smtp

import (
	"errors"
	"strconv"
	"strings"
)

// ErrXtext is what DecodeXtext gives for a malformed text.
var ErrXtext = errors.New("malformed xtext")

// DecodeXtext gives the text that an ENVID, or the part of an ORCPT after its
// ";", stands for (RFC 3461 s4): delivery reports quote it decoded (RFC 3464
// s2.2.1, s2.3.1). The result may hold any bytes, CR and LF among them.
func DecodeXtext(s string) (string, error) {
	if !validXtext(s) {
		return "", ErrXtext
	}
	var b strings.Builder
	for {
		head, tail, found := strings.Cut(s, "+")
		b.WriteString(head)
		if !found {
			return b.String(), nil
		}
		n, err := strconv.ParseUint(tail[:2], 16, 8)
		if err != nil {
			return "", ErrXtext
		}
		b.WriteByte(byte(n))
		s = tail[2:]
	}
}

// validXtext: RFC 3461 s4: "!" to "~" without "+" and "=", or "+" and two
// upper-case hex digits.
func validXtext(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < '!' || c > '~' || c == '=' {
			return false
		}
		if c != '+' {
			continue
		}
		if i+2 >= len(s) || !isUpperHex(s[i+1]) || !isUpperHex(s[i+2]) {
			return false
		}
		i += 2
	}
	return true
}

func isUpperHex(c byte) bool { return isDigit(c) || c >= 'A' && c <= 'F' }
