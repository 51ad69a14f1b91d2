// Package filterwire is the codec of the line protocol that filters speak,
// smtpd-filters(7), with the features that protocol/FILTER.md adds.
//
// It is pure and allocates nothing on the hot path: encoders append to a
// caller's buffer, decoders give slices of the caller's line. It neither
// starts filters nor waits for them; package filter does.
package filterwire

// Phase is a place in a session at which filters are asked.
type Phase uint8

// The phases of smtpd-filters(7), in the order of a session. Help and Wiz may
// be registered and are never asked.
const (
	Connect Phase = iota + 1
	Helo
	Ehlo
	StartTLS
	Auth
	MailFrom
	RcptTo
	Data
	DataLine
	Commit
	Rset
	Quit
	Noop
	Help
	Wiz
	phases // how many there are, plus one
)

var phaseNames = [phases]string{
	Connect: "connect", Helo: "helo", Ehlo: "ehlo", StartTLS: "starttls", Auth: "auth",
	MailFrom: "mail-from", RcptTo: "rcpt-to", Data: "data", DataLine: "data-line",
	Commit: "commit", Rset: "rset", Quit: "quit", Noop: "noop", Help: "help", Wiz: "wiz",
}

// String gives the name that requests and registrations use.
func (p Phase) String() string {
	if p == 0 || p >= phases {
		return "?"
	}
	return phaseNames[p]
}

// ReportName gives the name that filter-response reports use: "connected" and
// "tls" for connect and starttls, else the phase's own.
func (p Phase) ReportName() string {
	switch p {
	case Connect:
		return "connected"
	case StartTLS:
		return "tls"
	}
	return p.String()
}

// ParsePhase gives the phase of that name, false for an unknown one.
func ParsePhase(name string) (Phase, bool) {
	for p := Connect; p < phases; p++ {
		if phaseNames[p] == name {
			return p, true
		}
	}
	return 0, false
}

// Decision is what a filter, or a chain, says to a question.
type Decision uint8

// The decisions of protocol 0.7. Bypass comes from built-in filters only.
const (
	Proceed Decision = iota + 1
	Junk
	Reject
	Disconnect
	Rewrite
	Report
	Bypass
)

var decisionNames = [...]string{
	Proceed: "proceed", Junk: "junk", Reject: "reject", Disconnect: "disconnect",
	Rewrite: "rewrite", Report: "report", Bypass: "bypass",
}

// String gives the word of the protocol.
func (d Decision) String() string {
	if d == 0 || int(d) >= len(decisionNames) {
		return "?"
	}
	return decisionNames[d]
}
