// Package dns looks up names for the server, with bounds on time, and lets
// tests put their own answers in.
//
// It asks through the resolver of the Go library, which reads /etc/hosts
// first, and remembers answers for a short time. It does not validate DNSSEC
// and knows nothing of MX records yet. Package dnstest has a resolver with
// made-up answers.
package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
)

// Resolver looks names and addresses up. Both methods return a *net.DNSError
// with IsNotFound set if there is no such name or address, and any other error
// if they could not find out. They are safe for concurrent use, return soon
// after ctx has ended, and what they return is not changed by anybody.
type Resolver interface {
	// LookupAddr gives the names of an address (PTR records, /etc/hosts), with
	// or without a final dot.
	LookupAddr(ctx context.Context, addr netip.Addr) ([]string, error)

	// LookupNetIP gives the addresses of a host, of both families.
	LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error)
}

// The words for whether a client's name leads back to its address, as filters
// hear them.
const (
	Pass  = "pass"
	Fail  = "fail"  // it leads elsewhere, or there is no name
	Error = "error" // it could not be found out
)

// maxName is how many bytes a host name has at most (RFC 1035 s2.3.4: 255
// octets on the wire, which leaves 253 for the text).
const maxName = 253

// maxForward is how many of the names of an address are followed back. An
// address with more is somebody's experiment; the first ones speak for it.
const maxForward = 4

// Reverse gives the name of addr and whether it leads back to it: Pass, Fail
// or Error. The name is in lower case without a final dot, "" if there is none
// or none could be found; that is Fail if there is no name and Error if a
// lookup failed. Of several names the first that leads back is chosen, else
// the first. A name that cannot be a host's (a "|" or a control byte in it,
// say, which would be read as something else by filters) is no name.
//
// Reverse takes as long as ctx allows; then the result is Error.
func Reverse(ctx context.Context, r Resolver, addr netip.Addr) (name, fcrdns string) {
	addr = addr.Unmap().WithZone("")
	names, err := r.LookupAddr(ctx, addr)
	if err != nil {
		return "", outcome(err)
	}
	fcrdns = Fail
	followed := 0
	for _, n := range names {
		n, ok := hostName(n)
		if !ok {
			continue
		}
		if name == "" {
			name = n
		}
		back, err := leadsBack(ctx, r, n, addr)
		switch {
		case back:
			return n, Pass
		case err != nil && outcome(err) == Error:
			fcrdns = Error
		}
		if followed++; followed == maxForward {
			break
		}
	}
	return name, fcrdns
}

// leadsBack reports whether addr is among the addresses of host.
func leadsBack(ctx context.Context, r Resolver, host string, addr netip.Addr) (bool, error) {
	addrs, err := r.LookupNetIP(ctx, host)
	if err != nil {
		return false, err
	}
	for _, a := range addrs {
		if a.Unmap().WithZone("") == addr {
			return true, nil
		}
	}
	return false, nil
}

func outcome(err error) string {
	var e *net.DNSError
	if errors.As(err, &e) && e.IsNotFound {
		return Fail
	}
	return Error
}

// hostName checks and normalises a name from a PTR record, which whoever owns
// the address may fill with any bytes (RFC 2181 s11).
func hostName(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxName || s[0] == '.' || s[0] == '-' || s[len(s)-1] == '.' {
		return "", false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && s[i-1] != '.':
		default:
			return "", false
		}
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return "", false // an address is not the name of one
	}
	return strings.ToLower(s), true
}
