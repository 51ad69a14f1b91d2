package smtp

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Reply is one reply of a server, of one or several lines. It can only be
// made by NewReply, Lines, ParseReply and the fixed replies of this package,
// so that it is always well formed: three digits, an enhanced code of the
// same class or none, text without CR, LF, NUL or other control bytes. The
// zero Reply is no reply.
type Reply struct {
	code     int
	enhanced string   // "5.7.1", or "" for none
	lines    []string // at least one; without code and enhanced code
	close    bool
}

// MaxReplyLine is the longest reply line that we send, in octets with its
// CR LF (RFC 5321 s4.5.3.1.5). Longer texts are wrapped into several lines.
const MaxReplyLine = 512

// ErrReply is what every error of NewReply, Lines and ParseReply wraps.
var ErrReply = errors.New("malformed reply")

// NewReply makes a reply of one line. code is 200 to 599; enhanced is an
// RFC 3463 code of the same class such as "5.7.1", or "" for none; text may
// hold any bytes except control bytes (a tab is allowed).
func NewReply(code int, enhanced, text string) (Reply, error) {
	return Lines(code, enhanced, text)
}

// MustReply is NewReply for constants of the program: it panics where
// NewReply gives an error, which no test of such a constant can miss.
func MustReply(code int, enhanced, text string) Reply {
	r, err := Lines(code, enhanced, text)
	if err != nil {
		panic(err)
	}
	return r
}

// Lines makes a reply of several lines; see NewReply. The enhanced code
// stands on each of them (RFC 2034 s4). It keeps a copy of lines.
func Lines(code int, enhanced string, lines ...string) (Reply, error) {
	if code < 200 || code > 599 {
		return Reply{}, fmt.Errorf("%w: code %d is not between 200 and 599", ErrReply, code)
	}
	if enhanced != "" && !validEnhanced(enhanced, byte('0'+code/100)) {
		return Reply{}, fmt.Errorf("%w: enhanced code %q does not fit code %d", ErrReply, enhanced, code)
	}
	if len(lines) == 0 {
		return Reply{}, fmt.Errorf("%w: code %d has no line", ErrReply, code)
	}
	for _, l := range lines {
		if i := controlByte(l); i >= 0 {
			return Reply{}, fmt.Errorf("%w: control byte 0x%02x in text %q", ErrReply, l[i], l)
		}
	}
	return Reply{code: code, enhanced: enhanced, lines: append([]string(nil), lines...)}, nil
}

// ParseReply reads a refusal as filters and configurations write it: a 4xx or
// 5xx code, one space and text ("550 5.7.1 no", "550 no"). An enhanced code
// whose class is not that of the code is taken as text. Printing the result
// gives the same bytes again.
func ParseReply(text string) (Reply, error) {
	if len(text) < len("550 x") || text[3] != ' ' {
		return Reply{}, fmt.Errorf("%w: %q is not a code, a space and text", ErrReply, text)
	}
	if text[0] != '4' && text[0] != '5' || !isDigit(text[1]) || !isDigit(text[2]) {
		return Reply{}, fmt.Errorf("%w: %q does not begin with a 4xx or 5xx code", ErrReply, text)
	}
	code := digits(text[:3])
	enhanced, rest := cutEnhanced(text[4:], text[0])
	return Lines(code, enhanced, rest)
}

// Code gives the three digits, 0 for the zero Reply.
func (r Reply) Code() int { return r.code }

// Enhanced gives the enhanced status code (RFC 3463), "" if there is none.
func (r Reply) Enhanced() string { return r.enhanced }

// Text gives the text without codes, its lines joined by LF.
func (r Reply) Text() string { return strings.Join(r.lines, "\n") }

// IsPositive reports whether r is a 2xx or 3xx reply (RFC 5321 s4.2.1).
func (r Reply) IsPositive() bool { return r.code >= 200 && r.code < 400 }

// IsTransient reports whether r is a 4xx reply: the same may work later.
func (r Reply) IsTransient() bool { return r.code >= 400 && r.code < 500 }

// IsPermanent reports whether r is a 5xx reply.
func (r Reply) IsPermanent() bool { return r.code >= 500 }

// IsZero reports whether r is no reply.
func (r Reply) IsZero() bool { return r.code == 0 }

// Closes reports whether the session ends after this reply.
func (r Reply) Closes() bool { return r.close }

// ThenClose gives r, after which the session ends.
func (r Reply) ThenClose() Reply { r.close = true; return r }

// String gives the reply as it is sent, lines joined by LF; for logs.
func (r Reply) String() string {
	var b strings.Builder
	r.EachLine(func(line string) {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(line)
	})
	return b.String()
}

// AppendWire appends the reply as it goes over the wire: every line with
// code, "-" or space, enhanced code, text and CR LF (RFC 5321 s4.2.1).
func (r Reply) AppendWire(dst []byte) []byte {
	r.each(func(sep byte, text string) {
		dst = r.appendLine(dst, sep, text)
		dst = append(dst, '\r', '\n')
	})
	return dst
}

// EachLine calls f with each line that AppendWire would write, without CR LF.
func (r Reply) EachLine(f func(line string)) {
	var buf []byte
	r.each(func(sep byte, text string) {
		buf = r.appendLine(buf[:0], sep, text)
		f(string(buf))
	})
}

func (r Reply) appendLine(dst []byte, sep byte, text string) []byte {
	dst = append(dst, byte('0'+r.code/100), byte('0'+r.code/10%10), byte('0'+r.code%10), sep)
	if r.enhanced != "" {
		dst = append(dst, r.enhanced...)
		if text == "" {
			return dst
		}
		dst = append(dst, ' ')
	}
	return append(dst, text...)
}

// each calls f with the separator and the text of each line after wrapping.
func (r Reply) each(f func(sep byte, text string)) {
	room := MaxReplyLine - len("250 \r\n")
	if r.enhanced != "" {
		room -= len(r.enhanced) + 1
	}
	for i, l := range r.lines {
		for {
			head, tail, more := wrap(l, room)
			if !more && i == len(r.lines)-1 {
				f(' ', head)
				break
			}
			f('-', head)
			if !more {
				break
			}
			l = tail
		}
	}
}

// wrap cuts text after at most room bytes: at its last space, which goes,
// else between two characters.
func wrap(text string, room int) (head, tail string, more bool) {
	if len(text) <= room {
		return text, "", false
	}
	if i := strings.LastIndexByte(text[:room+1], ' '); i > 0 {
		return text[:i], text[i+1:], true
	}
	cut := room
	for cut > room-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut], text[cut:], true
}

// validEnhanced checks RFC 3463 s2: class "." 1*3digit "." 1*3digit.
func validEnhanced(s string, class byte) bool {
	if len(s) < 5 || s[0] != class || s[1] != '.' || class == '3' {
		return false
	}
	subject, detail, ok := strings.Cut(s[2:], ".")
	return ok && upTo3Digits(subject) && upTo3Digits(detail)
}

func upTo3Digits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 3
}

// cutEnhanced splits an enhanced code of the given class off text. Text must
// follow it: what would not print the same again stays text.
func cutEnhanced(text string, class byte) (enhanced, rest string) {
	code, rest, ok := strings.Cut(text, " ")
	if !ok || rest == "" || !validEnhanced(code, class) {
		return "", text
	}
	return code, rest
}

// controlByte gives the place of the first control byte of s that a reply
// must not hold, -1 if there is none. RFC 5321 s4.2: textstring = HTAB / %d32-126;
// bytes above are let through for SMTPUTF8 (RFC 6531 s3.7.4.1).
func controlByte(s string) int {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return -1
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func digits(s string) int { return int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0') }
