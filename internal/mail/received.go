package mail

import (
	"strings"
	"time"
)

// Software is the name that our trace headers give.
const Software = "weir"

// Received is what the server's own trace header tells of a transaction (RFC
// 5321 s4.4).
type Received struct {
	Helo       string // name given in HELO or EHLO
	Rdns       string // name of the client's address, "" if none
	Source     string // client's address without port, with or without brackets; "local" for the socket
	MaskSource bool   // leave the three above out (listener's mask-src)

	Host     string // our name, as in the greeting
	Extended bool   // the client said EHLO
	UTF8     bool   // SMTPUTF8 was declared (RFC 6531 s3.7.3)
	TLS      string // "version:cipher:bits", "" without TLS
	Verified bool   // the client's certificate was verified
	Auth     bool   // the client authenticated, or is local
	ID       MessageID
	For      Address // the recipient if there is exactly one, else null (RFC 5321 s7.2)
	Time     time.Time
}

// Append appends the header, three or four lines each ended by a LF.
func (r *Received) Append(dst []byte) []byte {
	dst = append(dst, "Received: "...)
	if !r.MaskSource {
		rdns := r.Rdns
		if rdns == "" {
			rdns = "<unknown>"
		}
		dst = append(dst, "from "...)
		dst = appendClean(dst, r.Helo)
		dst = append(dst, " ("...)
		dst = appendClean(dst, rdns)
		dst = append(dst, " ["...)
		dst = appendClean(dst, strings.Trim(r.Source, "[]"))
		dst = append(dst, "])"...)
	}
	dst = append(dst, "\n\tby "...)
	dst = appendClean(dst, r.Host)
	dst = append(dst, " ("+Software+") with "...)
	dst = r.appendProtocol(dst)
	dst = append(dst, " id "...)
	dst = append(dst, r.ID.String()...)
	if r.TLS != "" {
		dst = append(dst, " ("...)
		dst = appendClean(dst, r.TLS)
		if r.Verified {
			dst = append(dst, ":YES)"...)
		} else {
			dst = append(dst, ":NO)"...)
		}
	}
	if !r.For.IsNull() {
		dst = append(dst, "\n\tfor <"...)
		dst = appendClean(dst, r.For.String())
		dst = append(dst, '>')
	}
	dst = append(dst, ";\n\t"...)
	dst = AppendDate(dst, r.Time)
	return append(dst, '\n')
}

// appendProtocol: RFC 3848 s1, and RFC 6531 s4.3 for the UTF8 names.
func (r *Received) appendProtocol(dst []byte) []byte {
	switch {
	case r.UTF8:
		dst = append(dst, "UTF8SMTP"...)
	case r.Extended:
		dst = append(dst, "ESMTP"...)
	default:
		dst = append(dst, "SMTP"...)
	}
	if r.TLS != "" {
		dst = append(dst, 'S')
	}
	if r.Auth {
		dst = append(dst, 'A')
	}
	return dst
}

// appendClean appends s with control bytes replaced by "?": names come from
// clients and their DNS, and must not begin a line of their own.
func appendClean(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == 0x7f {
			c = '?'
		}
		dst = append(dst, c)
	}
	return dst
}

// AppendDate appends t as a date of RFC 5322 s3.3 with the name of its zone
// as a comment: "Mon, 2 Jan 2006 15:04:05 +0000 (UTC)".
func AppendDate(dst []byte, t time.Time) []byte {
	return t.AppendFormat(dst, "Mon, 2 Jan 2006 15:04:05 -0700 (MST)")
}
