package delivery

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/smtp"
)

// pipelineWindow is how many commands are under way at once. Their replies
// must fit into the buffers of the connection, or server and client wait for
// each other (RFC 2920 s3.1).
const pipelineWindow = 64

// errStale says that a connection was gone before the transaction began.
var errStale = errors.New("connection was closed by the server")

// errNobody says that no recipient was accepted: there is a transaction to be
// reset, which costs as much as a new connection and is less often tested.
var errNobody = &refusal{to: "the transaction"}

// transaction is one mail transaction (RFC 5321 s3.3) for some envelopes of a
// job, as the client sees it.
type transaction struct {
	job    *Job
	act    *config.Action
	host   string // for outcomes
	addr   string
	from   string
	rcpts  []rcpt
	out    []Outcome // of the whole job
	body   *body
	step   string // what is being waited for
	ext    Extensions
	lmtp   bool
	reused bool // the connection has been used before
	answer bool // MAIL was answered
	dotted bool // the final dot was sent
}

// rcpt is a recipient that has no outcome yet.
type rcpt struct {
	place    int
	env      *mail.Envelope
	addr     string
	accepted bool
}

func newTransaction(j *Job, act *config.Action, t *target, places []int, out []Outcome) *transaction {
	x := &transaction{job: j, act: act, host: t.host, addr: t.addr, lmtp: t.lmtp, out: out, from: j.Message.Sender.String()}
	if act.MailFrom != "" && !j.Message.Sender.IsNull() {
		x.from = act.MailFrom // but a bounce stays one (RFC 5321 s4.5.5)
	}
	for _, p := range places {
		e := j.Envelopes[p]
		x.rcpts = append(x.rcpts, rcpt{place: p, env: e, addr: forwardPath(act, e)})
	}
	return x
}

// forwardPath is what RCPT names: for the action lmtp the user, unless rcpt-to
// asks for the address; else the address.
func forwardPath(act *config.Action, e *mail.Envelope) string {
	if act.Method == config.LMTP && !act.LMTPRcpt && e.Local.User != "" {
		return e.Local.User
	}
	return e.Dest.String()
}

func (x *transaction) open() (err error) {
	x.body, err = openBody(x.job, [2]string{})
	return err
}

// settle gives o to every recipient that has no outcome yet.
func (x *transaction) settle(o Outcome) {
	x.prune()
	for _, r := range x.rcpts {
		x.out[r.place] = o
	}
	x.rcpts = nil
}

// decide gives o to the recipient at i, which prune will take off the list.
func (x *transaction) decide(i int, o Outcome) {
	x.out[x.rcpts[i].place] = o
	x.rcpts[i].place = -1
}

// prune takes the recipients off the list that decide has dealt with.
func (x *transaction) prune() {
	left := x.rcpts[:0]
	for _, r := range x.rcpts {
		if r.place >= 0 {
			left = append(left, r)
		}
	}
	x.rcpts = left
}

// run makes the transaction over c. It returns nil if c may be used for
// another one, a *refusal if the transaction ended otherwise and QUIT may
// follow, errStale, or what broke the connection; recipients without outcome
// are then the caller's.
func (x *transaction) run(c *Conn) error {
	x.ext, x.step = c.ext, "MAIL"
	if x.prepare(); len(x.rcpts) == 0 {
		return nil
	}
	data, err := x.envelope(c)
	if err != nil {
		if x.reused && !x.answer {
			return fmt.Errorf("%w: %w", errStale, err)
		}
		return err
	}
	x.prune()
	switch {
	case data.Code() == 354 && len(x.rcpts) == 0:
		// RFC 2920 s3.1: DATA went along with recipients that were all
		// refused; an empty message ends it.
		if err := c.Write([]byte(".\r\n")); err != nil {
			return err
		}
		if _, err := c.Reply(c.times.end); err != nil {
			return err
		}
		return errNobody
	case data.Code() == 354:
		return x.message(c)
	case len(x.rcpts) == 0:
		return errNobody
	}
	o := x.outcome(data)
	if data.IsPositive() { // nothing was sent that could be accepted
		o = Outcome{Status: Deferred, Enhanced: "4.5.0", Remote: x.host, Text: "unexpected reply to DATA: " + o.Text}
	}
	x.settle(o)
	return &refusal{"DATA", data}
}

// prepare decides what can be decided without asking the server.
func (x *transaction) prepare() {
	m := x.job.Message
	utf8 := m.UTF8 && x.body.header.eightBit || !isASCII(x.from)
	switch {
	case !validPath(x.from) && x.from != "":
		x.settle(Outcome{Status: Failed, Enhanced: "5.1.7", Text: oneLine(fmt.Sprintf("%q cannot be sent as a reverse-path", x.from))})
	case utf8 && !x.ext.UTF8:
		x.settle(Outcome{Status: Failed, Enhanced: "5.6.7", Remote: x.host, Text: "message needs SMTPUTF8, which the server does not offer"})
	case x.ext.MaxSize > 0 && m.Size > x.ext.MaxSize:
		x.settle(Outcome{Status: Failed, Enhanced: "5.3.4", Remote: x.host,
			Text: fmt.Sprintf("message of %d bytes is larger than the %d that the server takes", m.Size, x.ext.MaxSize)})
	}
	for i, r := range x.rcpts {
		switch {
		case !validPath(r.addr):
			x.decide(i, Outcome{Status: Failed, Enhanced: "5.1.3", Text: oneLine(fmt.Sprintf("%q cannot be sent as a forward-path", r.addr))})
		case !isASCII(r.addr) && !x.ext.UTF8:
			x.decide(i, Outcome{Status: Failed, Enhanced: "5.6.7", Remote: x.host, Text: "recipient needs SMTPUTF8, which the server does not offer"})
		}
	}
	x.prune()
}

// envelope sends MAIL, RCPT and DATA and reads their replies. It gives the
// reply to DATA, the zero Reply if DATA was not sent because nobody is left.
func (x *transaction) envelope(c *Conn) (data smtp.Reply, err error) {
	window := 1
	if x.ext.Pipelining {
		window = pipelineWindow
	}
	last := len(x.rcpts) + 1 // command 0 is MAIL, last is DATA
	refused := false         // MAIL was
	for sent, done := 0, 0; done <= last; {
		for ; sent <= last && sent-done < window && !refused; sent++ {
			if sent == last && done == last && !x.anyAccepted() {
				return data, nil
			}
			x.collect(c, sent, last)
		}
		if sent == done {
			return data, nil
		}
		if err := c.Flush(); err != nil {
			return data, fmt.Errorf("sending %s: %w", x.step, err)
		}
		for ; done < sent; done++ {
			reply, err := x.read(c, done, last)
			switch {
			case err != nil:
				return data, fmt.Errorf("waiting for the reply to %s: %w", x.step, err)
			case reply.Code() == 421 && done == 0 && x.reused:
				return data, errStale
			case done == last:
				data = reply
			case done == 0 && !accepts(reply):
				refused = true
				x.settle(x.outcome(reply))
			case done > 0 && !refused:
				x.answered(done-1, reply)
			}
			x.answer = true
		}
	}
	return data, nil
}

// accepts reports whether reply is a yes to MAIL or RCPT.
func accepts(r smtp.Reply) bool { return r.Code()/100 == 2 }

func (x *transaction) anyAccepted() bool {
	for _, r := range x.rcpts {
		if r.accepted {
			return true
		}
	}
	return false
}

// collect puts command n into the buffer of c.
func (x *transaction) collect(c *Conn, n, last int) {
	switch n {
	case 0:
		c.Mail(x.from, x.mailParams())
	case last:
		c.Data()
	default:
		c.Rcpt(x.rcpts[n-1].addr, x.rcptParams(x.rcpts[n-1].env))
	}
}

// read reads the reply to command n.
func (x *transaction) read(c *Conn, n, last int) (smtp.Reply, error) {
	wait := c.times.rcpt
	x.step = "RCPT"
	switch n {
	case 0:
		wait, x.step = c.times.mail, "MAIL"
	case last:
		wait, x.step = c.times.data, "DATA"
	}
	return c.Reply(wait)
}

// answered notes the reply to RCPT for the recipient at i.
func (x *transaction) answered(i int, reply smtp.Reply) {
	if accepts(reply) {
		x.rcpts[i].accepted = true
		return
	}
	o := x.outcome(reply)
	if reply.Code() == 552 && (reply.Enhanced() == "" || reply.Enhanced() == "5.5.3") {
		// RFC 5321 s4.5.3.1.10: too many recipients, said in the old way.
		o.Status, o.Enhanced = Deferred, "4.5.3"
	}
	x.decide(i, o)
}

// outcome is what a reply means for the recipients that it is about.
func (x *transaction) outcome(r smtp.Reply) Outcome {
	o := Outcome{Enhanced: r.Enhanced(), Remote: x.host}
	class := "4"
	switch r.Code() / 100 {
	case 2:
		o.Status, class, o.DSN = Delivered, "2", x.ext.DSN
	case 5:
		o.Status, class = Failed, "5"
	case 4:
		o.Status = Deferred
	default: // a 3xx where none belongs
		o.Status, o.Enhanced = Deferred, "4.5.0"
	}
	if o.Enhanced == "" || o.Enhanced[:1] != class {
		o.Enhanced = class + ".0.0"
	}
	text := strconv.Itoa(r.Code())
	if r.Enhanced() != "" {
		text += " " + r.Enhanced()
	}
	o.Text = oneLine(text + " " + r.Text())
	return o
}

// lost is the outcome for recipients of a transaction that broke off.
func (x *transaction) lost(err error) Outcome {
	o := Outcome{Status: Deferred, Enhanced: "4.4.2", Remote: x.host}
	switch {
	case errors.Is(err, smtp.ErrServerReply):
		o.Enhanced = "4.5.0"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		o.Enhanced = "4.4.7"
	}
	after := ""
	if x.dotted {
		// It may have been delivered. Mail twice is better than none.
		after = "; the whole message was sent, so that it may have arrived"
	}
	o.Text = oneLine(fmt.Sprintf("%s: %v%s", x.addr, err, after))
	return o
}
