package table

import (
	"errors"
	"net/netip"
	"strings"
)

var errNet = errors.New("not an address or network; expected 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32")

// netIndex answers MatchNetAddr: a set of networks, and which lengths of
// prefix occur in it, so that a lookup costs one probe for each length.
type netIndex struct {
	nets map[netip.Prefix]struct{}
	len4 []int
	len6 []int
}

func (s *snapshot) indexNets() *netIndex {
	x := &netIndex{nets: make(map[netip.Prefix]struct{}, len(s.entries))}
	var seen4 [33]bool
	var seen6 [129]bool
	for _, e := range s.entries {
		p, err := parseNet(e.Key)
		if err != nil {
			continue
		}
		x.nets[p] = struct{}{}
		if n := p.Bits(); p.Addr().Is4() && !seen4[n] {
			seen4[n] = true
			x.len4 = append(x.len4, n)
		} else if !p.Addr().Is4() && !seen6[n] {
			seen6[n] = true
			x.len6 = append(x.len6, n)
		}
	}
	return x
}

// MatchNetAddr reports whether a lies in one of the networks of the table.
// Entries are addresses or networks of either family, with "ipv6:" before
// them or in brackets or not. An IPv4 address in its IPv6 form counts as IPv4.
func (t *Table) MatchNetAddr(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	x := t.current().nets()
	a = a.Unmap().WithZone("")
	lengths := x.len6
	if a.Is4() {
		lengths = x.len4
	}
	for _, n := range lengths {
		p, err := a.Prefix(n)
		if err != nil {
			continue
		}
		if _, ok := x.nets[p]; ok {
			return true
		}
	}
	return false
}

// CheckNetAddr reports the first entry that is neither address nor network.
// "local", which stands for the local socket, counts as an address.
func (t *Table) CheckNetAddr() error {
	return t.checkKeys("netaddr", func(s string) error {
		if fold(s) == "local" {
			return nil
		}
		_, err := parseNet(s)
		return err
	})
}

// CheckAddr reports the first entry that is not a single address.
func (t *Table) CheckAddr() error {
	return t.checkKeys("addr", func(s string) error {
		if p, err := parseNet(s); err != nil || !p.IsSingleIP() {
			return errors.New("not an address; expected 192.0.2.1 or 2001:db8::1")
		}
		return nil
	})
}

// Addrs gives the entries that are single addresses, in the order of the table.
func (t *Table) Addrs() []netip.Addr {
	var list []netip.Addr
	for key := range t.Keys() {
		if p, err := parseNet(key); err == nil && p.IsSingleIP() {
			list = append(list, p.Addr())
		}
	}
	return list
}

// LookupAddr gives the value of an address in a mapping whose keys are
// addresses, however those are written.
func (t *Table) LookupAddr(a netip.Addr) (string, bool) {
	a = a.Unmap().WithZone("")
	if v, ok := t.Lookup(a.String()); ok {
		return v, true
	}
	for key, value := range t.All() {
		if p, err := parseNet(key); err == nil && p.IsSingleIP() && p.Addr() == a {
			return value, true
		}
	}
	return "", false
}

// parseNet reads an address or network in any form that table(5) allows.
func parseNet(s string) (netip.Prefix, error) {
	s = trimIPv6(s)
	if rest, ok := strings.CutPrefix(s, "["); ok {
		// RFC 5321 s4.1.3: address literals are written in brackets.
		if s, ok = strings.CutSuffix(rest, "]"); !ok {
			return netip.Prefix{}, errNet
		}
		s = trimIPv6(s)
	}
	addr, bits, isNet := strings.Cut(s, "/")
	if !isNet {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, errNet
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	// inet_net_pton(3) takes "10/8" and "192.168/16".
	if n := strings.Count(addr, "."); n < 3 && !strings.Contains(addr, ":") {
		addr += strings.Repeat(".0", 3-n)
	}
	p, err := netip.ParsePrefix(addr + "/" + bits)
	if err != nil {
		return netip.Prefix{}, errNet
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// trimIPv6 drops the tag of RFC 5321 s4.1.3, "IPv6:".
func trimIPv6(s string) string {
	const tag = "ipv6:"
	if len(s) > len(tag) && strings.EqualFold(s[:len(tag)], tag) {
		return s[len(tag):]
	}
	return s
}
