package filterwire

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/trace"
)

// Protocol is the version that a filter is spoken to in.
type Protocol uint8

// The versions. V06 has no "config|protocol" line and gives the user before
// the result in link-auth; some old filters accept nothing newer.
const (
	V07 Protocol = iota
	V06
)

// ParseProtocol gives the version of that name, "" being the newest.
func ParseProtocol(name string) (Protocol, bool) {
	switch name {
	case "", "0.7":
		return V07, true
	case "0.6":
		return V06, true
	}
	return 0, false
}

// String gives the version as lines carry it.
func (v Protocol) String() string {
	if v == V06 {
		return "0.6"
	}
	return "0.7"
}

// Config is what the server says of itself when a filter starts.
type Config struct {
	Version        string // the server's name and version, smtpd-version
	Protocol       Protocol
	SessionTimeout int // seconds, smtp-session-timeout
	ADMD           string
	Features       []string // announced, in this order; none to a V06 filter
}

// AppendConfig appends the server's part of the handshake. Its lines belong
// into one write: one library reads for a quarter of a second and no longer.
func AppendConfig(b []byte, c *Config) []byte {
	line := func(key, value string) {
		b = append(b, "config|"...)
		b = append(b, key...)
		b = append(b, '|')
		b = appendText(b, value)
		b = append(b, '\n')
	}
	line("smtpd-version", c.Version)
	if c.Protocol != V06 {
		line("protocol", c.Protocol.String())
	}
	line("smtp-session-timeout", strconv.Itoa(c.SessionTimeout))
	line("subsystem", "smtp-in")
	line("admd", c.ADMD)
	if c.Protocol != V06 {
		for _, f := range c.Features {
			line("feature", f)
		}
	}
	return append(b, "config|ready\n"...)
}

// AppendRequest appends a question. For Connect, arg is "rdns|address"; for
// StartTLS, Data, Commit, Rset, Quit and Noop it is empty, and the line ends
// in the separator. An LF in arg, which no caller should have, becomes a
// space: it would begin a line of the client's own making.
func AppendRequest(b []byte, v Protocol, t time.Time, p Phase, id mail.SessionID, token uint64, arg string) []byte {
	b = appendRequestHead(b, v, t, p, id, token)
	b = appendText(b, arg)
	return append(b, '\n')
}

// AppendDataPrefix appends what stands before each line of a message; the
// line and its LF follow. It is built once for a message, so all its lines
// carry the time of the first.
func AppendDataPrefix(b []byte, v Protocol, t time.Time, id mail.SessionID, token uint64) []byte {
	return appendRequestHead(b, v, t, DataLine, id, token)
}

func appendRequestHead(b []byte, v Protocol, t time.Time, p Phase, id mail.SessionID, token uint64) []byte {
	b = append(b, "filter|"...)
	b = appendHead(b, v, t)
	b = append(b, p.String()...)
	b = append(b, '|')
	b = appendHex(b, uint64(id), 16)
	b = append(b, '|')
	b = appendHex(b, token, 16)
	return append(b, '|')
}

// AppendReport appends the report of e, which must be one of the events that
// filters are told of. Texts are passed as they are, "|" included; an LF
// becomes a space.
func AppendReport(b []byte, v Protocol, e *trace.Event) []byte {
	b = append(b, "report|"...)
	b = appendHead(b, v, e.Time)
	b = append(b, EventName(e.Kind)...)
	b = append(b, '|')
	b = appendHex(b, uint64(e.Session), 16)
	switch e.Kind {
	case trace.LinkConnect:
		b = appendField(b, orElse(e.Rdns, "<unknown>"))
		b = appendField(b, orElse(e.Fcrdns, "error"))
		b = appendField(b, e.Src)
		b = appendField(b, e.Dest)
	case trace.LinkGreeting, trace.LinkTLS, trace.ProtocolClient, trace.ProtocolServer:
		b = appendField(b, e.Text)
	case trace.LinkIdentify:
		b = appendField(b, e.Method)
		b = appendField(b, e.Text)
	case trace.LinkAuth:
		b = appendAuth(b, v, e)
	case trace.LinkDisconnect, trace.Timeout:
		// Nothing, not even a separator: several filters exit otherwise.
	case trace.FilterReport:
		b = appendField(b, e.Method)
		b = appendField(b, e.Filter)
		b = appendField(b, e.Text)
	case trace.FilterResponse:
		b = appendField(b, e.Phase)
		b = appendField(b, e.Result)
		if e.Text != "" || hasParam(e.Result) {
			b = appendField(b, e.Text)
		}
	default:
		b = appendTx(b, e)
	}
	return append(b, '\n')
}

// AppendFinalAddress appends the report of a TxMail or TxRcpt to a filter that
// registered the feature final-address: the address is the one that counts. One
// that is none (it was refused for its form) stands as the client wrote it.
func AppendFinalAddress(b []byte, e *trace.Event) []byte {
	f := *e
	if f.Result == "ok" || !f.Addr.IsNull() {
		f.Text = f.Addr.String()
	}
	return AppendReport(b, V07, &f)
}

// appendTx appends the fields of the tx-* events, which all begin with the
// message's id.
func appendTx(b []byte, e *trace.Event) []byte {
	b = append(b, '|')
	b = appendHex(b, uint64(e.Message), 8)
	switch e.Kind {
	case trace.TxMail, trace.TxRcpt:
		b = appendField(b, e.Result)
		b = appendField(b, e.Text)
	case trace.TxEnvelope:
		b = append(b, '|')
		b = appendHex(b, uint64(e.Envelope), 16)
	case trace.TxData:
		b = appendField(b, e.Result)
	case trace.TxCommit:
		b = append(b, '|')
		b = strconv.AppendInt(b, e.Size, 10)
	}
	return b
}

func appendAuth(b []byte, v Protocol, e *trace.Event) []byte {
	if v == V06 {
		b = append(b, '|')
		b = appendVis(b, e.User)
		return appendField(b, e.Result)
	}
	b = appendField(b, e.Result)
	b = append(b, '|')
	return appendVis(b, e.User)
}

// hasParam reports whether a decision is always reported with its parameter,
// even an empty one.
func hasParam(decision string) bool {
	switch decision {
	case "reject", "disconnect", "rewrite", "report":
		return true
	}
	return false
}

// appendHead appends "version|time|smtp-in|".
func appendHead(b []byte, v Protocol, t time.Time) []byte {
	b = append(b, v.String()...)
	b = append(b, '|')
	b = strconv.AppendInt(b, t.Unix(), 10)
	b = append(b, '.')
	us := t.Nanosecond() / 1000
	for d := 100000; d > 0; d /= 10 {
		b = append(b, '0'+byte(us/d%10))
	}
	return append(b, "|smtp-in|"...)
}

func appendField(b []byte, s string) []byte { return appendText(append(b, '|'), s) }

// appendText appends s; LF, which would end the line, becomes a space.
func appendText(b []byte, s string) []byte {
	n := len(b)
	b = append(b, s...)
	if strings.IndexByte(s, '\n') >= 0 {
		for i := n; i < len(b); i++ {
			if b[i] == '\n' {
				b[i] = ' '
			}
		}
	}
	return b
}

func appendHex(b []byte, v uint64, digits int) []byte {
	const hex = "0123456789abcdef"
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, hex[v>>shift&15])
	}
	return b
}

// appendVis appends s as vis(3) does with VIS_WHITE and VIS_SAFE, the form in
// which link-auth carries user names.
func appendVis(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '\\':
			b = append(b, '\\', '\\')
		case c > ' ' && c < 0x7f, c == '\a', c == '\b', c == '\r':
			b = append(b, c)
		case c&0x7f == ' ':
			b = append(b, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		default:
			b = append(b, '\\')
			if c&0x80 != 0 {
				b = append(b, 'M')
				c &= 0x7f
			}
			switch {
			case c == 0x7f:
				b = append(b, '^', '?')
			case c < ' ':
				b = append(b, '^', c+'@')
			default:
				b = append(b, '-', c)
			}
		}
	}
	return b
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// AppendLines appends each line of p, which holds whole lines ended by LF,
// with prefix before it, until b is at least full bytes long. It gives b and
// the part of p that is left.
func AppendLines(b, prefix, p []byte, full int) (out, rest []byte) {
	for len(p) > 0 && len(b) < full {
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			n = len(p)
		}
		b = append(b, prefix...)
		b = append(b, p[:n]...)
		p = p[n:]
	}
	return b, p
}
