package trace

import (
	"context"
	"log/slog"
)

// Log gives a Sink that writes events to log: those an operator looks for at
// level Info, faults at Warn, and everything that filters are told at Debug.
// One line an event; the keys are stable. Safe for concurrent use if log is.
func Log(log *slog.Logger) Sink { return logger{log} }

type logger struct{ log *slog.Logger }

// line says how an event is logged.
type line struct {
	level slog.Level
	msg   string
}

var lines = [...]line{
	LinkConnect:    {slog.LevelInfo, "connected"},
	LinkGreeting:   {slog.LevelDebug, "link-greeting"},
	LinkIdentify:   {slog.LevelDebug, "link-identify"},
	LinkTLS:        {slog.LevelInfo, "tls"},
	LinkAuth:       {slog.LevelInfo, "authentication"},
	LinkDisconnect: {slog.LevelInfo, "disconnected"},
	TxReset:        {slog.LevelDebug, "tx-reset"},
	TxBegin:        {slog.LevelDebug, "tx-begin"},
	TxMail:         {slog.LevelDebug, "tx-mail"},
	TxRcpt:         {slog.LevelDebug, "tx-rcpt"},
	TxEnvelope:     {slog.LevelDebug, "tx-envelope"},
	TxData:         {slog.LevelDebug, "tx-data"},
	TxCommit:       {slog.LevelDebug, "tx-commit"},
	TxRollback:     {slog.LevelDebug, "tx-rollback"},
	ProtocolClient: {slog.LevelDebug, "protocol-client"},
	ProtocolServer: {slog.LevelDebug, "protocol-server"},
	FilterReport:   {slog.LevelInfo, "filter-report"},
	FilterResponse: {slog.LevelDebug, "filter-response"},
	Timeout:        {slog.LevelInfo, "timeout"},
	Accepted:       {slog.LevelInfo, "accepted"},
	Refused:        {slog.LevelInfo, "refused"},
	FilterFailed:   {slog.LevelWarn, "filter failed"},
	FilterState:    {slog.LevelInfo, "filter"},
	DeliveryResult: {slog.LevelInfo, "delivery"},
	BounceSent:     {slog.LevelInfo, "bounce"},
}

// Reads reports whether events of that kind have a line at log's level.
func (l logger) Reads(k Kind) bool {
	return int(k) < len(lines) && l.log.Enabled(context.Background(), lines[k].level)
}

// Event writes the line of e.
func (l logger) Event(e *Event) {
	if int(e.Kind) >= len(lines) {
		return
	}
	ln := lines[e.Kind]
	ctx := context.Background()
	if !l.log.Enabled(ctx, ln.level) {
		return
	}
	var buf [12]slog.Attr
	l.log.LogAttrs(ctx, ln.level, ln.msg, attrs(buf[:0], e)...)
}

// attrs lists what is set in e, always in the same order.
func attrs(a []slog.Attr, e *Event) []slog.Attr {
	str := func(key, value string) {
		if value != "" {
			a = append(a, slog.String(key, cut(value)))
		}
	}
	if e.Session != 0 {
		str("session", e.Session.String())
	}
	if e.Envelope != 0 {
		str("envelope", e.Envelope.String())
	} else if e.Message != 0 {
		str("message", e.Message.String())
	}
	filterKey, destKey := "filter", "listener"
	if e.Kind == DeliveryResult {
		filterKey, destKey = "action", "host"
	}
	str(filterKey, e.Filter)
	str("phase", e.Phase)
	str("source", e.Src)
	str(destKey, e.Dest)
	if e.Kind == LinkConnect {
		a = append(a, slog.String("rdns", e.Rdns), slog.String("fcrdns", e.Fcrdns))
	}
	if e.Kind == Accepted || !e.Addr.IsNull() {
		a = append(a, slog.String(addrKey(e.Kind), e.Addr.String()))
	}
	if e.Kind == Accepted || e.Kind == TxCommit {
		a = append(a, slog.Int64("size", e.Size))
	}
	if e.Count != 0 {
		a = append(a, slog.Int("recipients", e.Count))
	}
	str("method", e.Method)
	str("user", e.User)
	str("result", e.Result)
	str("text", e.Text)
	if e.Cause != nil {
		str("cause", e.Cause.Error())
	}
	return a
}

// maxLogged is how much of a text is logged, in bytes: filters and other hosts
// write some of them.
const maxLogged = 2048

func cut(text string) string {
	if len(text) <= maxLogged {
		return text
	}
	return text[:maxLogged] + "..."
}

// addrKey says what an event's address is.
func addrKey(k Kind) string {
	switch k {
	case Accepted, TxMail:
		return "from"
	}
	return "to"
}
