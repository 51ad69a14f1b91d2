package table

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/weirmail/weir/internal/mail"
)

func TestLookup(t *testing.T) {
	m := NewMapping("m", []Pair{{"Root", "admin"}, {"bob", "first"}, {"BOB", "last"}})
	for _, tt := range []struct {
		key, want string
		ok        bool
	}{
		{"root", "admin", true},
		{"ROOT", "admin", true},
		{"bob", "last", true},
		{"alice", "", false},
		{"", "", false},
	} {
		got, ok := m.Lookup(tt.key)
		if got != tt.want || ok != tt.ok || m.Has(tt.key) != ok {
			t.Errorf("Lookup(%q) = %q, %v; want %q, %v", tt.key, got, ok, tt.want, tt.ok)
		}
	}
	if !m.IsMapping() || m.Name() != "m" || m.Len() != 3 {
		t.Errorf("mapping %v, name %q, len %d", m.IsMapping(), m.Name(), m.Len())
	}
	l := NewList("l", []string{"A", "b"})
	if l.IsMapping() || !l.Has("a") || !l.Has("B") || l.Has("c") {
		t.Error("list does not hold what it was given")
	}
	if got := slices.Collect(l.Keys()); !slices.Equal(got, []string{"A", "b"}) {
		t.Errorf("Keys = %q", got)
	}
}

func TestMatchDomain(t *testing.T) {
	l := NewList("d", []string{"Example.org", "*.Example.net", "mail*.example.com", "*.a.*.test"})
	for name, want := range map[string]bool{
		"example.org":           true,
		"EXAMPLE.ORG":           true,
		"mail.example.org":      false,
		"example.net":           false,
		"a.example.net":         true,
		"a.b.example.net":       true,
		"xexample.net":          false,
		"mail.example.com":      true,
		"mail7.example.com":     true,
		"amail.example.com":     false,
		"x.a.y.test":            true,
		"x.a.test":              false,
		"":                      false,
		"example.org.evil.test": false,
	} {
		if got := l.MatchDomain(name); got != want {
			t.Errorf("MatchDomain(%q) = %v", name, got)
		}
	}
	if NewList("all", []string{"*"}).MatchDomain("") {
		t.Error("the null reverse-path's domain matches *")
	}
}

func TestMatchNetAddr(t *testing.T) {
	l := NewList("n", []string{
		"192.0.2.1", "198.51.100.0/24", "10/8", "172.16/12", "203.0.113.77/28",
		"::1", "ipv6:2001:db8::1", "[2001:db8:1::]", "[IPv6:2001:db8:2::1]", "2001:db8:3::/48",
		"::ffff:192.0.2.64/122", "nonsense",
	})
	for addr, want := range map[string]bool{
		"192.0.2.1":         true,
		"::ffff:192.0.2.1":  true,
		"192.0.2.2":         false,
		"198.51.100.255":    true,
		"198.51.101.0":      false,
		"10.255.0.1":        true,
		"172.31.255.255":    true,
		"172.32.0.0":        false,
		"203.0.113.64":      true,
		"203.0.113.80":      false,
		"192.0.2.127":       true,
		"192.0.2.128":       false,
		"::1":               true,
		"2001:db8::1":       true,
		"2001:db8::2":       false,
		"2001:db8:1::":      true,
		"2001:db8:2::1":     true,
		"2001:db8:3:ffff::": true,
		"2001:db8:3::1%lo":  true,
		"2001:db8:4::":      false,
	} {
		if got := l.MatchNetAddr(netip.MustParseAddr(addr)); got != want {
			t.Errorf("MatchNetAddr(%s) = %v", addr, got)
		}
	}
	if l.MatchNetAddr(netip.Addr{}) {
		t.Error("no address matches")
	}
	if !NewList("all", []string{"0.0.0.0/0"}).MatchNetAddr(netip.MustParseAddr("192.0.2.9")) {
		t.Error("0.0.0.0/0 does not match")
	}
	if NewList("all", []string{"0.0.0.0/0"}).MatchNetAddr(netip.MustParseAddr("::2")) {
		t.Error("0.0.0.0/0 matches IPv6")
	}
}

func TestMatchMailAddr(t *testing.T) {
	l := NewList("m", []string{"Postmaster", "@example.org", "bob@example.net", "carl@*.test", "dora+x@example.net", "@*.wild.test"})
	for _, tt := range []struct {
		local, domain string
		want          bool
	}{
		{"postmaster", "anything.test", true},
		{"PostMaster", "", true},
		{"postmaster+tag", "a.test", true},
		{"anyone", "EXAMPLE.org", true},
		{"anyone", "sub.example.org", false},
		{"bob", "example.net", true},
		{"BOB+list", "Example.Net", true},
		{"bob", "example.com", false},
		{"carl", "a.test", true},
		{"carl", "test", false},
		{"dora", "example.net", false},
		{"dora+x", "example.net", true},
		{"dora+y", "example.net", false},
		{"x", "y.wild.test", true},
		{"x", "wild.test", false},
		{"", "", false},
	} {
		if got := l.MatchMailAddr(mail.Address{Local: tt.local, Domain: tt.domain}); got != tt.want {
			t.Errorf("MatchMailAddr(%s@%s) = %v", tt.local, tt.domain, got)
		}
	}
	if all := NewList("all", []string{"@"}); !all.MatchMailAddr(mail.Address{}) || !all.MatchMailAddr(mail.Address{Local: "x", Domain: "y"}) {
		t.Error("@ does not match everything")
	}
	minus := NewList("m", []string{"bob"})
	minus.SetSubAddrDelim('-')
	if !minus.MatchMailAddr(mail.Address{Local: "bob-list"}) || minus.MatchMailAddr(mail.Address{Local: "bob+list"}) {
		t.Error("the delimiter that was set is not used")
	}
}

func TestMatchRegexp(t *testing.T) {
	for _, tt := range []struct {
		expr, s string
		want    bool
	}{
		{"@", "a@b", true},
		{"^spam.*@example\\.(org|net)$", "SPAMMER@EXAMPLE.NET", true},
		{"^spam", "nospam", false},
		{"[[:digit:]]{3}-", "host-123-4", true},
		{"\\bdsl\\b", "x.dsl.test", true},
		{"(?i)Static", "static", true},
		{"a.c", "a\nc", true},
		{"a$", "a\nb", false},
		{"^$", "", true},
	} {
		l := NewList("r", []string{tt.expr})
		if err := l.CheckRegexp(); err != nil {
			t.Errorf("%q: %v", tt.expr, err)
		}
		if got := l.MatchRegexp(tt.s); got != tt.want {
			t.Errorf("%q on %q = %v", tt.expr, tt.s, got)
		}
	}
}

// The hashes are those of openssl passwd for "secret".
const (
	sha512Hash = "$6$rounds=1000$abcdefgh$nhYjN017qxiYztzyUpZtPnUQcnLy62KsunSLHNeLahp2EHPlAKmFFlrjEwSXGo2kgY5hR2.peKEg2VGUqIJJu1"
	sha256Hash = "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM."
)

func TestAuthenticate(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	y := "$2y$" + strings.TrimPrefix(string(hash), "$2a$")
	b := "$2b$" + strings.TrimPrefix(string(hash), "$2a$")
	creds := NewMapping("creds", []Pair{
		{"a", string(hash)}, {"y", y}, {"b", b}, {"six", sha512Hash}, {"five", sha256Hash},
	})
	if err := creds.CheckCredentials(); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"a", "A", "y", "b", "six", "five"} {
		for password, want := range map[string]bool{"secret": true, "Secret": false, "": false} {
			if ok, err := creds.Authenticate(user, password); ok != want || err != nil {
				t.Errorf("Authenticate(%q, %q) = %v, %v", user, password, ok, err)
			}
		}
	}
	if ok, err := creds.Authenticate("nobody", "secret"); ok || err != nil {
		t.Errorf("unknown user: %v, %v", ok, err)
	}
	plain := NewMapping("plain", []Pair{{"u", "secret"}, {"e", ""}})
	for _, user := range []string{"u", "e", "nobody"} {
		for _, password := range []string{"secret", ""} {
			if ok, _ := plain.Authenticate(user, password); ok {
				t.Errorf("plain text authenticates %q with %q", user, password)
			}
		}
	}
	if _, err := plain.Authenticate("u", "secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error of a plain text value: %v", err)
	}
}

func TestFallbackDummyCostsAsMuch(t *testing.T) {
	if err := checkHash(fallbackDummy); err != nil {
		t.Fatal(err)
	}
	if ok, err := verify(fallbackDummy, "x"); ok || err != nil {
		t.Fatalf("verify = %v, %v", ok, err)
	}
	s := NewMapping("c", []Pair{{"p", "plain"}, {"u", sha512Hash}}).current()
	if s.dummy() != sha512Hash {
		t.Errorf("dummy is %q, not of the table's own kind", s.dummy())
	}
}

func TestUserinfo(t *testing.T) {
	u, err := ParseUserinfo("1000:100:/home/virtual/joe")
	if err != nil || u != (Userinfo{1000, 100, "/home/virtual/joe"}) {
		t.Errorf("ParseUserinfo = %+v, %v", u, err)
	}
	if _, err := ParseUserinfo("4294967295:0:/"); err != nil {
		t.Errorf("largest uid: %v", err)
	}
	for _, s := range []string{"", "1:2", "1:2:", "1:2:home", "4294967296:1:/h", "-1:1:/h", "a:b:/h", "1::/h"} {
		if _, err := ParseUserinfo(s); err == nil {
			t.Errorf("ParseUserinfo(%q) accepts", s)
		}
	}
}

func TestCheckNamesTheEntry(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		index int
		want  string
	}{
		{"net", NewList("", []string{"192.0.2.1", "192.0.2.0/33"}).CheckNetAddr(), 1,
			`"192.0.2.0/33": not an address or network; expected 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32`},
		{"bracket", NewList("", []string{"[::1"}).CheckNetAddr(), 0, `"[::1": not an address or network`},
		{"addr", NewList("", []string{"192.0.2.0/24"}).CheckAddr(), 0, `"192.0.2.0/24": not an address; expected 192.0.2.1 or 2001:db8::1`},
		{"regexp", NewList("", []string{"ok", "a(b"}).CheckRegexp(), 1, `"a(b": not a regular expression: missing closing ): a(b`},
		{"domain", NewList("", []string{"a@b"}).CheckDomain(), 0, `"a@b": not a domain`},
		{"mailaddr", NewList("", []string{"<a@b>"}).CheckMailAddr(), 0, `"<a@b>": not an address`},
		{"mailaddr without @", NewList("", []string{"@*.a.test", "*.b.test"}).CheckMailAddr(), 1, `"*.b.test": not an address; expected user, @domain`},
		{"credentials", NewMapping("", []Pair{{"u", "hunter2"}}).CheckCredentials(), 0, `"u": not a password hash`},
		{"damaged", NewMapping("", []Pair{{"u", "$2b$10$short"}}).CheckCredentials(), 0, `"u": a password hash that is damaged`},
		{"userinfo", NewMapping("", []Pair{{"u", "1:2"}}).CheckUserinfo(), 0, `"1:2": not a user`},
	} {
		e, ok := tt.err.(*EntryError)
		if !ok {
			t.Errorf("%s: error is %v", tt.name, tt.err)
			continue
		}
		if e.Index != tt.index || !strings.HasPrefix(e.Error(), tt.want) {
			t.Errorf("%s: entry %d: %s\nwant entry %d: %s", tt.name, e.Index, e, tt.index, tt.want)
		}
	}
}

func TestCheckAllowsStandIns(t *testing.T) {
	if err := NewList("", []string{"local", "192.0.2.1"}).CheckNetAddr(); err != nil {
		t.Errorf("local socket: %v", err)
	}
	if err := NewList("", []string{"<unknown>", "example.org"}).CheckDomain(); err != nil {
		t.Errorf("client without a name: %v", err)
	}
}

func TestLookupAddr(t *testing.T) {
	m := NewMapping("names", []Pair{{"127.0.0.1", "four"}, {"[IPv6:0::1]", "six"}})
	for addr, want := range map[string]string{"127.0.0.1": "four", "::ffff:127.0.0.1": "four", "::1": "six", "::2": ""} {
		if got, ok := m.LookupAddr(netip.MustParseAddr(addr)); got != want || ok != (want != "") {
			t.Errorf("LookupAddr(%s) = %q, %v", addr, got, ok)
		}
	}
	if got := NewList("s", []string{"192.0.2.1", "::1"}).Addrs(); len(got) != 2 || got[1] != netip.MustParseAddr("::1") {
		t.Errorf("Addrs = %v", got)
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	l := NewList("l", []string{"example.org", "*.example.net", "bob@example.org", "192.0.2.0/24", "^x"})
	addr := netip.MustParseAddr("192.0.2.7")
	rcpt := mail.Address{Local: "bob", Domain: "example.org"}
	if n := testing.AllocsPerRun(100, func() {
		l.Has("example.org")
		l.MatchDomain("a.example.net")
		l.MatchNetAddr(addr)
		l.MatchMailAddr(rcpt)
		l.MatchRegexp("abc")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
