package listener

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/weirmail/weir/internal/config"
)

// addresses gives the addresses that the argument of "listen on" stands for:
// an address, an interface ("lo0" is the loopback interface under any name),
// "all", or a host name.
func addresses(ctx context.Context, l *config.Listener) ([]netip.Addr, error) {
	addrs, err := lookup(ctx, l.Interface)
	if err != nil {
		return nil, err
	}
	var fit []netip.Addr
	for _, a := range addrs {
		if l.Family == 0 || l.Family == 4 == a.Is4() {
			fit = append(fit, a)
		}
	}
	if len(fit) == 0 {
		return nil, fmt.Errorf("no address of family inet%d", l.Family)
	}
	return fit, nil
}

func lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	if name == "all" {
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, nil
	}
	if ifi := interfaceByName(name); ifi != nil {
		return interfaceAddresses(ifi)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, fmt.Errorf("neither an address, an interface nor a host name: %w", err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, nil
}

// interfaceByName finds an interface; nil if there is none of that name.
func interfaceByName(name string) *net.Interface {
	if ifi, err := net.InterfaceByName(name); err == nil {
		return ifi
	}
	if name != "lo0" { // what OpenBSD calls it, and so most examples
		return nil
	}
	all, _ := net.Interfaces()
	for i := range all {
		if all[i].Flags&net.FlagLoopback != 0 {
			return &all[i]
		}
	}
	return nil
}

// interfaceAddresses gives an interface's addresses, but for IPv6 link-local
// ones, which are of no use without a zone.
func interfaceAddresses(ifi *net.Interface) ([]netip.Addr, error) {
	nets, err := ifi.Addrs()
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, n := range nets {
		p, err := netip.ParsePrefix(n.String())
		if err == nil && !p.Addr().IsLinkLocalUnicast() {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("interface %s has no address", ifi.Name)
	}
	return addrs, nil
}
