package routing

import (
	"net/netip"
	"testing"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/table"
)

func list(values ...string) *table.Table { return table.NewList("t", values) }

func cond(kind config.ConditionKind, values ...string) config.Condition {
	c := config.Condition{Kind: kind}
	if len(values) > 0 {
		c.Operand = list(values...)
	}
	return c
}

func not(c config.Condition) config.Condition   { c.Not = true; return c }
func regex(c config.Condition) config.Condition { c.Regex = true; return c }

func mbox(s string) mail.Address {
	for i := range len(s) {
		if s[i] == '@' {
			return mail.Address{Local: s[:i], Domain: s[i+1:]}
		}
	}
	return mail.Address{Local: s}
}

func TestHolds(t *testing.T) {
	client := Facts{
		Src: netip.MustParseAddr("192.0.2.7"), Rdns: "mx.example.net", Fcrdns: true,
		Helo: "MX.example.net", Tag: "in", TLS: true, Auth: true, AuthUser: "joe@example.org",
		MailFrom: mbox("Sender@example.net"), HasMail: true,
		RcptTo: mbox("alice+list@Example.test"), HasRcpt: true,
		here: &localNames{host: "host.example.test", addrs: map[netip.Addr]struct{}{netip.MustParseAddr("198.51.100.1"): {}}},
	}
	var silent Facts
	socket := Facts{Socket: true, Local: true, here: client.here}
	loopback := Facts{Local: true, Src: netip.MustParseAddr("::ffff:127.0.0.1")}
	bounce := Facts{Socket: true, Local: true, HasMail: true}
	forwarded := client
	forwarded.internal = true
	to := func(addr string) Facts { f := client; f.RcptTo = mbox(addr); return f }

	// Each row: the condition, and whether it and its negation hold.
	for _, row := range []struct {
		name string
		c    config.Condition
		f    Facts
		is   bool
		not  bool
	}{
		{"for any", cond(config.CondForAny), client, true, false},
		{"for local, host name", cond(config.CondForLocal), to("x@HOST.example.test"), true, false},
		{"for local, localhost", cond(config.CondForLocal), to("x@localhost"), true, false},
		{"for local, own address literal", cond(config.CondForLocal), to("x@[198.51.100.1]"), true, false},
		{"for local, IPv6 form", cond(config.CondForLocal), to("x@[ipv6:::ffff:198.51.100.1]"), true, false},
		{"for local, other literal", cond(config.CondForLocal), to("x@[198.51.100.2]"), false, true},
		{"for local, not a literal", cond(config.CondForLocal), to("x@[host.example.test]"), false, true},
		{"for local, below the host", cond(config.CondForLocal), to("x@a.host.example.test"), false, true},
		{"for domain", cond(config.CondForDomain, "example.test"), client, true, false},
		{"for domain, wildcard", cond(config.CondForDomain, "*.test"), client, true, false},
		{"for domain, other", cond(config.CondForDomain, "example.org"), client, false, true},
		{"for domain regex", regex(cond(config.CondForDomain, "(?i)^ex.*test$")), client, true, false},
		{"for rcpt-to without tag", cond(config.CondForRcptTo, "alice@example.test"), client, true, false},
		{"for rcpt-to other", cond(config.CondForRcptTo, "bob@example.test"), client, false, true},
		{"rcpt-to regex", regex(cond(config.CondRcptTo, `^alice\+list@Example\.test$`)), client, true, false},
		{"rcpt-to, one of the accepted", cond(config.CondRcptTo, "bob@example.test"), Facts{Accepted: []mail.Address{mbox("a@x"), mbox("bob@example.test")}}, true, false},
		{"rcpt-to, none of the accepted", cond(config.CondRcptTo, "eve@example.test"), Facts{Accepted: []mail.Address{mbox("a@x")}}, false, true},
		{"rcpt-to, the one under question alone", cond(config.CondRcptTo, "a@x"), Facts{HasRcpt: true, RcptTo: mbox("b@x"), Accepted: []mail.Address{mbox("a@x")}}, false, true},
		{"rcpt-to not known", regex(cond(config.CondRcptTo, ".*")), silent, false, true},
		{"from any", cond(config.CondFromAny), client, true, false},
		{"from local, stranger", cond(config.CondFromLocal), client, false, true},
		{"from local, loopback", cond(config.CondFromLocal), loopback, true, false},
		{"from local, socket", cond(config.CondFromLocal), socket, true, false},
		{"from local, alias", cond(config.CondFromLocal), forwarded, true, false},
		{"from socket", cond(config.CondFromSocket), socket, true, false},
		{"from socket, loopback", cond(config.CondFromSocket), loopback, false, true},
		{"from socket, alias", cond(config.CondFromSocket), forwarded, false, false},
		{"from auth", cond(config.CondFromAuth), client, true, false},
		{"from auth, nobody", cond(config.CondFromAuth), silent, false, true},
		{"from auth, user", cond(config.CondFromAuth, "JOE@example.org"), client, true, false},
		{"from auth, domain", cond(config.CondFromAuth, "@example.org"), client, true, false},
		{"from auth, other", cond(config.CondFromAuth, "ann"), client, false, true},
		{"auth regex", regex(cond(config.CondAuth, "^joe@")), client, true, false},
		{"auth regex of nobody", regex(cond(config.CondAuth, ".*")), silent, false, true},
		{"from mail-from", cond(config.CondFromMailFrom, "@example.net"), client, true, false},
		{"mail-from other", cond(config.CondMailFrom, "@example.org"), client, false, true},
		{"mail-from null, regex", regex(cond(config.CondMailFrom, "^$")), bounce, true, false},
		{"mail-from null, @", cond(config.CondMailFrom, "@"), bounce, true, false},
		{"mail-from not known", cond(config.CondMailFrom, "@"), silent, false, true},
		{"from rdns", cond(config.CondFromRdns), client, true, false},
		{"from rdns, none", cond(config.CondFromRdns), silent, false, true},
		{"from rdns, alias", cond(config.CondFromRdns), forwarded, false, false},
		{"from rdns table", cond(config.CondFromRdns, "*.example.net"), client, true, false},
		{"from rdns table, none", cond(config.CondFromRdns, "*.example.net"), silent, false, false},
		{"from rdns table, alias", cond(config.CondFromRdns, "*.example.net"), forwarded, false, true},
		{"from rdns regex", regex(cond(config.CondFromRdns, `^mx\.`)), client, true, false},
		{"rdns", cond(config.CondRdns), client, true, false},
		{"rdns, none", cond(config.CondRdns), silent, false, true},
		{"rdns table, none", cond(config.CondRdns, "*.example.net"), silent, false, true},
		{"rdns regex, none", regex(cond(config.CondRdns, "^<unknown>$")), silent, true, false},
		{"from src", cond(config.CondFromSrc, "192.0.2.0/24"), client, true, false},
		{"src other", cond(config.CondSrc, "198.51.100.0/24"), client, false, true},
		{"src of mapped address", cond(config.CondSrc, "127.0.0.0/8"), loopback, true, false},
		{"src regex", regex(cond(config.CondSrc, `^192\.0\.2\.`)), client, true, false},
		{"src of socket", cond(config.CondSrc, "0.0.0.0/0", "::/0"), socket, false, true},
		{"src local", cond(config.CondSrc, "local"), socket, true, false},
		{"src local, alias", cond(config.CondFromSrc, "local"), forwarded, true, false},
		{"src, alias", cond(config.CondFromSrc, "192.0.2.0/24"), forwarded, false, true},
		{"fcrdns", cond(config.CondFcrdns), client, true, false},
		{"fcrdns, none", cond(config.CondFcrdns), silent, false, true},
		{"helo", cond(config.CondHelo, "mx.example.net"), client, true, false},
		{"helo not known", regex(cond(config.CondHelo, ".*")), silent, false, true},
		{"tag", cond(config.CondTag, "in"), client, true, false},
		{"tag other", cond(config.CondTag, "out"), client, false, true},
		{"tag regex", regex(cond(config.CondTag, "^i")), client, true, false},
		{"tls", cond(config.CondTLS), client, true, false},
		{"tls, none", cond(config.CondTLS), silent, false, true},
		{"unknown kind", config.Condition{Kind: 255}, client, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := Holds([]config.Condition{row.c}, &row.f); got != row.is {
				t.Errorf("holds: %v, want %v", got, row.is)
			}
			if got := Holds([]config.Condition{not(row.c)}, &row.f); got != row.not {
				t.Errorf("negation holds: %v, want %v", got, row.not)
			}
		})
	}
}

func TestHoldsWantsAll(t *testing.T) {
	f := Facts{TLS: true, Tag: "in"}
	tls, tag, other := cond(config.CondTLS), cond(config.CondTag, "in"), cond(config.CondTag, "out")
	for _, row := range []struct {
		conds []config.Condition
		want  bool
	}{
		{nil, true},
		{[]config.Condition{tls, tag}, true},
		{[]config.Condition{tls, other}, false},
		{[]config.Condition{other, tls}, false},
		{[]config.Condition{tls, not(other)}, true},
	} {
		if got := Holds(row.conds, &f); got != row.want {
			t.Errorf("%+v: %v, want %v", row.conds, got, row.want)
		}
	}
}

func TestHoldsDoesNotAllocate(t *testing.T) {
	conds := []config.Condition{
		cond(config.CondFromSrc, "192.0.2.0/24"), cond(config.CondForDomain, "*.test"),
		cond(config.CondMailFrom, "@example.net"), cond(config.CondForRcptTo, "alice@example.test"),
		cond(config.CondRdns, "*.example.net"), regex(cond(config.CondHelo, "^mx")), cond(config.CondAuth, "joe"),
	}
	f := Facts{
		Src: netip.MustParseAddr("192.0.2.7"), Rdns: "mx.example.net", Helo: "mx.example.net",
		MailFrom: mbox("sender@example.net"), HasMail: true, Auth: true, AuthUser: "joe",
		RcptTo: mbox("alice@example.test"), HasRcpt: true,
	}
	if !Holds(conds, &f) {
		t.Fatal("the conditions do not hold")
	}
	if n := testing.AllocsPerRun(100, func() { Holds(conds, &f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
