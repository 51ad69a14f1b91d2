package session

import (
	"fmt"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/trace"
)

// greet asks the filters about the connection and sends the banner; false if
// the session is over.
func (s *Session) greet() bool {
	if s.filters != nil {
		v := s.question(filterwire.Connect, s.connectQuestion())
		if v.Decision == filterwire.Rewrite {
			s.logEmptyRewrite(filterwire.Connect, v.Filter)
			v.Decision = filterwire.Proceed
		}
		if r := s.heed(filterwire.Connect, v); r.Code() != 0 {
			// RFC 8314 s3.3: a client that begins with TLS reads nothing else.
			if s.opt.TLS == tlsImplicit && !s.handshake() {
				return false
			}
			// RFC 5321 s3.1: the refusal takes the place of the banner.
			s.say(r)
			s.linger = true // also for one that has spoken already
			return false
		}
	}
	if s.opt.TLS == tlsImplicit && !s.handshake() {
		return false
	}
	s.say(mustText(220, "", s.name+" ESMTP "+mail.Software))
	s.tell(trace.Event{Kind: trace.LinkGreeting, Text: s.name})
	return true
}

// connectQuestion gives the argument of the connect phase: name and address.
func (s *Session) connectQuestion() string {
	name := s.facts.Rdns
	if name == "" {
		name = "<unknown>"
	}
	return name + "|" + s.source()
}

// source gives the client's address as filters see it: "addr", "[v6]", or
// "local" for the socket.
func (s *Session) source() string {
	switch {
	case s.facts.Socket:
		return "local"
	case s.facts.Src.Is6():
		return "[" + s.facts.Src.String() + "]"
	}
	return s.facts.Src.String()
}

func (s *Session) checkHelo(req *request) smtp.Reply { return s.checkName(req, replyHeloNeedsName) }

func (s *Session) checkEhlo(req *request) smtp.Reply { return s.checkName(req, replyEhloNeedsName) }

func (s *Session) checkName(req *request, missing smtp.Reply) smtp.Reply {
	switch {
	case !req.hasArgs:
		return missing
	case !smtp.ValidHeloName(req.args):
		return replyBadDomain
	}
	req.question = req.args
	s.facts.Helo = req.args // conditions may look at it; afterReply takes it back
	return smtp.Reply{}
}

func (s *Session) proceedHelo(req *request) smtp.Reply {
	s.identify("HELO", req.question, false)
	return mustText(250, "", s.hello())
}

func (s *Session) proceedEhlo(req *request) smtp.Reply {
	s.identify("EHLO", req.question, true)
	return s.ehloReply()
}

// identify notes the client's name. RFC 5321 s4.1.4: a second EHLO ends the
// transaction as RSET does.
func (s *Session) identify(method, name string, esmtp bool) {
	s.rollback()
	s.helo, s.facts.Helo, s.esmtp = name, name, esmtp
	s.tell(trace.Event{Kind: trace.LinkIdentify, Method: method, Text: name})
	s.enter(stateIdentified)
}

func (s *Session) hello() string {
	src := s.source()
	if src[0] != '[' {
		src = "[" + src + "]"
	}
	return fmt.Sprintf("%s Hello %s %s, pleased to meet you", s.name, s.facts.Helo, src)
}

// ehloReply lists the extensions. The order is OpenSMTPD's, HELP last.
func (s *Session) ehloReply() smtp.Reply {
	lines := make([]string, 0, 11)
	lines = append(lines, s.hello(),
		"8BITMIME",            // RFC 6152
		"ENHANCEDSTATUSCODES", // RFC 2034
		fmt.Sprintf("SIZE %d", s.opt.Limits.MaxMessageSize), // RFC 1870
		"PIPELINING", // RFC 2920
		"SMTPUTF8",   // RFC 6531
	)
	if !s.isTyped() {
		lines = append(lines, "CHUNKING") // RFC 3030
	}
	if s.opt.DSN {
		lines = append(lines, "DSN") // RFC 3461
	}
	if s.offersTLS() {
		lines = append(lines, "STARTTLS") // RFC 3207
	}
	if s.offersAuth() {
		lines = append(lines, "AUTH PLAIN LOGIN") // RFC 4954
	}
	r, err := smtp.Lines(250, "", append(lines, "HELP")...)
	if err != nil {
		return replyInternal
	}
	return r
}

// mustText makes a reply of text that holds names which were checked when they
// came in; should one not be fit for a reply after all, the session ends.
func mustText(code int, enhanced, text string) smtp.Reply {
	r, err := smtp.NewReply(code, enhanced, text)
	if err != nil {
		return replyInternal
	}
	return r
}
