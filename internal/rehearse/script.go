package rehearse

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
)

// script writes a scene: what a server says while clients do what its methods
// are called. Lines come from package filterwire, as in the server itself.
type script struct {
	sc *Scene
	at time.Time
}

func newScript(name string) *script {
	s := &script{sc: &Scene{Name: name}, at: time.Unix(1_700_000_000, 0)}
	config := filterwire.AppendConfig(nil, &filterwire.Config{
		Version: "weir", SessionTimeout: 300, ADMD: "mx.example.test", Features: []string{"message-size", "final-address"},
	})
	for line := range strings.Lines(string(config)) {
		s.add(step{kind: "config", line: []byte(strings.TrimSuffix(line, "\n"))})
	}
	return s
}

func (s *script) add(st step) {
	s.sc.steps = append(s.sc.steps, st)
}

func (s *script) head() string {
	s.at = s.at.Add(137 * time.Microsecond)
	return fmt.Sprintf("0.7|%d.%06d|smtp-in", s.at.Unix(), s.at.Nanosecond()/1000)
}

// client is one session of the script.
type client struct {
	s        *script
	id       uint64
	messages int
	leaves   bool // it does not wait for answers
}

func (s *script) client(n int) *client { return &client{s: s, id: 0x5e55000000000000 + uint64(n)} }

func (c *client) report(event, rest string) {
	c.s.add(step{kind: "report", name: event, session: c.id, head: c.s.head(), rest: rest})
}

// ask asks; the token is that of the phase, the same for all sessions.
func (c *client) ask(p filterwire.Phase, arg string) {
	c.s.add(step{kind: "filter", name: p.String(), session: c.id, token: 0x70ce000000000000 + uint64(p),
		head: c.s.head(), rest: arg, awaited: !c.leaves})
}

// told is what reports say of a question's outcome, and of the reply.
func (c *client) told(p filterwire.Phase, reply string) {
	c.report("filter-response", p.ReportName()+"|proceed")
	c.report("protocol-server", reply)
}

func (c *client) connect(rdns, addr, port string) {
	source, dest := addr+port, "127.0.0.1:25"
	if addr == "local" {
		source, dest = "unix:/run/weir/smtp.sock", "unix:/run/weir/smtp.sock"
	}
	c.report("link-connect", rdns+"|error|"+source+"|"+dest)
	c.ask(filterwire.Connect, rdns+"|"+addr)
	c.told(filterwire.Connect, "220 mx.example.test ESMTP weir")
	c.report("link-greeting", "mx.example.test")
}

func (c *client) ehlo(name string) {
	c.report("protocol-client", "EHLO "+name)
	c.ask(filterwire.Ehlo, name)
	c.report("filter-response", "ehlo|proceed")
	c.report("link-identify", "EHLO|"+name)
	c.report("protocol-server", "250-mx.example.test Hello "+name)
	c.report("protocol-server", "250 HELP")
}

// hello is connect and ehlo of an ordinary client.
func (c *client) hello() {
	c.connect("client.example.net", "192.0.2.1", fmt.Sprintf(":%d", 40000+c.id&0xfff))
	c.ehlo("client.example.net")
}

func (c *client) message() mail.MessageID {
	return mail.MessageID(0x4d5e0000 + c.id&0xff<<4 + uint64(c.messages))
}

func (c *client) mail(from string) {
	c.messages++
	c.report("protocol-client", "MAIL FROM:<"+from+">")
	c.ask(filterwire.MailFrom, from)
	c.told(filterwire.MailFrom, "250 2.0.0 Ok")
	c.report("tx-begin", c.message().String())
	c.report("tx-mail", c.message().String()+"|ok|"+from)
}

func (c *client) rcpt(to string) {
	c.report("protocol-client", "RCPT TO:<"+to+">")
	c.ask(filterwire.RcptTo, to)
	c.report("filter-response", "rcpt-to|proceed")
	c.report("tx-envelope", c.message().String()+"|"+mail.NewEnvelopeID(c.message(), 1).String())
	c.report("protocol-server", "250 2.1.5 Recipient ok")
	c.report("tx-rcpt", c.message().String()+"|ok|"+to)
}

func (c *client) data() {
	c.report("protocol-client", "DATA")
	c.ask(filterwire.Data, "")
	c.told(filterwire.Data, `354 Enter mail, end with "." on a line by itself`)
	c.report("tx-data", c.message().String()+"|ok")
}

// lines sends lines of the message as they are: dot-escaped already.
func (c *client) lines(lines ...string) {
	for _, line := range lines {
		c.s.add(step{kind: "filter", name: filterwire.DataLine.String(), session: c.id,
			token: 0x70ce000000000000 + uint64(filterwire.DataLine), head: c.s.head(), rest: line, awaited: line == "." && !c.leaves})
	}
}

func (c *client) pause() { c.s.add(step{pause: true, session: c.id}) }

// commit is what follows the dot.
func (c *client) commit() {
	c.report("protocol-client", ".")
	c.ask(filterwire.Commit, "0") // the player puts the size here
	c.told(filterwire.Commit, "250 2.0.0 Message accepted for delivery")
	c.report("tx-commit", c.message().String()+"|0")
	c.report("tx-reset", c.message().String())
}

// whole is an ordinary mail of these lines.
func (c *client) whole(from, to string, lines ...string) {
	c.mail(from)
	c.rcpt(to)
	c.data()
	c.lines(lines...)
	c.lines(".")
	c.commit()
}

func (c *client) command(p filterwire.Phase, verb, reply string) {
	c.report("protocol-client", verb)
	c.ask(p, "")
	c.told(p, reply)
}

func (c *client) rollback() {
	c.report("tx-rollback", c.message().String())
	c.report("tx-reset", c.message().String())
}

func (c *client) gone() { c.report("link-disconnect", "") }

func (c *client) quit() {
	c.command(filterwire.Quit, "QUIT", "221 2.0.0 Bye")
	c.gone()
}
