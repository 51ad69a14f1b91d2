package session

import (
	"fmt"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/trace"
)

// tell completes an event and gives it to the filters and to everybody else.
// The event's memory is the session's, so that telling allocates nothing.
func (s *Session) tell(e trace.Event) { s.tellMasked(e, e.Text) }

// tellMasked tells an event to everybody but the filters with another text.
func (s *Session) tellMasked(e trace.Event, masked string) {
	s.ev = e
	s.ev.Time = time.Now()
	s.ev.Session = s.id
	if s.filters != nil {
		s.filters.Event(&s.ev)
	}
	s.ev.Text = masked
	s.opt.Sink.Event(&s.ev)
}

// emit tells an event that has no fields of its own.
func (s *Session) emit(k trace.Kind) { s.tell(trace.Event{Kind: k}) }

// emitLinkConnect tells who connected where. It is the first event of a session.
func (s *Session) emitLinkConnect() {
	e := trace.Event{Kind: trace.LinkConnect, Rdns: s.facts.Rdns, Fcrdns: s.ev.Fcrdns,
		Src: addrText(s.conn.RemoteAddr(), s.conn.LocalAddr()), Dest: addrText(s.conn.LocalAddr(), nil)}
	if s.facts.Socket {
		e.Src, e.Fcrdns = e.Dest, "pass"
	}
	s.tell(e)
}

// addrText gives "addr:port", "[v6]:port" or "unix:/path". The client's end of
// a unix socket has no name; other is the one that has.
func addrText(a, other net.Addr) string {
	switch a := a.(type) {
	case *net.TCPAddr:
		ap := a.AddrPort()
		return net.JoinHostPort(ap.Addr().Unmap().String(), fmt.Sprint(ap.Port()))
	case *net.UnixAddr:
		if (a.Name == "" || a.Name == "@") && other != nil {
			return addrText(other, nil)
		}
		return "unix:" + a.Name
	}
	return "unix:"
}

// reads reports whether somebody looks at events of kind k.
func (s *Session) reads(k trace.Kind) bool {
	return s.filters != nil && trace.Reads(s.filters, k) || trace.Reads(s.opt.Sink, k)
}

// emitClient tells a command line of the client, credentials masked. It makes no
// string of it when nobody would read that.
func (s *Session) emitClient(line []byte) {
	if !s.reads(trace.ProtocolClient) {
		return
	}
	s.tell(trace.Event{Kind: trace.ProtocolClient, Text: smtp.MaskCommand(string(line))})
}

// emitTx tells an event of a transaction that needs no more than its id.
func (s *Session) emitTx(k trace.Kind, id mail.MessageID) {
	s.tell(trace.Event{Kind: k, Message: id})
}

// emitResponse tells what the filters said to a question. Credentials that a
// filter puts in the place of the client's are no more for the log than those.
func (s *Session) emitResponse(p filterwire.Phase, d filterwire.Decision, param string) {
	masked := param
	if p == filterwire.Auth && d == filterwire.Rewrite {
		masked = maskedAuth(param)
	}
	s.tellMasked(trace.Event{Kind: trace.FilterResponse, Phase: p.ReportName(), Result: d.String(), Text: param}, masked)
}

// say writes a reply and tells each of its lines. The bytes leave when the
// client has nothing more for us to read, or the buffer is full (RFC 2920 s3.2).
func (s *Session) say(r smtp.Reply) {
	s.out.add(s, r)
	if s.reads(trace.ProtocolServer) {
		r.EachLine(func(line string) {
			s.tell(trace.Event{Kind: trace.ProtocolServer, Text: line})
		})
	}
	if !r.IsPositive() {
		s.errs++
	}
	if r.Closes() && !r.IsPositive() {
		s.linger = true
	}
}

// afterReply tells the events of a transaction that follow from the reply to a
// command: MAIL, RCPT and DATA have one for success and one for failure.
func (s *Session) afterReply(verb smtp.Verb, req *request, r smtp.Reply) {
	switch verb {
	case smtp.Mail:
		s.afterMail(req, r)
	case smtp.Rcpt:
		s.afterRcpt(req, r)
	case smtp.Helo, smtp.Ehlo:
		if !r.IsPositive() {
			s.facts.Helo = s.helo
		}
	case smtp.Data, smtp.Bdat:
		s.afterData(r)
	case smtp.Rset:
		if r.IsPositive() {
			s.rollback()
		}
	}
}

// afterMail tells of MAIL. One that was refused outside a transaction is not
// told, unless it was for its parameters: the transaction existed for a moment
// then, without an id.
func (s *Session) afterMail(req *request, r smtp.Reply) {
	if s.tx == nil {
		s.facts.MailFrom, s.facts.HasMail = mail.Address{}, false
	}
	text, ok := pathText(req.args)
	var id mail.MessageID
	switch {
	case s.tx != nil:
		id = s.tx.id
		if r.IsPositive() {
			s.emitTx(trace.TxBegin, id)
		}
	case !req.badParams:
		return
	}
	if ok {
		s.tell(trace.Event{Kind: trace.TxMail, Message: id, Result: result(r), Text: text, Addr: req.addr})
	}
}

// afterRcpt tells of RCPT. From here on conditions look at the recipients that
// were accepted.
func (s *Session) afterRcpt(req *request, r smtp.Reply) {
	if s.tx == nil {
		return
	}
	s.facts.RcptTo, s.facts.HasRcpt = mail.Address{}, false
	s.facts.Accepted = s.tx.rcpts
	if text, ok := pathText(req.args); ok {
		s.tell(trace.Event{Kind: trace.TxRcpt, Message: s.tx.id, Result: result(r), Text: text, Addr: req.addr})
	}
}

// result gives the word that reports have for a reply.
func result(r smtp.Reply) string {
	switch r.Code() / 100 {
	case 4:
		return "tempfail"
	case 5:
		return "permfail"
	}
	return "ok"
}

// pathText gives what stands between the brackets of a path, as reports show
// it: as the client wrote it, whether it is an address or not.
func pathText(args string) (string, bool) {
	_, text, ok := strings.Cut(args, "<")
	if !ok {
		return "", false
	}
	text, _, ok = strings.Cut(text, ">")
	return text, ok
}

// refuse tells the log that a command was refused, by whom and why.
func (s *Session) refuse(phase, filter string, r smtp.Reply, cause error) {
	s.tell(trace.Event{Kind: trace.Refused, Phase: phase, Filter: filter, Text: r.Text(), Cause: cause})
}

func (s *Session) idString() string { return s.id.String() }

// logPanic writes what ended the session, with the stack that led there.
func (s *Session) logPanic(p any) {
	s.opt.Log.Error("session panicked", "session", s.id.String(), "panic", p, "stack", string(debug.Stack()))
}
