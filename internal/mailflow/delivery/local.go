package delivery

import (
	"context"
	"strings"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
)

// attempt is what the local methods share for one envelope.
type attempt struct {
	job  *Job
	env  *mail.Envelope
	act  *config.Action
	user account // who receives: %{user.username}, %{user.directory}
	run  account // whose rights apply, and whose HOME is set
	body *body
}

// deliverLocal makes the attempt of one envelope for a mailbox, file or
// command of this machine.
func (a *Agent) deliverLocal(ctx context.Context, j *Job, e *mail.Envelope, act *config.Action) error {
	t := attempt{job: j, env: e, act: act}
	if err := a.lookUpUsers(&t); err != nil {
		return err
	}
	loop := [2]string{e.Rcpt.String(), e.Dest.String()}
	var err error
	if t.body, err = openBody(j, loop); err != nil {
		return err
	}
	defer t.body.close()
	if t.body.header.looped {
		return failed("5.4.6", "mail loop: the message has been delivered to %s before (Delivered-To)", e.Rcpt)
	}
	if a.rights != nil {
		return a.entrust(ctx, &t)
	}
	switch {
	case e.Local.File != "":
		return a.toFile(ctx, &t, e.Local.File)
	case e.Local.Command != "":
		return a.toCommand(ctx, &t, e.Local.Command)
	}
	switch act.Method {
	case config.Maildir:
		return a.toMaildir(&t)
	case config.Mbox:
		return a.toSystemMailbox(ctx, &t)
	case config.MDA:
		return a.toCommand(ctx, &t, act.Command)
	}
	return deferred("4.3.5", "action %q does not deliver to users; change it or remove the envelope", act.Name)
}

// deliveryHeader gives the lines that final delivery puts on top (RFC 5321
// s4.4).
//
// Differs from RFC 5321 s4.4: the null reverse-path gets no Return-Path line,
// as in OpenSMTPD, whose filters and mailboxes ours are compared with.
func deliveryHeader(m *mail.Message, e *mail.Envelope) []byte {
	b := make([]byte, 0, 256)
	if !m.Sender.IsNull() {
		b = append(b, "Return-Path: <"...)
		b = appendHeaderText(b, m.Sender.String())
		b = append(b, ">\n"...)
	}
	b = append(b, "Delivered-To: "...)
	b = appendHeaderText(b, e.Rcpt.String())
	return append(b, '\n')
}

// appendHeaderText appends s; a control byte, which no parser of addresses
// lets through, becomes "?" rather than a header line of its own.
func appendHeaderText(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < 0x20 || c == 0x7f {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// extension gives the sub-address of the recipient, "" if it has none: "tag"
// of "user+tag". An alias may have led from a tagged address to another user,
// whose tag it is not then.
func (a *Agent) extension(t *attempt) string {
	delim := a.config().SMTP.SubAddrDelim
	if delim == 0 {
		return ""
	}
	for _, addr := range [...]mail.Address{t.env.Dest, t.env.Rcpt} {
		user, tag, ok := strings.Cut(addr.Local, string(rune(delim)))
		if ok && (t.act.User != "" || strings.EqualFold(user, t.env.Local.User)) {
			return tag
		}
	}
	return ""
}

// expansion gives the format specifiers of t.
func (a *Agent) expansion(t *attempt) *expansion {
	return &expansion{t: t, delim: a.config().SMTP.SubAddrDelim}
}
