package session

import (
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/trace"
)

func (s *Session) checkRcpt(req *request) smtp.Reply {
	switch {
	case s.tx.message != nil:
		return replyBdatNotData
	case len(s.tx.rcpts) >= s.opt.Limits.MaxRcpt:
		return replyTooManyRcpts // RFC 5321 s4.5.3.1.10
	}
	path, params, err := smtp.ParseRcptArg([]byte(req.args), s.tx.params.UTF8)
	if err != nil {
		return replyBadRecipient
	}
	req.path, req.params = path, params
	req.question = path.Raw
	// Conditions of filters may look at the recipient that they are asked about;
	// afterRcpt takes it back.
	s.facts.RcptTo, s.facts.HasRcpt = s.complete(path.Address), true
	return smtp.Reply{}
}

func (s *Session) proceedRcpt(req *request) smtp.Reply {
	p, err := smtp.ParseRcptParams(req.params, s.extensions(), s.tx.notify)
	if err != nil {
		return paramReply(err)
	}
	req.addr = s.complete(req.path.Address)
	s.facts.RcptTo, s.facts.HasRcpt = req.addr, true
	res := s.opt.Router.Route(s.ctx, &s.facts)
	if res.Verdict != routing.Accept {
		r := routeReply(&res, req.addr)
		s.refuse("rcpt-to", "", r, res.Cause)
		return r
	}
	for _, e := range s.tx.add(req.addr, res.Envelopes, p) {
		s.tell(trace.Event{Kind: trace.TxEnvelope, Message: s.tx.id, Envelope: e.ID})
	}
	return replyRcptOk
}

// routeReply gives the reply to a recipient that the ruleset does not take: the
// text of an alias "error:", or ours.
func routeReply(res *routing.Result, rcpt mail.Address) smtp.Reply {
	if r, err := smtp.ParseReply(res.Reply); err == nil {
		return r
	}
	if res.Verdict == routing.TryLater {
		return mustText(451, "", "Temporary failure: <"+rcpt.String()+">")
	}
	return mustText(550, "", "Invalid recipient: <"+rcpt.String()+">")
}
