package dns_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/dns"
	"github.com/weirmail/weir/internal/dns/dnstest"
)

func addrs(ss ...string) (out []netip.Addr) {
	for _, s := range ss {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestReverse(t *testing.T) {
	long := strings.Repeat("a.", 126) + "b" // 253 bytes
	r := &dnstest.Resolver{
		Addr: map[string]dnstest.Answer{
			"192.0.2.1":   {Names: []string{"MX.Example.NET."}},
			"192.0.2.2":   {Names: []string{"elsewhere.example.net"}},
			"192.0.2.3":   {Names: []string{"gone.example.net"}},
			"192.0.2.4":   {Names: []string{"broken.example.net"}},
			"192.0.2.5":   {Err: dnstest.ErrServer},
			"192.0.2.6":   {Names: []string{"first.example.net", "mx.example.net", "other.example.net"}},
			"192.0.2.7":   {Names: []string{"evil|name.example.net.", "a\nb"}},
			"192.0.2.8":   {Names: []string{"192.0.2.8"}},
			"192.0.2.9":   {Names: []string{long + "."}},
			"192.0.2.10":  {Names: []string{long + "b."}},
			"192.0.2.11":  {Names: []string{"n1", "n2", "n3", "n4", "last.example.net"}},
			"192.0.2.12":  {Names: []string{"n1", "n2", "n3", "last.example.net"}},
			"192.0.2.13":  {Names: []string{"broken.example.net", "last.example.net"}},
			"192.0.2.14":  {Err: dnstest.ErrTimeout},
			"2001:db8::1": {Names: []string{"six.example.net"}},
			"fe80::1":     {Names: []string{"six.example.net"}},
		},
		Host: map[string]dnstest.Answer{
			"mx.example.net":        {Addrs: addrs("198.51.100.1", "192.0.2.1", "192.0.2.6")},
			"elsewhere.example.net": {Addrs: addrs("198.51.100.1")},
			"broken.example.net":    {Err: dnstest.ErrServer},
			"six.example.net":       {Addrs: addrs("2001:db8::1", "fe80::1")},
			"last.example.net":      {Addrs: addrs("192.0.2.11", "192.0.2.12", "192.0.2.13")},
			long:                    {Addrs: addrs("192.0.2.9")},
		},
	}
	for _, row := range []struct {
		name   string
		addr   string
		want   string
		fcrdns string
	}{
		{"leads back", "192.0.2.1", "mx.example.net", dns.Pass},
		{"leads back, mapped", "::ffff:192.0.2.1", "mx.example.net", dns.Pass},
		{"leads back, IPv6", "2001:db8::1", "six.example.net", dns.Pass},
		{"leads back, with zone", "fe80::1%eth0", "six.example.net", dns.Pass},
		{"leads elsewhere", "192.0.2.2", "elsewhere.example.net", dns.Fail},
		{"leads nowhere", "192.0.2.3", "gone.example.net", dns.Fail},
		{"way back is broken", "192.0.2.4", "broken.example.net", dns.Error},
		{"no name", "192.0.2.99", "", dns.Fail},
		{"server fails", "192.0.2.5", "", dns.Error},
		{"server is silent", "192.0.2.14", "", dns.Error},
		{"second name leads back", "192.0.2.6", "mx.example.net", dns.Pass},
		{"bad bytes", "192.0.2.7", "", dns.Fail},
		{"an address", "192.0.2.8", "", dns.Fail},
		{"longest name", "192.0.2.9", long, dns.Pass},
		{"too long", "192.0.2.10", "", dns.Fail},
		{"fifth name is not followed", "192.0.2.11", "n1", dns.Fail},
		{"fourth is", "192.0.2.12", "last.example.net", dns.Pass},
		{"good after broken", "192.0.2.13", "last.example.net", dns.Pass},
	} {
		name, fcrdns := dns.Reverse(t.Context(), r, netip.MustParseAddr(row.addr))
		if name != row.want || fcrdns != row.fcrdns {
			t.Errorf("%s: %q %s, want %q %s", row.name, name, fcrdns, row.want, row.fcrdns)
		}
	}
}

// TestReverseHeedsContext: a silent server costs what the context allows, of
// either lookup.
func TestReverseHeedsContext(t *testing.T) {
	for _, row := range []struct {
		name, host time.Duration
		want       string
	}{{time.Hour, 0, ""}, {0, time.Hour, "mx.example.net"}} {
		synctest.Test(t, func(t *testing.T) {
			r := dnstest.New("192.0.2.1", "mx.example.net")
			a, h := r.Addr["192.0.2.1"], r.Host["mx.example.net"]
			a.Delay, h.Delay = row.name, row.host
			r.Addr["192.0.2.1"], r.Host["mx.example.net"] = a, h
			const limit = 3 * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			start := time.Now()
			name, fcrdns := dns.Reverse(ctx, dns.NewCache(r), netip.MustParseAddr("192.0.2.1"))
			if took := time.Since(start); took != limit || name != row.want || fcrdns != dns.Error {
				t.Errorf("%q %s after %v", name, fcrdns, took)
			}
			time.Sleep(dns.LookupLimit) // what is under way ends
		})
	}
}

// TestSystemLocalhost: /etc/hosts knows 127.0.0.1, without asking a server.
func TestSystemLocalhost(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	name, fcrdns := dns.Reverse(ctx, dns.System(), netip.MustParseAddr("127.0.0.1"))
	if name == "" || fcrdns != dns.Pass {
		t.Errorf("%q %s; has /etc/hosts no line for 127.0.0.1?", name, fcrdns)
	}
}

func FuzzReverse(f *testing.F) {
	for _, s := range []string{"mx.example.net.", "a|b", "", ".", "..", "a..", "-a", "a..b", "1.2.3.4", "x_y", "\x00", "é"} {
		f.Add(s)
	}
	a := netip.MustParseAddr("192.0.2.1")
	f.Fuzz(func(t *testing.T, ptr string) {
		r := &dnstest.Resolver{Addr: map[string]dnstest.Answer{a.String(): {Names: []string{ptr}}}}
		name, fcrdns := dns.Reverse(t.Context(), r, a)
		if fcrdns != dns.Fail || strings.ContainsAny(name, "| \t\r\n\x00<>:") || len(name) > 253 || name != strings.ToLower(name) || strings.HasSuffix(name, ".") {
			t.Fatalf("%q: %q %s", ptr, name, fcrdns)
		}
	})
}
