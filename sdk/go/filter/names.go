package filter

// Phase is a place in a session at which a filter may be asked. Its value is
// the name that the protocol uses.
type Phase string

// The phases, in the order of a session. The comment says what Question.Arg
// holds.
const (
	Connect  Phase = "connect"   // "rdns|address"; see Session for the parts
	Helo     Phase = "helo"      // the name that the client gave
	Ehlo     Phase = "ehlo"      // the name that the client gave
	StartTLS Phase = "starttls"  // nothing
	Auth     Phase = "auth"      // all that follows AUTH: credentials in the clear
	MailFrom Phase = "mail-from" // reverse-path without brackets and parameters; empty for <>
	RcptTo   Phase = "rcpt-to"   // forward-path without brackets and parameters
	Data     Phase = "data"      // nothing
	Commit   Phase = "commit"    // nothing, or the size with the feature MessageSize
	Rset     Phase = "rset"      // nothing
	Quit     Phase = "quit"      // nothing
	Noop     Phase = "noop"      // nothing
)

// dataLine is a phase that OnMessage registers: its questions are lines.
const dataLine Phase = "data-line"

// Event is something that happened, as reports tell it. Its value is the name
// that the protocol uses.
type Event string

// The events. The comment names the fields of Report that are set besides
// Session and Time.
const (
	LinkConnect    Event = "link-connect"    // nothing more: see Session
	LinkGreeting   Event = "link-greeting"   // Text: the server's name
	LinkIdentify   Event = "link-identify"   // Method: HELO or EHLO; Text: name given
	LinkTLS        Event = "link-tls"        // Text: version:cipher:bits
	LinkAuth       Event = "link-auth"       // Result: pass, fail, error; Text: user
	LinkDisconnect Event = "link-disconnect" // nothing more
	TxReset        Event = "tx-reset"        // Message
	TxBegin        Event = "tx-begin"        // Message
	TxMail         Event = "tx-mail"         // Message, Result, Text: address
	TxRcpt         Event = "tx-rcpt"         // Message, Result, Text: address
	TxEnvelope     Event = "tx-envelope"     // Message, Text: envelope id
	TxData         Event = "tx-data"         // Message, Result
	TxCommit       Event = "tx-commit"       // Message, Text: size in bytes
	TxRollback     Event = "tx-rollback"     // Message
	ProtocolClient Event = "protocol-client" // Text: command line
	ProtocolServer Event = "protocol-server" // Text: reply line
	FilterReport   Event = "filter-report"   // Method: builtin or proc; Text: name|report
	FilterResponse Event = "filter-response" // Method: phase; Text: decision and its parameter
	Timeout        Event = "timeout"         // nothing more
)

// Feature is something that the protocol's 0.7 cannot say and that a server
// may offer.
type Feature string

// The features of protocol/FILTER.md.
const (
	MessageSize  Feature = "message-size"  // Question.Size is known at Commit
	FinalAddress Feature = "final-address" // TxMail and TxRcpt carry addresses as rewritten
)
