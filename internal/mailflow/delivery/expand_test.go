package delivery

import (
	"path"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
)

func testExpansion(rcpt string) *expansion {
	return &expansion{delim: '+', t: &attempt{
		job:  &Job{Message: &mail.Message{Sender: addr("Bob+x@Example.net")}},
		env:  &mail.Envelope{Rcpt: addr(rcpt), Dest: addr("dest@example.com")},
		act:  &config.Action{Name: "a"},
		user: account{name: "alice", home: "/home/alice"},
	}}
}

// smtpd.conf(5), FORMAT SPECIFIERS: every specifier, substring and modifier
// with the manual's own examples.
func TestExpand(t *testing.T) {
	tests := []struct{ format, want string }{
		{"%{sender}", "Bob+x@Example.net"},
		{"%{sender.user}", "Bob+x"},
		{"%{sender.domain}", "Example.net"},
		{"%{rcpt}", "User+Tag@Example.org"},
		{"%{rcpt.user}", "User+Tag"},
		{"%{RCPT.Domain}", "Example.org"},
		{"%{dest}", "dest@example.com"},
		{"%{dest.user}", "dest"},
		{"%{dest.domain}", "example.com"},
		{"%{user.username}", "alice"},
		{"%{user.directory}", "/home/alice"},
		{"%{mbox.from}", "Bob+x@Example.net"},
		{"%{rcpt.domain[0]}", "E"},
		{"%{rcpt.domain[1]}", "x"},
		{"%{rcpt.domain[8:]}", "org"},
		{"%{rcpt.domain[-3:]}", "org"},
		{"%{rcpt.domain[0:6]}", "Example"},
		{"%{rcpt.domain[0:-4]}", "Example"},
		{"%{rcpt.domain[:6]}", "Example"},
		{"%{rcpt.domain[:]}", "Example.org"},
		{"%{rcpt.domain[-1]}", "g"},
		{"%{rcpt.domain[10]}", "g"},
		{"%{rcpt.domain[0:1024]}", "Example.org"},
		{"%{rcpt:lowercase}", "user+tag@example.org"},
		{"%{rcpt:uppercase}", "USER+TAG@EXAMPLE.ORG"},
		{"%{rcpt:strip}", "User@Example.org"},
		{"%{rcpt:lowercase|strip}", "user@example.org"},
		{"%{rcpt.user[0:3]:Lowercase}", "user"},
		{"%%{rcpt}", "%{rcpt}"},
		{"100%", "100%"},
		{"%x %{dest.user}%{dest.user}", "%x destdest"},
		{"~/x", "/home/alice/x"},
		{"a~/x", "a~/x"},
		{"", ""},
	}
	for _, tt := range tests {
		got, err := testExpansion("User+Tag@Example.org").expand(tt.format, inCommand)
		if err != nil || got != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.format, got, err, tt.want)
		}
	}
}

func TestExpandSanitises(t *testing.T) {
	tests := []struct {
		rcpt, format, want string
	}{
		{"user+t?g@example.org", "%{rcpt}", "user+t:g@example.org"},
		{"user+t?g@example.org", "%{rcpt:raw}", "user+t?g@example.org"},
		{"!#$%&'*+/=?^_`{|}~@x", "%{rcpt.user}", ":::::::+:=::_:::::"},
		{"!#$%&'*+/=?^_`{|}~@x", "%{rcpt.user:raw}", "!#:%::*+:=?^_:{:}~"},
		{`"a b;$(c)>\\"@x`, "%{rcpt.user}", ":a:b:::c:::::"},
		{`"a b;$(c)>\\"@x`, "%{rcpt.user:raw}", ":a:b:::c:::::"},
		{"../../etc/passwd@x", "%{rcpt.user}", "..:..:etc:passwd"},
		{"../../etc/passwd@x", "%{rcpt.user:raw}", "..:..:etc:passwd"},
		{"a\n\x00b@x", "%{rcpt.user:raw}", "a::b"},
		{"caf\xc3\xa9@x", "%{rcpt.user}", "caf\xc3\xa9"},
		{"-oProxy@x", "cmd %{rcpt.user}", "cmd :oProxy"},
		{"-oProxy@x", "cmd '%{rcpt.user:raw}'", "cmd ':oProxy'"},
		{"-x@x", "cmd a%{rcpt.user}", "cmd a-x"},
	}
	for _, tt := range tests {
		got, err := testExpansion(tt.rcpt).expand(tt.format, inCommand)
		if err != nil || got != tt.want {
			t.Errorf("%q for %q: %q, %v; want %q", tt.format, tt.rcpt, got, err, tt.want)
		}
	}
}

func TestExpandErrors(t *testing.T) {
	tests := []struct {
		name, rcpt, format string
		status             Status
		text               string
	}{
		{"unknown", "a@x", "/%{rcpt.name}", Deferred, `no format specifier "rcpt.name"`},
		{"mda", "a@x", "/%{mda}", Deferred, `no format specifier "mda"`},
		{"empty", "a@x", "/%{}", Deferred, `no format specifier ""`},
		{"open", "a@x", "/%{rcpt", Deferred, "no closing }"},
		{"modifier", "a@x", "/%{rcpt:trim}", Deferred, `no modifier "trim"`},
		{"no modifier", "a@x", "/%{rcpt:}", Deferred, `no modifier ""`},
		{"empty range", "a@x", "/%{rcpt[]}", Deferred, "not a number"},
		{"bad range", "a@x", "/%{rcpt[1:x]}", Deferred, "not a number"},
		{"range too large", "a@x", "/%{rcpt[0:1025]}", Deferred, "not a number"},
		{"range too small", "a@x", "/%{rcpt[-1025:]}", Deferred, "not a number"},
		{"open range", "a@x", "/%{rcpt[1}", Deferred, "without ]"},
		{"turned range", "a@x", "/%{rcpt]1[}", Deferred, "without ]"},
		{"after range", "a@x", "/%{rcpt[0]x}", Deferred, "after ]"},
		{"long token", "a@x", "/%{" + strings.Repeat("x", maxToken) + "}", Deferred, "longer than 127"},
		{"relative", "a@x", "mail/%{rcpt.user}", Deferred, "not absolute"},
		{"beyond the end", "a@x", "/%{rcpt.user[1]}", Failed, "no such part"},
		{"end before start", "abc@x", "/%{rcpt.user[2:1]}", Failed, "no such part"},
		{"before the start", "a@x", "/%{rcpt.user[-2:]}", Failed, "no such part"},
		{"long value", strings.Repeat("a", maxValue) + "@x", "/%{rcpt.user}", Failed, "1024 bytes"},
		{"long path", strings.Repeat("a", maxValue-1) + "@x", "/" + strings.Repeat("%{rcpt.user}", 5), Failed, "more than 4096"},
		{"dot", ".@x", "/m/%{rcpt.user}", Failed, `"." is not a name`},
		{"dot dot", "..@x", "/m/%{rcpt.user}", Failed, `".." is not a name`},
		{"dot dot within", "..@x", "/m/%{rcpt.user}/n", Failed, `".." is not a name`},
		{"dot and dot", ".@.", "/m/%{rcpt.user}%{rcpt.domain}", Failed, `".." is not a name`},
		{"dot completed", ".@x", "/m/.%{rcpt.user}/n", Failed, `".." is not a name`},
		{"dot cut out", "a.b@x", "/m/%{rcpt.user[1]}", Failed, `"." is not a name`},
		{"empty at the end", "@x", "/m/%{rcpt.user}", Failed, "is empty"},
		{"empty at the end with slash", "@x", "/m/%{rcpt.user}/", Failed, "is empty"},
	}
	for _, tt := range tests {
		_, err := testExpansion(tt.rcpt).path(tt.format)
		o := outcomeOf(err)
		if o.Status != tt.status || !strings.Contains(o.Text, tt.text) || !strings.Contains(o.Text, `action "a"`) {
			t.Errorf("%s: %v %s %q, want %v with %q", tt.name, o.Status, o.Enhanced, o.Text, tt.status, tt.text)
		}
	}
	// The administrator's own dots are his.
	if p, err := testExpansion("a@x").path("/m/../%{rcpt.user}"); err != nil || p != "/m/../a" {
		t.Errorf("%q, %v", p, err)
	}
	if p, err := testExpansion("@x").path("/m/%{rcpt.user}/n"); err != nil || p != "/m//n" {
		t.Errorf("%q, %v", p, err)
	}
}

// FuzzExpandPath: whatever the mail's addresses are, a mailbox is directly
// below the directory that the format names.
func FuzzExpandPath(f *testing.F) {
	for _, s := range []string{"alice", "../../x", ".", "..", "a/../../b", "\x00", `"a b"`, "a+b", "-x", "*", ""} {
		f.Add(s, "example.org", "/var/mail/%{rcpt.user}")
		f.Add("x", s, "/var/mail/%{rcpt.user[0]:raw}%{rcpt.domain:raw}")
	}
	f.Add("user", "x", "/var/mail/%{rcpt.user[1:-1]:strip|raw|uppercase}")
	f.Add("user", "x", "%{%%{rcpt[[]]:}")
	f.Fuzz(func(t *testing.T, local, domain, format string) {
		x := testExpansion("a@b")
		x.t.env.Rcpt = mail.Address{Local: local, Domain: domain}
		p, err := x.path(format)
		if err != nil {
			if o := outcomeOf(err); o.Status != Failed && o.Status != Deferred || o.Text == "" || len(o.Text) > maxText {
				t.Fatalf("outcome %+v", o)
			}
			return
		}
		if len(p) > maxExpanded {
			t.Fatalf("%d bytes", len(p))
		}
		// The same format with a harmless address is the yardstick.
		if strings.HasPrefix(format, "/var/mail/%{") && strings.Count(format, "/") == 3 && !strings.Contains(format, ".directory") {
			if c := path.Clean(p); path.Dir(c) != "/var/mail" {
				t.Fatalf("%q leads to %q", format, c)
			}
		}
	})
}

// FuzzExpandCommand: what stands for an address in a command stays one word
// for the shell, quoted or not.
func FuzzExpandCommand(f *testing.F) {
	for _, s := range []string{"alice", "$(id)", "`id`", "a;b", "a b", "a'b", `a"b`, "a\nb", "a|b", "a&b", "a>b", "a\\b"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, local string, raw bool) {
		x := testExpansion("a@b")
		x.t.env.Rcpt.Local = local
		format := "%{rcpt.user}"
		if raw {
			format = "%{rcpt.user:raw}"
		}
		s, err := x.expand(format, inCommand)
		if err != nil {
			return
		}
		bad := "\"$&'();<>\\`|/ \t\n\x00"
		if !raw {
			bad += "*?[]{}~!#"
		}
		if strings.ContainsAny(s, bad) || len(s) != len(local) || strings.HasPrefix(s, "-") {
			t.Fatalf("%q became %q", local, s)
		}
	})
}
