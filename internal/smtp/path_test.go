package smtp

import (
	"errors"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/mail"
)

func TestParseMailArg(t *testing.T) {
	for _, tc := range []struct {
		in, raw, local, domain, rest string
	}{
		{"<a@example.net>", "a@example.net", "a", "example.net", ""},
		{"   <a@example.net>  ", "a@example.net", "a", "example.net", "  "},
		{"\t<a@b> SIZE=1", "a@b", "a", "b", " SIZE=1"},
		{"<a@example.net>x", "a@example.net", "a", "example.net", "x"},
		{"<>", "", "", "", ""},
		{"<> BODY=7BIT", "", "", "", " BODY=7BIT"},
		{"<localonly>", "localonly", "localonly", "", ""},
		{"<alice@>", "alice@", "alice", "", ""},
		{"<@hop.example:a@example.net>", "@hop.example:a@example.net", "a", "example.net", ""},
		{"<@a,@b.c:d@e>", "@a,@b.c:d@e", "d", "e", ""},
		{"<@[192.0.2.1]:d@e>", "@[192.0.2.1]:d@e", "d", "e", ""},
		{"<a@[127.0.0.1]>", "a@[127.0.0.1]", "a", "[127.0.0.1]", ""},
		{"<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]", ""},
		{"<a+tag@example.net>", "a+tag@example.net", "a+tag", "example.net", ""},
		{"<A.B@EXAMPLE.Net>", "A.B@EXAMPLE.Net", "A.B", "EXAMPLE.Net", ""},
		{"<se|nder@example.net>", "se|nder@example.net", "se|nder", "example.net", ""},
		{"<!#$%&'*/?^`{|}~+-=_@x>", "!#$%&'*/?^`{|}~+-=_@x", "!#$%&'*/?^`{|}~+-=_", "x", ""},
		{"<a@host_x>", "a@host_x", "a", "host_x", ""},
		{"<a@bad->", "a@bad-", "a", "bad-", ""},
		{"<a@127.0.0.1>", "a@127.0.0.1", "a", "127.0.0.1", ""},
		{"<s\u00e9@ex\u00e4mple.net> SMTPUTF8", "s\u00e9@ex\u00e4mple.net", "s\u00e9", "ex\u00e4mple.net", " SMTPUTF8"},
		{"<\u00e9@x> SIZE=1 smtputf8 BODY=8BITMIME", "\u00e9@x", "\u00e9", "x", " SIZE=1 smtputf8 BODY=8BITMIME"},
	} {
		p, rest, err := ParseMailArg([]byte(tc.in), true)
		want := mail.Address{Local: tc.local, Domain: tc.domain}
		if err != nil || p.Address != want || p.Raw != tc.raw || rest != tc.rest {
			t.Errorf("%q gave %+v, %q, %v", tc.in, p, rest, err)
		}
	}
	for _, tc := range []struct {
		in   string
		want error
	}{
		{"", ErrNoBrackets}, {" ", ErrNoBrackets}, {"a@b", ErrNoBrackets}, {"<a@b", ErrNoBrackets}, {"a@b>", ErrNoBrackets},
		{`"x" <a@b>`, ErrNoBrackets},
		{"<a b@c>", ErrLocalPart}, {"< a@b>", ErrLocalPart}, {"<a@b >", ErrDomain}, {"<@b>", ErrRoute}, {"<@>", ErrRoute},
		{"<a@b@c>", ErrLocalPart}, {"<a@-bad>", ErrDomain}, {"<a@b.>", ErrDomain}, {"<a@b..c>", ErrDomain}, {"<a@.b>", ErrDomain},
		{"<a..b@c>", ErrLocalPart}, {"<.a@c>", ErrLocalPart}, {"<a.@c>", ErrLocalPart},
		{`<"quoted local"@c>`, ErrLocalPart}, {`<"quoted"@c>`, ErrLocalPart}, {`<a\@b@c>`, ErrLocalPart},
		{"<a(c)@b>", ErrLocalPart}, {"<a:b@c>", ErrLocalPart}, {"<a@b!>", ErrDomain}, {"<a@[999.0.0.1]>", ErrDomain},
		{"<a@[127.0.0.1>", ErrDomain}, {"<a@[]>", ErrDomain}, {"<a@[fe80::1%eth0]>", ErrDomain}, {"<a@[IPv6:]>", ErrDomain},
		{"<@:a@b>", ErrRoute}, {"<@x,y:a@b>", ErrRoute}, {"<@x,@:a@b>", ErrRoute}, {"<@x:>", ErrLocalPart}, {"<@x:a@b:c@d>", ErrLocalPart},
		{"<\u00e9@x>", ErrAddressNonASCII}, {"<a@\u00e9>", ErrAddressNonASCII}, {"<\xff@x> SMTPUTF8", ErrAddressNonASCII},
		{"<a\x01@x>", ErrLocalPart}, {"<a@x\x7f>", ErrDomain},
	} {
		if p, _, err := ParseMailArg([]byte(tc.in), true); !errors.Is(err, tc.want) || !errors.Is(err, ErrAddress) {
			t.Errorf("%q gave %+v, %v, want %v", tc.in, p, err, tc.want)
		}
	}
	if _, _, err := ParseMailArg([]byte("<\u00e9@x> SMTPUTF8"), false); !errors.Is(err, ErrAddressNonASCII) {
		t.Errorf("SMTPUTF8 on a listener without: %v", err)
	}
}

func TestParseRcptArg(t *testing.T) {
	p, rest, err := ParseRcptArg([]byte(" <@hop:ALICE@Example.TEST> NOTIFY=NEVER"), false)
	if err != nil || p.Address != (mail.Address{Local: "ALICE", Domain: "Example.TEST"}) || p.Raw != "@hop:ALICE@Example.TEST" || rest != " NOTIFY=NEVER" {
		t.Errorf("%+v %q %v", p, rest, err)
	}
	for _, in := range []string{"<>", "", "alice@example.test", "<@example.test>", "<al\u00efce@x>", "<a@b@c>"} {
		if _, _, err := ParseRcptArg([]byte(in), false); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", in, err)
		}
	}
	if _, _, err := ParseRcptArg([]byte("<al\u00efce@x>"), true); err != nil {
		t.Errorf("UTF-8 after SMTPUTF8: %v", err)
	}
}

// RFC 5321 s4.5.3.1.1 to s4.5.3.1.3.
func TestAddressLengths(t *testing.T) {
	l := func(n int) string { return strings.Repeat("l", n) }
	label := l(63)
	domain := func(n int) string { return (label + "." + label + "." + label + "." + label + "." + label)[:n] }
	for _, tc := range []struct {
		in string
		ok bool
	}{
		{"<" + l(64) + "@x>", true},
		{"<" + l(65) + "@x>", false},
		{"<a@" + l(63) + ">", true},
		{"<a@" + l(64) + ">", false},
		{"<a@" + domain(252) + ">", true}, // 256 octets with brackets
		{"<a@" + domain(253) + ">", false},
	} {
		if _, _, err := ParseRcptArg([]byte(tc.in), false); (err == nil) != tc.ok {
			t.Errorf("%d octets: %v", len(tc.in), err)
		}
	}
	if !ValidHeloName(domain(255)) || ValidHeloName(domain(255)+"x") {
		t.Error("a HELO name of 255 octets is the longest")
	}
}

func TestParseAddress(t *testing.T) {
	for _, s := range []string{"alice", "alice@example.test", "b\u00f6b@x"} {
		if a, err := ParseAddress(s); err != nil || a.String() != s {
			t.Errorf("%q gave %v, %v", s, a, err)
		}
	}
	for _, s := range []string{"", "@x", "<a@b>", "a b", "@x:a@b", "a@b ", strings.Repeat("a.", 130) + "a@b"} {
		if a, err := ParseAddress(s); !errors.Is(err, ErrAddress) {
			t.Errorf("%q gave %v, %v", s, a, err)
		}
	}
}

func TestValidHeloName(t *testing.T) {
	for s, want := range map[string]bool{
		"client.example.net": true, "my_host": true, "bad-": true, "localhost": true, "[127.0.0.1]": true, "[IPv6:::1]": true,
		"[ipv6:::1]": true, "[::1]": true, "127.0.0.1": true, "a.-b": true,
		"": false, "foo bar": false, "-bad": false, "foo_bar!": false, "trailing.dot.": false, "[127.0.0.1": false,
		"[999.0.0.1]": false, "a|b": false, "client.example.net ": false, "a..b": false, ".a": false, "[127.0.0.1]x": false,
		"[127.0.0.01]": false, "h\u00f6st": false,
	} {
		if ValidHeloName(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<a@b>", "<>", "<@x,@y:a@b> SIZE=1", "<a@[IPv6:::1]>", "<\u00e9@x> SMTPUTF8", `<"a b"@c>`, "<a@>", "<", "\t<a>x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, rest, err := ParseMailArg(in, true)
		if err != nil {
			if !errors.Is(err, ErrAddress) {
				t.Fatal(err)
			}
			return
		}
		if !strings.HasSuffix(string(in), "<"+p.Raw+">"+rest) {
			t.Fatalf("%q was split into %q and %q", in, p.Raw, rest)
		}
		if p.Address.IsNull() {
			if p.Raw != "" {
				t.Fatalf("%q became the null path", p.Raw)
			}
			return
		}
		// What was accepted can be said again, and means the same.
		again, _, err := ParseMailArg([]byte("<"+p.Address.String()+"> SMTPUTF8"), true)
		if err != nil || again.Address != p.Address {
			t.Fatalf("%q gave %+v, and that %+v, %v", in, p.Address, again.Address, err)
		}
		if strings.ContainsAny(p.Address.String(), "<> \t\r\n\x00\"") {
			t.Fatalf("%q gave %q", in, p.Address)
		}
	})
}
