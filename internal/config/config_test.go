package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirmail/weir/internal/table"
)

// memory is an environment of files in memory. Their tables are lists or
// mappings of what the files would hold; every certificate is good but "bad".
func memory(files map[string]string) environment {
	read := func(path string) ([]byte, error) {
		text, ok := files[path]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return []byte(text), nil
	}
	return environment{
		readFile: read,
		openTable: func(name, path string) (*table.Table, error) {
			text, err := read(path)
			if err != nil {
				return nil, err
			}
			if k, v, ok := strings.Cut(string(text), " "); ok {
				return table.NewMapping(name, []table.Pair{{Key: k, Value: v}}), nil
			}
			return table.NewList(name, strings.Fields(string(text))), nil
		},
		keyPair: func(cert, key string) error {
			if strings.Contains(cert+key, "bad") {
				return errors.New("no certificate in it")
			}
			return nil
		},
		hostname: func() (string, error) { return "mx.example.org", nil },
	}
}

var testFiles = map[string]string{
	"/t/list":    "a b",
	"/t/aliases": "root alice",
	"/t/creds":   testHash + " x",
	"/t/lan":     "192.0.2.0/24",
}

// testHash is one of bcrypt, of no password that anybody knows.
const testHash = "$2b$10$hIJ4QfMcp.90nJwKqGbKM.7eWZJZkGq5cO5bC4xM5OQ0m7pQb3h1e"

const anyMatch = "\nmatch reject\n"

func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	c, err := load(memory(testFiles), "weir.conf", []byte(text+anyMatch), nil)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, "")
	want := SMTP{
		MaxMails: 100, MaxRcpt: 1000, MaxMessageSize: 35 << 20, SubAddrDelim: '+',
		MaxErrors: 50, MaxSessions: 10000, MaxSessionsPerSource: 200, FreeLoopback: true, Timeout: 5 * time.Minute,
	}
	if c.SMTP != want {
		t.Errorf("SMTP = %+v\nwant %+v", c.SMTP, want)
	}
	if c.Queue != (Queue{Path: "/var/spool/weir", TTL: 96 * time.Hour}) || c.MaxDeferred != 100 {
		t.Errorf("Queue = %+v, MaxDeferred = %d", c.Queue, c.MaxDeferred)
	}
	if diff := cmp.Diff(c.WarnIntervals, []time.Duration{4 * time.Hour}); diff != "" {
		t.Error(diff)
	}
	if c.Path != "weir.conf" || c.Hostname != "mx.example.org" || c.ADMD != "mx.example.org" {
		t.Errorf("path %q, hostname %q, admd %q", c.Path, c.Hostname, c.ADMD)
	}
	if len(c.Listeners) != 1 || !c.Listeners[0].Socket || !c.Listeners[0].Default || c.Listeners[0].Hostname != "mx.example.org" {
		t.Errorf("listeners %+v", c.Listeners)
	}
	if m := c.Matches[0]; m.Action != nil || len(m.Conditions) != 2 ||
		m.Conditions[0].Kind != CondFromLocal || m.Conditions[1].Kind != CondForLocal {
		t.Errorf("match %+v", m)
	}
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		text string
		got  func(*Config) any
		want any
	}{
		{`admd "example.org"`, func(c *Config) any { return c.ADMD }, "example.org"},
		{`bounce warn-interval 1h, 30m,4d , 10s`, func(c *Config) any { return c.WarnIntervals },
			[]time.Duration{10 * time.Second, 30 * time.Minute, time.Hour, 96 * time.Hour}},
		{`mta max-deferred 7`, func(c *Config) any { return c.MaxDeferred }, 7},
		{`queue ttl 10m`, func(c *Config) any { return c.Queue.TTL }, 10 * time.Minute},
		{`queue path "/q"`, func(c *Config) any { return c.Queue.Path }, "/q"},
		{`queue path /q`, func(c *Config) any { return c.Queue.Path }, "/q"},
		{`queue user "_weir"`, func(c *Config) any { return c.Queue.User }, "_weir"},
		{`smtp max-message-size 4096`, func(c *Config) any { return c.SMTP.MaxMessageSize }, int64(4096)},
		{`smtp max-message-size "35M"`, func(c *Config) any { return c.SMTP.MaxMessageSize }, int64(35 << 20)},
		{`smtp max-message-size 1.5G`, func(c *Config) any { return c.SMTP.MaxMessageSize }, int64(3 << 29)},
		{`smtp limit max-rcpt 3 max-mails 2`, func(c *Config) any { return [2]int{c.SMTP.MaxRcpt, c.SMTP.MaxMails} }, [2]int{3, 2}},
		{`smtp limit max-errors 1 max-sessions 2 max-sessions-per-source 2147483647`,
			func(c *Config) any { return [3]int{c.SMTP.MaxErrors, c.SMTP.MaxSessions, c.SMTP.MaxSessionsPerSource} }, [3]int{1, 2, 1<<31 - 1}},
		{`smtp limit max-sessions-per-source 3`, func(c *Config) any { return c.SMTP.FreeLoopback }, false},
		{`smtp limit max-sessions 3`, func(c *Config) any { return c.SMTP.FreeLoopback }, true},
		{`smtp timeout 30s`, func(c *Config) any { return c.SMTP.Timeout }, 30 * time.Second},
		{`smtp sub-addr-delim "-"`, func(c *Config) any { return c.SMTP.SubAddrDelim }, byte('-')},
		{"pki A.test cert \"/c\"\npki a.test key \"/k\"", func(c *Config) any { p := c.PKI["a.test"]; return [3]string{p.Name, p.Cert, p.Key} },
			[3]string{"a.test", "/c", "/k"}},
		{`pki "*" cert "/c" key "/k"`, func(c *Config) any { return c.PKI["*"].Key }, "/k"},
		{`table a file:/t/list`, func(c *Config) any { return c.Tables["a"].Name() }, "a"},
		{`table a /t/list`, func(c *Config) any { return c.Tables["a"].Has("a") }, true},
		{`table a { x, "y z" w }`, func(c *Config) any { return c.Tables["a"].Has("y z") && c.Tables["a"].Has("w") }, true},
		{"table a {\n x = 1\n y => \"2 3\", # comment\n\n z=4 }", func(c *Config) any { v, _ := c.Tables["a"].Lookup("y"); return v }, "2 3"},
	} {
		if diff := cmp.Diff(tt.got(mustLoad(t, tt.text)), tt.want); diff != "" {
			t.Errorf("%s:\n%s", tt.text, diff)
		}
	}
}

const pkiLines = "pki a.test cert \"/c\" key \"/k\"\npki b.test cert \"/c\" key \"/k\"\n" +
	"table creds { bob = \"" + testHash + "\" }\ntable names { 192.0.2.1 = a.test }\n" +
	"filter f proc-exec \"f\"\nfilter g proc-exec \"g\"\n"

func TestListen(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Listener
	}{
		{"listen on lo", Listener{Interface: "lo", Port: 25}},
		{"listen on 127.0.0.1 port 2525 hostname localhost filter f",
			Listener{Interface: "127.0.0.1", Port: 2525, Hostname: "localhost", Filter: "f"}},
		{"listen on ::1 inet6 port 0", Listener{Interface: "::1", Family: 6}},
		{"listen on eth0 inet4 port submission tls-require pki a.test auth <creds>",
			Listener{Interface: "eth0", Family: 4, Port: 587, TLS: TLSRequire, Auth: AuthRequire}},
		{"listen on eth0 auth-optional <creds> pki a.test pki B.TEST tls tag x mask-src no-dsn hostnames <names>",
			Listener{Interface: "eth0", Port: 25, TLS: TLSOffer, Auth: AuthOptional, Tag: "x", MaskSrc: true, NoDSN: true}},
		{"listen on eth0 smtps pki a.test", Listener{Interface: "eth0", Port: 465, TLS: TLSImplicit}},
		{"listen on eth0 port smtps", Listener{Interface: "eth0", Port: 465}},
		{"listen on eth0 port smtp filter { f, g }", Listener{Interface: "eth0", Port: 25, Filter: "<chain 1>"}},
		{"listen on lo bare-lf", Listener{Interface: "lo", Port: 25, BareLF: true}},
		{"listen on socket filter f mask-src no-dsn tag " + strings.Repeat("t", 32),
			Listener{Socket: true, Filter: "f", MaskSrc: true, NoDSN: true, Tag: strings.Repeat("t", 32)}},
	} {
		c := mustLoad(t, pkiLines+tt.text)
		got := *c.Listeners[0]
		if tt.want.Hostname == "" {
			tt.want.Hostname = "mx.example.org"
		}
		if (got.AuthTable != nil) != (tt.want.Auth != AuthNone) || (got.PKI != nil) != (tt.want.TLS != TLSNone) {
			t.Errorf("%s: credentials %v, pki %v", tt.text, got.AuthTable, got.PKI)
		}
		if (got.Hostnames != nil) != strings.Contains(tt.text, "hostnames") {
			t.Errorf("%s: hostnames %v", tt.text, got.Hostnames)
		}
		if got.Pos.String() != "weir.conf:7:1" {
			t.Errorf("%s: at %s", tt.text, got.Pos)
		}
		got.AuthTable, got.PKI, got.Hostnames, got.Pos = nil, nil, nil, Pos{}
		if diff := cmp.Diff(got, tt.want); diff != "" {
			t.Errorf("%s:\n%s", tt.text, diff)
		}
	}
}

func TestFilters(t *testing.T) {
	c := mustLoad(t, `
table lan { 192.0.2.0/24 }
proc p "cmd -x" user u group g chroot /c workers 3 protocol 0.6
filter a proc p
filter b proc-exec "b" workers 256
filter c python "s.py" user u
filter d perl "s.pl" protocol 0.7
filter e phase rcpt-to match !src <lan> rdns regex { "dsl", "dyn" } reject "550 5.7.1 no"
filter f phase connect match !fcrdns junk
filter all chain { a, b when !src <lan>,
	c when auth,

	d e when tls rcpt-to { bob, "@x" }, f }
listen on lo filter { a, b when auth }
listen on lo port 26 filter all`)
	if diff := cmp.Diff(c.FilterSeq, []string{"a", "b", "c", "d", "e", "f", "all", "<chain 1>"}); diff != "" {
		t.Error(diff)
	}
	var procs []string
	for _, p := range c.Procs {
		procs = append(procs, fmt.Sprintf("%s:%s%s%s:%s:%s:%s:%d:%s", p.Name, p.Command, p.Python, p.Perl, p.User, p.Group, p.Chroot, p.Workers, p.Protocol))
	}
	if diff := cmp.Diff(procs, []string{
		"p:cmd -x:u:g:/c:3:0.6", "b:b::::256:0.7", "c:s.py:u:::1:0.7", "d:s.pl::::1:0.7",
	}); diff != "" {
		t.Error(diff)
	}
	if c.Filters["a"].Proc != c.Procs[0] || c.Filters["d"].Proc.Perl != "s.pl" || c.Filters["c"].Proc.Python != "s.py" {
		t.Error("filters do not have their processes")
	}
	e := c.Filters["e"].Builtin
	if e.Phase != "rcpt-to" || e.Decision != "reject" || e.Param != "550 5.7.1 no" || len(e.Conditions) != 2 {
		t.Errorf("builtin %+v", e)
	}
	if s := e.Conditions[0]; s.Kind != CondSrc || !s.Not || s.Operand != c.Tables["lan"] || s.Regex || s.Text != "!src <lan>" {
		t.Errorf("condition %+v", s)
	}
	if r := e.Conditions[1]; r.Kind != CondRdns || r.Not || !r.Regex || !r.Operand.MatchRegexp("x.DSL.test") || r.Text != `rdns regex { "dsl", "dyn" }` {
		t.Errorf("condition %+v", r)
	}
	var chain []string
	for _, l := range c.Filters["all"].Chain {
		text := l.Filter.Name
		for _, w := range l.When {
			text += " & " + w.Text
		}
		chain = append(chain, text)
	}
	if diff := cmp.Diff(chain, []string{
		"a", "b & !src <lan>", "c & auth", "d", `e & tls & rcpt-to { bob, "@x" }`, "f",
	}); diff != "" {
		t.Error(diff)
	}
}

func TestFailurePolicy(t *testing.T) {
	c := mustLoad(t, `
filter a proc-exec a
filter b proc-exec b on-failure accept timeout 1s
filter c python c.py timeout 2h on-failure hold
proc d d on-failure reject
filter e perl e.pl on-failure tempfail
listen on lo filter a`)
	var got []string
	for _, p := range c.Procs {
		got = append(got, fmt.Sprint(p.Name, " ", p.OnFailure, " ", p.Timeout))
	}
	want := []string{"a tempfail 1m0s", "b accept 1s", "c hold 2h0m0s", "d reject 1m0s", "e tempfail 1m0s"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Error(diff)
	}
}

func TestBuiltins(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`connect match fcrdns bypass`, "connect bypass "},
		{`helo match helo { a.test } disconnect "421 4.7.0 later"`, "helo disconnect 421 4.7.0 later"},
		{`ehlo match helo regex "^x" rewrite "y"`, "ehlo rewrite y"},
		{`starttls match !rdns report "no name"`, "starttls report no name"},
		{`auth match auth junk`, "auth junk "},
		{`mail-from match mail-from regex { "@" } report "builtin says hi"`, "mail-from report builtin says hi"},
		{`data match auth { bob } mail-from bob reject "550 x"`, "data reject 550 x"},
		{`commit match !tls tag in reject "450 4.7.1 x"`, "commit reject 450 4.7.1 x"},
		{`noop match src 192.0.2.1 reject "500 x"`, "noop reject 500 x"},
		{`rset match src regex { "^192" } junk`, "rset junk "},
		{`quit match rdns bypass`, "quit bypass "},
	} {
		b := mustLoad(t, "filter x phase "+tt.text).Filters["x"].Builtin
		if got := b.Phase + " " + b.Decision + " " + b.Param; got != tt.want || len(b.Conditions) == 0 {
			t.Errorf("%s: %s, conditions %v", tt.text, got, b.Conditions)
		}
	}
}

func TestActions(t *testing.T) {
	const tables = "table al { root = alice }\ntable ub { joe = \"1:2:/h\" }\ntable srcs { 192.0.2.1, ::1 }\n"
	for _, tt := range []struct {
		text string
		want Action
	}{
		{"maildir", Action{Method: Maildir}},
		{"maildir junk", Action{Method: Maildir, Junk: true}},
		{`maildir "~/Mail/%{rcpt.user:lowercase|strip}" junk user u ttl 1h`,
			Action{Method: Maildir, Path: "~/Mail/%{rcpt.user:lowercase|strip}", Junk: true, User: "u", TTL: time.Hour}},
		{`maildir ttl 1h`, Action{Method: Maildir, TTL: time.Hour}},
		{"mbox alias <al>", Action{Method: Mbox}},
		{"mbox virtual <al> userbase <ub>", Action{Method: Mbox}},
		{`mda "cat > %{user.directory}/x"`, Action{Method: MDA, Command: "cat > %{user.directory}/x"}},
		{`lmtp localhost:24`, Action{Method: LMTP, LMTPDest: "localhost:24"}},
		{`lmtp "[::1]:24" rcpt-to user u`, Action{Method: LMTP, LMTPDest: "[::1]:24", LMTPRcpt: true, User: "u"}},
		{`lmtp "/run/lmtp.sock"`, Action{Method: LMTP, LMTPDest: "/run/lmtp.sock"}},
		{"expand-only alias <al>", Action{Method: ExpandOnly}},
		{"forward-only alias <al>", Action{Method: ForwardOnly}},
		{"relay host smtp://127.0.0.1:2599 helo mx.example.test",
			Action{Method: Relay, Host: &RelayHost{"smtp", "127.0.0.1", 2599}, Helo: "mx.example.test"}},
		{"relay host mail.test", Action{Method: Relay, Host: &RelayHost{"smtp", "mail.test", 25}}},
		{`relay host "SMTP+notls://[IPv6:::1]" mail-from a@b.test ttl 2d src <srcs>`,
			Action{Method: Relay, Host: &RelayHost{"smtp+notls", "::1", 25}, MailFrom: "a@b.test", TTL: 48 * time.Hour}},
		{`relay host "lmtp://[::1]:24"`, Action{Method: Relay, Host: &RelayHost{"lmtp", "::1", 24}}},
	} {
		got := *mustLoad(t, tables+`action "x" `+tt.text).Actions["x"]
		for word, table := range map[string]*table.Table{"alias": got.Alias, "virtual": got.Virtual, "userbase": got.Userbase, " src": got.SourceIPs} {
			if strings.Contains(tt.text, word+" <") != (table != nil) {
				t.Errorf("%s: %s is %v", tt.text, word, table)
			}
		}
		got.Alias, got.Virtual, got.Userbase, got.SourceIPs = nil, nil, nil, nil
		tt.want.Name = "x"
		tt.want.Pos = Pos{"weir.conf", 4, 8}
		if diff := cmp.Diff(got, tt.want); diff != "" {
			t.Errorf("%s:\n%s", tt.text, diff)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"match for any action a", "for any(10);from local(15)"},
		{"match from any action a", "from any(14);for local(11)"},
		{"match !for domain { x.test } from socket action a", "!for domain { x.test }(12);from socket(16)"},
		{"match for domain regex { \"^x\" } from local action a", "for domain regex { \"^x\" }(12);from local(15)"},
		{"match for rcpt-to bob@x.test from auth action a", "for rcpt-to bob@x.test(13);from auth(17)"},
		{"match from auth <users> for any action a", "from auth <users>(17);for any(10)"},
		{"match from mail-from \"@x.test\" for any action a", "from mail-from \"@x.test\"(18);for any(10)"},
		{"match from rdns for any action a", "from rdns(19);for any(10)"},
		{"match ! from rdns regex x for any action a", "! from rdns regex x(19);for any(10)"},
		{"match !from src <lan> mail-from \"@x.test\" for any reject", "!from src <lan>(20);mail-from \"@x.test\"(6);for any(10)"},
		{"match auth from any for any action a", "auth(5);from any(14);for any(10)"},
		{"match !auth bob helo h.test rcpt-to regex \"^x\" tag t tls for any from any action a",
			"!auth bob(5);helo h.test(4);rcpt-to regex \"^x\"(7);tag t(8);tls(9);for any(10);from any(14)"},
	} {
		m := mustLoad(t, "table users { bob }\ntable lan { 192.0.2.0/24 }\naction a mbox\n"+tt.text).Matches[0]
		var got []string
		for _, c := range m.Conditions {
			got = append(got, fmt.Sprintf("%s(%d)", c.Text, c.Kind))
			if c.Not != strings.HasPrefix(c.Text, "!") {
				t.Errorf("%s: %s: not = %v", tt.text, c.Text, c.Not)
			}
		}
		if g := strings.Join(got, ";"); g != tt.want || m.Text != tt.text {
			t.Errorf("%s\ngot  %s\nwant %s\ntext %s", tt.text, g, tt.want, m.Text)
		}
		if (m.Action == nil) != strings.HasSuffix(tt.text, "reject") {
			t.Errorf("%s: action %v", tt.text, m.Action)
		}
	}
}

func TestLexing(t *testing.T) {
	// Each text must give the queue path or the error's end.
	for _, tt := range []struct{ name, text, want string }{
		{"quoted", `queue path "/a b"`, "/a b"},
		{"single quotes", `queue path '/a "b"'`, `/a "b"`},
		{"escaped quote", `queue path "/a\"b"`, `/a"b`},
		{"escaped blank", `queue path "/a\ b\	c"`, "/a b\tc"},
		{"kept backslash", `queue path "/a\d\\x"`, `/a\d\\x`},
		{"continuation", "queue \\\n path \\\r\n /a", "/a"},
		{"continuation in a word", "queue path /a\\\nb", "/ab"},
		{"continuation in quotes", "queue path \"/a\\\n b\"", "/a b"},
		{"comment", "queue path /a # \"not closed", "/a"},
		{"comment at a word", "queue path /a#b", "/a"},
		{"continued comment", "queue path /a\n# queue path \\\n/b\n", "/a"},
		{"quoted hash", `queue path "/a#b"`, "/a#b"},
		{"escaped sign", `queue path /a\#b\,c`, "/a#b,c"},
		{"adjacent parts", `queue path "/a"b'/c d'`, "/ab/c d"},
		{"macro", "d = \"/a\"\nqueue path $d", "/a"},
		{"macro and quotes", "d = /a\nqueue path $d\"/b c\"", "/a/b c"},
		{"macro and text", "d = /a\nqueue path $d/b", "/a/b"},
		{"macro in a word", "d = x\nqueue path /a/$d.y", "/a/x.y"},
		{"macro not in quotes", "d = x\nqueue path \"/$d\"", "/$d"},
		{"macro of words", "d = \"path /a\"\nqueue $d", "/a"},
		{"macro with quotes in it", "d = '\"/a b\"'\nqueue path $d\"/c\"", "/a b/c"},
		{"macro not searched again", "d = x\ne = \"/$d\"\nqueue path $e", "/$d"},
		{"macro of a macro", "d = /x\ne = $d\"/y\"\nqueue path $e", "/x/y"},
		{"last macro counts", "d = /a\nd = /b\nqueue path $d", "/b"},
		{"command line goes first", "fixed = /file\nqueue path $fixed", "/command"},
		{"dollar alone", `queue path /a$`, "/a$"},
		{"bytes", "queue path /\xff\xc3\xa9", "/\xff\xc3\xa9"},
		{"include", `include "inc.conf"`, "/included"},
		{"include absolute", `include "/etc/inc.conf"`, "/absolute"},
		{"include in a directory", `include "sub/a.conf"`, "/sub/b"},
		{"include defines", "include \"macro.conf\"\nqueue path $m", "/macro"},
		{"long word", `queue path "/` + strings.Repeat("x", maxWord-1) + `"`, "/" + strings.Repeat("x", maxWord-1)},
	} {
		env := memory(map[string]string{
			"inc.conf":      "queue path /included",
			"/etc/inc.conf": "queue path /absolute",
			"sub/a.conf":    "include \"b.conf\"",
			"sub/b.conf":    "queue path /sub/b\n",
			"macro.conf":    "m = /macro",
		})
		c, err := load(env, "weir.conf", []byte(tt.text+anyMatch), map[string]string{"fixed": "/command"})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if c.Queue.Path != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, c.Queue.Path, tt.want)
		}
	}
}

func TestHostname(t *testing.T) {
	const hosts = "127.0.0.1 localhost localhost.localdomain\n# 1 vm.comment\n192.0.2.1\tVM.example.org vm # x\n192.0.2.2 vm.other vm\n"
	for name, want := range map[string]string{"vm": "VM.example.org", "localhost": "localhost.localdomain", "none": "none"} {
		if got := completeName(name, hosts); got != want {
			t.Errorf("completeName(%q) = %q", name, got)
		}
	}
}
