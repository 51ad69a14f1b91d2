package session

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/trace"
)

// ask puts a command's question to the filters. The zero Reply lets the
// command proceed; a rewritten argument has been checked again by then and
// stands in req, so that the command and its reply refer to it.
func (s *Session) ask(c *command, req *request) smtp.Reply {
	if s.filters == nil {
		return smtp.Reply{}
	}
	v := s.question(c.phase, req.question)
	if v.Decision != filterwire.Rewrite {
		return s.heed(c.phase, v)
	}
	if !c.rewrite {
		s.logEmptyRewrite(c.phase, v.Filter)
		v.Decision = filterwire.Proceed
		return s.heed(c.phase, v)
	}
	s.emitResponse(c.phase, v.Decision, v.Param)
	text := req.args // reports keep showing what the client wrote
	*req = request{args: withParams(v.Param, req.params), hasArgs: true}
	r := c.check(s, req)
	req.args = text
	return r
}

// withParams gives a rewritten path the parameters that the client's had, unless
// the filter wrote some. Filters are shown the path alone: one that changes it
// does not mean to turn NOTIFY=NEVER or SMTPUTF8 off.
func withParams(path, params string) string {
	if params == "" || !strings.HasSuffix(path, ">") {
		return path
	}
	return path + " " + params
}

// overdueText is replyTimeout in the form of a filter's answer.
var overdueText = fmt.Sprintf("%d %s %s", replyTimeout.Code(), replyTimeout.Enhanced(), replyTimeout.Text())

// question asks the filters and notes the time, so that a client that leaves
// meanwhile can be noticed. If the client waits for replies it gets them
// before (RFC 2920 s3.2).
func (s *Session) question(p filterwire.Phase, arg string) filter.Verdict {
	if !s.in.reader.HasLine() {
		s.out.flush(s)
	}
	s.asking.Store(time.Now().UnixNano())
	v := s.filters.Ask(s.ctx, p, arg)
	s.asking.Store(0)
	if s.overdue() {
		s.emit(trace.Timeout)
		return filter.Verdict{Decision: filterwire.Disconnect, Param: overdueText, Err: errOverdue}
	}
	return v
}

// heed does what a verdict says and tells it. It does not know of rewrites.
func (s *Session) heed(p filterwire.Phase, v filter.Verdict) smtp.Reply {
	switch v.Decision {
	case filterwire.Reject, filterwire.Disconnect:
		return s.heedRefusal(p, v)
	case filterwire.Junk:
		s.markJunk(p)
	}
	d := v.Decision
	if d == filterwire.Bypass {
		d = filterwire.Proceed // smtpd-filters(7) has no word for it
	}
	s.emitResponse(p, d, "")
	return smtp.Reply{}
}

// markJunk marks the session or, once there is one, the transaction. At commit
// the header has been written already: the queue puts the mark on top.
func (s *Session) markJunk(p filterwire.Phase) {
	switch {
	case p == filterwire.Quit:
	case p == filterwire.Commit:
		s.tx.junkLate = !s.junk && !s.tx.junk
	case s.tx != nil:
		s.tx.junk = true
	default:
		s.junk = true
	}
}

// heedRefusal turns the text of a reject or disconnect into a reply.
func (s *Session) heedRefusal(p filterwire.Phase, v filter.Verdict) smtp.Reply {
	r, err := smtp.ParseReply(v.Param)
	d := v.Decision
	if err != nil {
		r, d = replyFilterText, filterwire.Reject
		v.Err = fmt.Errorf("answer %q of filter %s at %s is no reply: %w", v.Param, v.Filter, p, err)
		v.Param = r.Text()
	}
	if r.Code() == 421 {
		d = filterwire.Disconnect
	}
	s.emitResponse(p, d, v.Param)
	s.refuse(p.String(), v.Filter, r, v.Err)
	if d == filterwire.Disconnect {
		r = r.ThenClose()
	}
	return r
}

// logEmptyRewrite logs, once for each phase of a session, that a filter rewrote
// where there is nothing to rewrite.
func (s *Session) logEmptyRewrite(p filterwire.Phase, name string) {
	if bit := uint32(1) << p; s.rewriteLogged&bit == 0 {
		s.rewriteLogged |= bit
		s.opt.Log.Warn("filter rewrote where there is nothing to rewrite; taken as proceed",
			"session", s.id.String(), "filter", name, "phase", p.String())
	}
}
