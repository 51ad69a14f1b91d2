package delivery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/descriptor"
)

// maxTransaction is how many recipients share a transaction (RFC 5321
// s4.5.3.1.8: a server takes at least 100).
const maxTransaction = 100

// target is a server and the way we speak to it. Connections with the same
// key are alike.
type target struct {
	key     string
	network string // tcp or unix
	addr    string
	host    string // for outcomes
	lmtp    bool
	tls     bool // STARTTLS where it is offered
	helo    string
	src     []netip.Addr // addresses to connect from; none: any
}

// proto is the part of the key that says how we speak to the server.
func (t *target) proto() string {
	switch {
	case t.lmtp:
		return "|lmtp|"
	case t.tls:
		return "|starttls|"
	}
	return "|smtp|"
}

// targetOf says where an action sends mail.
func (a *Agent) targetOf(act *config.Action) (target, error) {
	t := target{network: "tcp", helo: act.Helo}
	if t.helo == "" {
		t.helo = a.conf.Load().host
	}
	switch {
	case act.Method == config.LMTP && strings.HasPrefix(act.LMTPDest, "/"):
		t.network, t.addr, t.host, t.lmtp = "unix", act.LMTPDest, act.LMTPDest, true
	case act.Method == config.LMTP:
		host, _, err := net.SplitHostPort(act.LMTPDest)
		if err != nil {
			return t, deferred("4.3.5", "action %q: LMTP destination %q is neither host:port nor the path of a socket", act.Name, act.LMTPDest)
		}
		t.addr, t.host, t.lmtp = act.LMTPDest, host, true
	case act.Host == nil:
		return t, deferred("4.3.5", "action %q: relaying by MX is not supported yet; give a host", act.Name)
	default:
		t.host = strings.Trim(act.Host.Host, "[]")
		t.addr = net.JoinHostPort(t.host, strconv.Itoa(act.Host.Port))
		t.lmtp = act.Host.Proto == "lmtp"
		t.tls = act.Host.Proto == "smtp" || act.Host.Proto == ""
	}
	src := ""
	if act.SourceIPs != nil {
		t.src = act.SourceIPs.Addrs()
		src = act.SourceIPs.Name()
		if len(t.src) == 0 {
			return t, deferred("4.3.5", "action %q: table %q has no source address", act.Name, src)
		}
	}
	t.key = t.addr + t.proto() + t.helo + "|" + src
	return t, nil
}

// deliverRemote sends the message to those envelopes of j that stand at
// places, all of the action act, and sets their outcomes.
func (a *Agent) deliverRemote(ctx context.Context, j *Job, act *config.Action, places []int, out []Outcome) {
	t, err := a.targetOf(act)
	if err != nil {
		setAll(places, out, outcomeOf(err))
		return
	}
	for len(places) > 0 {
		n := min(len(places), maxTransaction)
		a.transfer(ctx, newTransaction(j, act, &t, places[:n], out), &t)
		places = places[n:]
	}
}

func setAll(places []int, out []Outcome, o Outcome) {
	for _, i := range places {
		out[i] = o
	}
}

// transfer makes one transaction, over an idle connection if there is one. A
// server may have closed that one meanwhile; then a fresh one is tried, once.
func (a *Agent) transfer(ctx context.Context, x *transaction, t *target) {
	if err := x.open(); err != nil {
		x.settle(outcomeOf(err))
		return
	}
	defer x.body.close()
	c := a.pool.get(t.key)
	for x.reused = c != nil; ; x.reused = false {
		if c == nil {
			var err error
			if c, err = a.connect(ctx, t); err != nil {
				x.settle(connectOutcome(ctx, t, err))
				return
			}
		}
		stop := context.AfterFunc(ctx, c.Abort)
		err := x.run(c)
		ended := !stop()
		var no *refusal
		switch {
		case errors.Is(err, errStale) && !ended:
			c.Abort()
			c = nil
			continue
		case ended:
			c.Abort()
			x.settle(x.lost(context.Cause(ctx)))
		case err == nil:
			a.pool.put(t.key, c)
		case errors.As(err, &no):
			a.pool.end(c) // the session is in order, the transaction is not
		default:
			c.Abort()
			x.settle(x.lost(err))
		}
		return
	}
}

// connect opens a connection and greets the server, with TLS if both sides
// can. The server's certificate is not looked at: opportunistic TLS keeps out
// those who listen, and to refuse it would mean to send in the clear.
func (a *Agent) connect(ctx context.Context, t *target) (*Conn, error) {
	c, err := a.dialGreet(ctx, t)
	if err != nil || !t.tls || !c.ext.StartTLS {
		return c, err
	}
	stop := context.AfterFunc(ctx, c.Abort)
	err = c.StartTLS(&tls.Config{ServerName: t.host, InsecureSkipVerify: true}, t.helo)
	stop()
	var no *refusal
	if err == nil || errors.As(err, &no) && no.to == "STARTTLS" {
		return c, nil
	}
	c.Abort()
	if ctx.Err() != nil {
		return nil, err
	}
	a.log.Warn("relay offers TLS that does not work; sending in the clear", "host", t.host, "err", err)
	return a.dialGreet(ctx, t)
}

// dialGreet opens a connection and greets the server in the clear.
func (a *Agent) dialGreet(ctx context.Context, t *target) (*Conn, error) {
	dctx, cancel := context.WithTimeout(ctx, a.times.connect)
	defer cancel()
	nc, err := a.dialFrom(dctx, t)
	if err != nil {
		return nil, &dialError{err}
	}
	c := newConn(nc, t.lmtp, a.times)
	stop := context.AfterFunc(ctx, c.Abort)
	defer stop()
	if err := c.Greet(t.helo); err != nil {
		var no *refusal
		if errors.As(err, &no) && ctx.Err() == nil {
			a.pool.end(c)
		} else {
			c.Abort()
		}
		return nil, err
	}
	return c, nil
}

// dialFrom connects from one of the target's source addresses; those of the
// wrong family fail at once and the next is tried.
func (a *Agent) dialFrom(ctx context.Context, t *target) (net.Conn, error) {
	if len(t.src) == 0 {
		return a.dial(ctx, t.network, t.addr, nil)
	}
	var errs []error
	for _, i := range rand.Perm(len(t.src)) {
		nc, err := a.dial(ctx, t.network, t.addr, &net.TCPAddr{IP: t.src[i].AsSlice(), Zone: t.src[i].Zone()})
		if err == nil {
			return nc, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func dialNet(ctx context.Context, network, addr string, local net.Addr) (net.Conn, error) {
	d := net.Dialer{LocalAddr: local}
	return descriptor.Wait(ctx, func() (net.Conn, error) { return d.DialContext(ctx, network, addr) })
}

// dialError is a failure to connect.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// connectOutcome is the end of an attempt that found no server. It is never
// final, even for a 5xx greeting: that is said of us or of the server's state,
// not of the message.
func connectOutcome(ctx context.Context, t *target, err error) Outcome {
	o := Outcome{Status: Deferred, Remote: t.host}
	var no *refusal
	var dns *net.DNSError
	var dial *dialError
	switch {
	case ctx.Err() != nil:
		o.Enhanced, err = "4.4.7", fmt.Errorf("attempt was ended: %w", context.Cause(ctx))
	case errors.As(err, &no):
		o.Enhanced = "4.3.2" // system not accepting network messages
		if e := no.reply.Enhanced(); e != "" && e[0] != '2' {
			o.Enhanced = "4" + e[1:]
		}
	case errors.As(err, &dns):
		o.Enhanced = "4.4.3" // directory server failure
	case errors.As(err, &dial):
		o.Enhanced = "4.4.1" // no answer from host
	default:
		o.Enhanced = "4.4.2" // bad connection
	}
	o.Text = oneLine(fmt.Sprintf("%s: %v", t.addr, err))
	return o
}
