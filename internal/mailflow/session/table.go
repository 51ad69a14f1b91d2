package session

import (
	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/smtp"
)

// command is one row of the table that drives the session.
type command struct {
	states  states           // where it is allowed; elsewhere 503
	noArgs  bool             // arguments are refused with 500, before the state is looked at
	phase   filterwire.Phase // question to the filters, 0 for none
	rewrite bool             // a filter may rewrite the argument
	// check looks at the command and changes nothing; the zero Reply goes on.
	check func(*Session, *request) smtp.Reply
	// proceed carries the command out.
	proceed func(*Session, *request) smtp.Reply
}

// request is one command on its way through the table.
type request struct {
	args     string // what follows the verb, leading white space removed
	hasArgs  bool   // there was a separator, even if nothing follows it
	question string // what the filters are asked; args if check left it alone

	path      smtp.Path    // MAIL, RCPT: the path in args
	params    string       // MAIL, RCPT: what follows the path
	addr      mail.Address // MAIL, RCPT: the address that counts, also after a rewrite
	badParams bool         // MAIL: refused for its parameters
}

// commands has a row for each verb.
var commands [smtp.Wiz + 1]command

func init() {
	commands = [...]command{
		smtp.Helo:     {states: anywhere, phase: filterwire.Helo, rewrite: true, check: (*Session).checkHelo, proceed: (*Session).proceedHelo},
		smtp.Ehlo:     {states: anywhere, phase: filterwire.Ehlo, rewrite: true, check: (*Session).checkEhlo, proceed: (*Session).proceedEhlo},
		smtp.StartTLS: {states: inIdentified, phase: filterwire.StartTLS, check: (*Session).checkStartTLS, proceed: (*Session).proceedStartTLS},
		smtp.Auth:     {states: inIdentified, phase: filterwire.Auth, rewrite: true, check: (*Session).checkAuth, proceed: (*Session).proceedAuth},
		smtp.Mail:     {states: inIdentified, phase: filterwire.MailFrom, rewrite: true, check: (*Session).checkMail, proceed: (*Session).proceedMail},
		smtp.Rcpt:     {states: inTx, phase: filterwire.RcptTo, rewrite: true, check: (*Session).checkRcpt, proceed: (*Session).proceedRcpt},
		smtp.Data:     {states: inTx, noArgs: true, phase: filterwire.Data, check: (*Session).checkData, proceed: (*Session).proceedData},
		smtp.Bdat:     {states: anywhere, proceed: (*Session).proceedBdat},
		smtp.Rset:     {states: greeted, noArgs: true, phase: filterwire.Rset, proceed: (*Session).proceedRset},
		smtp.Noop:     {states: anywhere, phase: filterwire.Noop, proceed: (*Session).proceedNoop},
		smtp.Quit:     {states: anywhere, noArgs: true, phase: filterwire.Quit, proceed: (*Session).proceedQuit},
		smtp.Help:     {states: anywhere, noArgs: true, proceed: (*Session).proceedHelp},
		smtp.Vrfy:     {states: anywhere, proceed: (*Session).proceedVrfy},
		smtp.Expn:     {states: anywhere, proceed: (*Session).proceedExpn},
		smtp.Wiz:      {states: anywhere, noArgs: true, proceed: (*Session).proceedWiz},
		smtp.Unknown:  {states: anywhere, proceed: (*Session).proceedUnknown},
	}
}
