package session

import (
	"errors"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/smtp"
)

func (s *Session) checkMail(req *request) smtp.Reply {
	switch {
	case s.opt.TLS == config.TLSRequire && s.tls == nil:
		return replyNeedTLS
	case s.opt.Auth == config.AuthRequire && !s.facts.Auth:
		return replyNeedAuth
	case s.mails >= s.opt.Limits.MaxMails:
		return replyTooManyMails
	}
	path, params, err := smtp.ParseMailArg([]byte(req.args), true)
	if err != nil {
		return replyBadSender
	}
	req.path, req.params = path, params
	req.question = path.Raw
	// Conditions of filters may look at the sender that they are asked about;
	// afterMail takes it back if MAIL is refused.
	s.facts.MailFrom, s.facts.HasMail = s.complete(path.Address), true
	return smtp.Reply{}
}

func (s *Session) proceedMail(req *request) smtp.Reply {
	p, err := smtp.ParseMailParams(req.params, s.extensions())
	if err != nil {
		req.badParams = true
		return paramReply(err)
	}
	if p.HasSize && p.Size > s.opt.Limits.MaxMessageSize {
		// RFC 1870 s6.1: refuse before the message travels.
		req.badParams = true
		return replySizeDeclared
	}
	id, err := s.opt.Queue.NewID()
	if err != nil {
		s.refuse("mail-from", "", replyQueueFailed, err)
		return replyQueueFailed
	}
	req.addr = s.complete(req.path.Address)
	s.tx = newTransaction(id, req.addr, p)
	s.facts.MailFrom, s.facts.HasMail = req.addr, true
	s.enter(stateTx)
	return replyOk
}

// extensions says which parameters MAIL and RCPT take. A SIZE that is no
// number is taken as none, as OpenSMTPD does.
func (s *Session) extensions() smtp.Extensions {
	return smtp.Extensions{DSN: s.opt.DSN, UTF8: true, LaxSize: true}
}

// complete gives an address without a domain ours, as OpenSMTPD does.
func (s *Session) complete(a mail.Address) mail.Address {
	if a.Local != "" && a.Domain == "" {
		a.Domain = s.name
	}
	return a
}

// paramReply gives the reply that a parameter error asks for.
func paramReply(err error) smtp.Reply {
	var p *smtp.ParamError
	if errors.As(err, &p) {
		return p.Reply
	}
	return mustText(501, "5.5.4", "Invalid command arguments")
}
