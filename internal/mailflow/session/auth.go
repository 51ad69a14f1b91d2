package session

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/trace"
)

// authDelay bounds the random time that a failed attempt waits for its reply,
// so that the reply's time tells nothing about the user.
const authDelay = time.Second

// offersAuth reports whether EHLO lists AUTH now: never in the clear
// (RFC 4954 s4).
func (s *Session) offersAuth() bool {
	return s.opt.Auth != config.AuthNone && s.tls != nil && !s.facts.Auth
}

func (s *Session) checkAuth(req *request) smtp.Reply {
	switch {
	case s.facts.Auth:
		return replyAuthDone
	case !s.offersAuth():
		return replyNotSupported
	case !req.hasArgs:
		return replyAuthNoArgs
	}
	req.question = req.args
	return smtp.Reply{}
}

func (s *Session) proceedAuth(req *request) smtp.Reply {
	mechanism, initial, has := smtp.AuthArgs([]byte(req.question))
	switch mechanism {
	case "PLAIN":
		return s.authPlain(initial, has)
	case "LOGIN":
		return s.authLogin(initial)
	}
	name := req.question[:len(mechanism)] // as it was written
	if req.question == req.args {
		// A word of the client that names no mechanism may be a response whose
		// mechanism was forgotten, and replies are reported and logged.
		name = maskedAuth(name)
	}
	return mustText(504, "5.7.4", "Security features not supported: AUTH method \""+name+"\" not supported")
}

// maskedAuth gives the arguments of AUTH as reports and logs may show them.
func maskedAuth(args string) string {
	return strings.TrimPrefix(smtp.MaskCommand("AUTH "+args), "AUTH ")
}

// authPlain is RFC 4616.
func (s *Session) authPlain(initial []byte, has bool) smtp.Reply {
	if !has {
		line, ok := s.challenge(replyAuthPlain)
		if !ok {
			return smtp.Reply{}
		}
		initial = line
	}
	c, err := smtp.DecodePlain(initial)
	if err != nil {
		return replyAuthSyntax
	}
	return s.authenticate(c)
}

// authLogin is the LOGIN mechanism, which no RFC describes: two questions, two
// answers in base64.
func (s *Session) authLogin(initial []byte) smtp.Reply {
	if len(initial) == 0 {
		line, ok := s.challenge(replyAuthUser)
		if !ok {
			return smtp.Reply{}
		}
		initial = line
	}
	user, err := smtp.DecodeLoginName(initial)
	if err != nil {
		return replyAuthSyntax
	}
	line, ok := s.challenge(replyAuthPassword)
	if !ok {
		return smtp.Reply{}
	}
	c, err := smtp.DecodeLoginPassword(user, line)
	if err != nil {
		return replyAuthSyntax
	}
	return s.authenticate(c)
}

// challenge sends a 334 and gives the client's line; false if the session is
// over. The line never reaches a report (docs/differences.md, 12).
func (s *Session) challenge(r smtp.Reply) ([]byte, bool) {
	s.say(r)
	line, err := s.readLine(smtp.MaxAuthLine)
	if err != nil {
		if !s.inputFailed(err) {
			s.enter(stateQuit)
		}
		return nil, false
	}
	s.tell(trace.Event{Kind: trace.ProtocolClient, Text: "********"})
	return line, true
}

// authenticate asks for user and password and tells what came of it.
func (s *Session) authenticate(c smtp.Credentials) smtp.Reply {
	ok, err := s.opt.Authenticate(c.User, c.Password)
	e := trace.Event{Kind: trace.LinkAuth, User: c.User, Result: "pass", Cause: err}
	switch {
	case err != nil:
		e.Result = "error"
		s.tell(e)
		return replyAuthLater
	case !ok:
		e.Result = "fail"
		s.tell(e)
		s.pause(rand.N(authDelay))
		return replyAuthFailed
	}
	s.facts.Auth, s.facts.AuthUser = true, c.User
	s.tell(e)
	return replyAuthOk
}

// pause waits, unless the session's context ends first.
func (s *Session) pause(d time.Duration) {
	s.out.flush(s)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}
