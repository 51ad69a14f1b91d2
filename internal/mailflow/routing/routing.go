// Package routing decides where mail goes: the ruleset of match and action,
// aliases, virtual users and .forward files.
//
// A recipient is routed once, when its RCPT is answered; the result is a list
// of envelopes for the queue. Envelope.Local.User is the recipient's user also
// where an action has a user option: whose rights apply is decided at each
// attempt. The package looks things up in tables and in
// the user database; it does not write anything, does not talk to the network
// and does not deliver.
package routing

import (
	"net/netip"

	"github.com/weirmail/weir/internal/mail"
)

// Limits of one recipient's expansion.
const (
	// MaxDepth is how many steps lead from the recipient to a destination at
	// most: each alias, .forward and rule on the way is one or two. More is
	// taken for a loop, and the recipient is refused.
	MaxDepth = 10

	// MaxNodes is how many names, addresses, files and commands one recipient
	// may expand to, those on the way included. More is TryLater, so that
	// nothing is lost until the postmaster has looked at the list.
	MaxNodes = 10000
)

// AliasUser runs the commands and writes the files that an aliases table
// names: the table has no owner whose rights would apply, and root's must not.
// Where the action has a user option, that user does it instead.
const AliasUser = "nobody"

// Facts is what is known of a session and its transaction when a condition is
// looked at: by match, by built-in filters, by when. The session fills it in
// as the client speaks; a field not known yet is zero.
type Facts struct {
	Src      netip.Addr // client address; invalid for the local socket
	Local    bool       // local socket, or an address of this machine's loopback
	Socket   bool       // local socket
	Rdns     string     // "" if none
	Fcrdns   bool       // the name leads back to the address
	Helo     string
	Tag      string
	TLS      bool
	Auth     bool
	AuthUser string
	MailFrom mail.Address // reverse-path of the transaction
	HasMail  bool         // MailFrom is known (it may be null)
	RcptTo   mail.Address // forward-path under question
	HasRcpt  bool
	Accepted []mail.Address // forward-paths accepted so far; what rcpt-to looks at while none is under question

	// internal: RcptTo came out of an alias or .forward. Who sent the message
	// first is then nobody's business: for the ruleset it comes from here.
	internal bool
	here     *localNames // what "for local" means; nil: localhost alone
}

// Verdict is what the ruleset says of one recipient.
type Verdict uint8

// The verdicts.
const (
	Accept   Verdict = iota + 1
	Refuse           // no rule matches, a rule says reject, or there is no such user
	TryLater         // a lookup failed
)

// Result is the route of one recipient.
type Result struct {
	Verdict   Verdict
	Envelopes []mail.Envelope // Accept: at least one; ID, Notify, ORcpt are the session's to fill in
	Rule      string          // the rule that decided, as written; "" if none did
	Reply     string          // reply that an alias "error:" asks for, "550 5.1.1 text"; "" for the session's own
	Cause     error           // why, for the log; never shown to the client
}
