package delivery

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/smtp"
)

// timeouts are how long a client waits for each reply (RFC 5321 s4.5.3.2).
type timeouts struct {
	connect  time.Duration
	greeting time.Duration // s4.5.3.2.1
	mail     time.Duration // s4.5.3.2.2, also for EHLO and STARTTLS
	rcpt     time.Duration // s4.5.3.2.3
	data     time.Duration // s4.5.3.2.4
	block    time.Duration // s4.5.3.2.5, for each write of the message
	end      time.Duration // s4.5.3.2.6
	quit     time.Duration
}

var defaultTimeouts = timeouts{
	connect:  time.Minute,
	greeting: 5 * time.Minute,
	mail:     5 * time.Minute,
	rcpt:     5 * time.Minute,
	data:     2 * time.Minute,
	block:    3 * time.Minute,
	end:      10 * time.Minute,
	quit:     2 * time.Second,
}

// Conn is the client's side of one SMTP (RFC 5321) or LMTP (RFC 2033)
// connection. Commands are collected by Mail, Rcpt and Data and leave with
// Flush, so that they can share a write where the server offers PIPELINING;
// the caller reads one Reply for each. A Conn serves one goroutine; Abort may
// be called from another.
type Conn struct {
	raw   net.Conn // never changes, for Abort
	nc    net.Conn // raw, or TLS over it
	r     *bufio.Reader
	out   []byte // commands not sent yet
	lmtp  bool
	ext   Extensions
	times timeouts
	sent  int // messages
	tls   bool
}

// Extensions are what a server offers in its reply to EHLO or LHLO.
type Extensions struct {
	Pipelining bool  // RFC 2920
	EightBit   bool  // RFC 6152
	UTF8       bool  // RFC 6531
	DSN        bool  // RFC 3461
	StartTLS   bool  // RFC 3207
	Size       bool  // RFC 1870
	MaxSize    int64 // bytes; 0: not said
}

// newConn makes a Conn of an open connection.
func newConn(nc net.Conn, lmtp bool, times timeouts) *Conn {
	return &Conn{raw: nc, nc: nc, r: bufio.NewReader(nc), lmtp: lmtp, times: times}
}

// Abort closes the connection; a call that waits for the server returns.
func (c *Conn) Abort() { c.raw.Close() }

// Greet reads the greeting and says EHLO (LHLO), and HELO to a server that
// does not know EHLO. The error is a *refusal if the server does not want us.
func (c *Conn) Greet(name string) error {
	reply, err := c.Reply(c.times.greeting)
	if err != nil {
		return fmt.Errorf("no greeting: %w", err)
	}
	if reply.Code() != 220 {
		return &refusal{"the connection", reply}
	}
	return c.Hello(name)
}

// Hello says EHLO or LHLO, and reads what the server offers.
func (c *Conn) Hello(name string) error {
	verb := "EHLO"
	if c.lmtp {
		verb = "LHLO"
	}
	reply, err := c.command(verb+" "+name, c.times.mail)
	if err == nil && reply.IsPermanent() && !c.lmtp && !c.tls {
		// RFC 5321 s3.2: a server without EHLO.
		verb = "HELO"
		reply, err = c.command(verb+" "+name, c.times.mail)
	}
	switch {
	case err != nil:
		return fmt.Errorf("no reply to %s: %w", verb, err)
	case reply.Code() != 250:
		return &refusal{verb, reply}
	}
	c.ext = Extensions{}
	if verb != "HELO" {
		c.ext = parseExtensions(reply.Text())
	}
	return nil
}

// parseExtensions reads the lines after the first of a reply to EHLO.
func parseExtensions(text string) Extensions {
	var ext Extensions
	lines := strings.Split(text, "\n")
	for _, l := range lines[1:] {
		keyword, params, _ := strings.Cut(strings.TrimSpace(l), " ")
		switch strings.ToUpper(keyword) {
		case "PIPELINING":
			ext.Pipelining = true
		case "8BITMIME":
			ext.EightBit = true
		case "SMTPUTF8":
			ext.UTF8 = true
		case "DSN":
			ext.DSN = true
		case "STARTTLS":
			ext.StartTLS = true
		case "SIZE":
			ext.Size = true
			if n, err := strconv.ParseInt(strings.TrimSpace(params), 10, 64); err == nil && n > 0 {
				ext.MaxSize = n
			}
		}
	}
	return ext
}

// StartTLS asks for TLS and greets again. A refusal leaves the connection as
// it was; after any other error it is of no use.
func (c *Conn) StartTLS(cfg *tls.Config, name string) error {
	reply, err := c.command("STARTTLS", c.times.mail)
	switch {
	case err != nil:
		return fmt.Errorf("no reply to STARTTLS: %w", err)
	case reply.Code() != 220:
		return &refusal{"STARTTLS", reply}
	case c.r.Buffered() > 0:
		// RFC 3207 s4.2: what came in the clear must not be believed later.
		return errors.New("server sent data between its reply to STARTTLS and the handshake")
	}
	t := tls.Client(c.nc, cfg)
	t.SetDeadline(time.Now().Add(c.times.mail))
	if err := t.Handshake(); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	t.SetDeadline(time.Time{})
	c.nc, c.tls = t, true
	c.r.Reset(t)
	return c.Hello(name)
}

// Mail collects a MAIL command; params begins with a space or is empty.
func (c *Conn) Mail(from, params string) {
	c.out = append(c.out, "MAIL FROM:<"...)
	c.path(from, params)
}

// Rcpt collects a RCPT command.
func (c *Conn) Rcpt(to, params string) {
	c.out = append(c.out, "RCPT TO:<"...)
	c.path(to, params)
}

func (c *Conn) path(p, params string) {
	c.out = append(c.out, p...)
	c.out = append(c.out, '>')
	c.out = append(c.out, params...)
	c.out = append(c.out, "\r\n"...)
}

// Data collects a DATA command.
func (c *Conn) Data() { c.out = append(c.out, "DATA\r\n"...) }

// Flush sends what was collected, with one write.
func (c *Conn) Flush() error {
	out := c.out
	c.out = c.out[:0]
	return c.Write(out)
}

// Write sends bytes as they are.
func (c *Conn) Write(p []byte) error {
	c.nc.SetWriteDeadline(time.Now().Add(c.times.block))
	_, err := c.nc.Write(p)
	return err
}

// Reply reads the next reply.
func (c *Conn) Reply(wait time.Duration) (smtp.Reply, error) {
	c.nc.SetReadDeadline(time.Now().Add(wait))
	return smtp.ReadReply(c.r, smtp.ReplyLimits{})
}

// command sends one command and reads its reply.
func (c *Conn) command(line string, wait time.Duration) (smtp.Reply, error) {
	c.out = append(append(c.out, line...), "\r\n"...)
	if err := c.Flush(); err != nil {
		return smtp.Reply{}, err
	}
	return c.Reply(wait)
}

// Quit ends the session politely and closes the connection (RFC 5321
// s4.1.1.10: the client waits for the reply, but not for long).
func (c *Conn) Quit() {
	c.nc.SetWriteDeadline(time.Now().Add(c.times.quit))
	if _, err := c.nc.Write([]byte("QUIT\r\n")); err == nil {
		c.Reply(c.times.quit)
	}
	c.nc.Close()
}

// refusal is a negative reply to something other than a recipient.
type refusal struct {
	to    string // what was refused
	reply smtp.Reply
}

func (r *refusal) Error() string { return "server refused " + r.to + ": " + r.reply.String() }
