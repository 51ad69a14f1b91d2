package filterwire

import "github.com/weirmail/weir/internal/trace"

// eventNames are the report events of smtpd-filters(7).
var eventNames = [...]string{
	trace.LinkConnect: "link-connect", trace.LinkGreeting: "link-greeting",
	trace.LinkIdentify: "link-identify", trace.LinkTLS: "link-tls",
	trace.LinkAuth: "link-auth", trace.LinkDisconnect: "link-disconnect",
	trace.TxReset: "tx-reset", trace.TxBegin: "tx-begin", trace.TxMail: "tx-mail",
	trace.TxRcpt: "tx-rcpt", trace.TxEnvelope: "tx-envelope", trace.TxData: "tx-data",
	trace.TxCommit: "tx-commit", trace.TxRollback: "tx-rollback",
	trace.ProtocolClient: "protocol-client", trace.ProtocolServer: "protocol-server",
	trace.FilterReport: "filter-report", trace.FilterResponse: "filter-response",
	trace.Timeout: "timeout",
}

// EventName gives the name that reports use for k, "" for an event that no
// filter is told of.
func EventName(k trace.Kind) string {
	if int(k) >= len(eventNames) {
		return ""
	}
	return eventNames[k]
}

// Events is a set of report events.
type Events uint32

// AllEvents is what "register|report|smtp-in|*" asks for.
const AllEvents = Events(1<<(trace.Timeout+1) - 1<<trace.LinkConnect)

// Has reports whether k is in the set.
func (s Events) Has(k trace.Kind) bool { return k <= trace.Timeout && s&(1<<k) != 0 }

// ParseEvents gives the event of that name, or all for "*"; false for an
// unknown name.
func ParseEvents(name string) (Events, bool) {
	if name == "*" {
		return AllEvents, true
	}
	for k, n := range eventNames {
		if n == name && n != "" {
			return 1 << k, true
		}
	}
	return 0, false
}

// Phases is a set of phases.
type Phases uint16

// Has reports whether p is in the set.
func (s Phases) Has(p Phase) bool { return s&(1<<p) != 0 }

// With gives the set with p added.
func (s Phases) With(p Phase) Phases { return s | 1<<p }
