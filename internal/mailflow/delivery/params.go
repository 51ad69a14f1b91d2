package delivery

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/smtp"
)

// validPath reports whether s can stand between angle brackets without ending
// them or the line. That it is an address was checked when it came.
func validPath(s string) bool {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return false
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '<' || c == '>'):
			return false
		}
	}
	return s != "" && len(s) <= smtp.MaxPath && !quoted
}

// mailParams gives the parameters of MAIL that the server understands.
func (x *transaction) mailParams() string {
	m := x.job.Message
	var b strings.Builder
	if x.ext.Size {
		b.WriteString(" SIZE=" + strconv.FormatInt(x.size(), 10))
	}
	if m.EightBit && x.ext.EightBit {
		// Not offered: the message goes as it is, as other servers do
		// it; converting it would break signatures.
		b.WriteString(" BODY=8BITMIME")
	}
	if x.ext.UTF8 && x.needsUTF8() {
		b.WriteString(" SMTPUTF8")
	}
	if x.ext.DSN {
		switch m.Ret {
		case mail.RetFull:
			b.WriteString(" RET=FULL")
		case mail.RetHdrs:
			b.WriteString(" RET=HDRS")
		}
		if m.EnvID != "" && isParam(m.EnvID) {
			b.WriteString(" ENVID=" + m.EnvID)
		}
	}
	return b.String()
}

func (x *transaction) needsUTF8() bool {
	if x.job.Message.UTF8 || !isASCII(x.from) {
		return true
	}
	for _, r := range x.rcpts {
		if !isASCII(r.addr) {
			return true
		}
	}
	return false
}

// size gives the size that SIZE declares: exact if all of the message has been
// read, else without the CR of each line (RFC 1870 s5 allows an estimate).
func (x *transaction) size() int64 {
	if x.body.err == io.EOF {
		all := (*x.body.buf)[:x.body.n]
		n := len(all) + bytes.Count(all, []byte("\n"))
		if len(all) > 0 && all[len(all)-1] != '\n' {
			n += len("\r\n")
		}
		return int64(n)
	}
	return x.job.Message.Size
}

// rcptParams gives the parameters of RCPT that the server understands.
func (x *transaction) rcptParams(e *mail.Envelope) string {
	if !x.ext.DSN || e.Notify == 0 && e.ORcpt == "" {
		return ""
	}
	var b strings.Builder
	if e.Notify != 0 {
		b.WriteString(" NOTIFY=" + notifyWords(e.Notify))
	}
	if e.ORcpt != "" && isParam(e.ORcpt) {
		b.WriteString(" ORCPT=" + e.ORcpt)
	}
	return b.String()
}

func notifyWords(n mail.Notify) string {
	if n&mail.NotifyNever != 0 {
		return "NEVER"
	}
	var words []string
	for _, w := range []struct {
		bit  mail.Notify
		word string
	}{{mail.NotifySuccess, "SUCCESS"}, {mail.NotifyFailure, "FAILURE"}, {mail.NotifyDelay, "DELAY"}} {
		if n&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

// isParam reports whether s can stand as the value of a parameter.
func isParam(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
