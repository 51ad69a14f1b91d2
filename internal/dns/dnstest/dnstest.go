// Package dnstest is a dns.Resolver with made-up answers, failures and delays,
// so that no test touches the network.
package dnstest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// ErrServer is a failure that says nothing about the name: put it in
// Answer.Err for a server that does not answer rightly.
var ErrServer = &net.DNSError{Err: "server misbehaving", IsTemporary: true}

// ErrTimeout is the failure of a server that does not answer at all.
var ErrTimeout = &net.DNSError{Err: "i/o timeout", IsTimeout: true}

// Answer is what a Resolver says to one name or address.
type Answer struct {
	Names []string     // for an address
	Addrs []netip.Addr // for a host
	Err   error        // instead
	Delay time.Duration
}

// Resolver answers from its maps; what is in none of them is not found. The
// zero value finds nothing. Fill it before use: afterwards only Asked may be
// called, from any goroutine.
type Resolver struct {
	Addr map[string]Answer // by address, as netip.Addr.String spells it
	Host map[string]Answer // by name in lower case without final dot

	mu    sync.Mutex
	asked map[string]int
}

// New gives a Resolver in which each address has one name that leads back to
// it: New("192.0.2.1", "mx.example.org", ...). It panics if an address cannot
// be parsed.
func New(pairs ...string) *Resolver {
	r := &Resolver{Addr: map[string]Answer{}, Host: map[string]Answer{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		a := netip.MustParseAddr(pairs[i])
		host := strings.ToLower(strings.TrimSuffix(pairs[i+1], "."))
		r.Addr[a.String()] = Answer{Names: []string{pairs[i+1]}}
		known := r.Host[host]
		known.Addrs = append(known.Addrs, a)
		r.Host[host] = known
	}
	return r
}

// LookupAddr implements dns.Resolver.
func (r *Resolver) LookupAddr(ctx context.Context, a netip.Addr) ([]string, error) {
	answer, err := r.answer(ctx, r.Addr, a.String())
	if err == nil && len(answer.Names) == 0 {
		err = notFound(a.String())
	}
	return answer.Names, err
}

// LookupNetIP implements dns.Resolver.
func (r *Resolver) LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	answer, err := r.answer(ctx, r.Host, host)
	if err == nil && len(answer.Addrs) == 0 {
		err = notFound(host)
	}
	return answer.Addrs, err
}

// Asked says how often an address or name has been looked up.
func (r *Resolver) Asked(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[name]
}

func (r *Resolver) answer(ctx context.Context, answers map[string]Answer, key string) (Answer, error) {
	r.mu.Lock()
	if r.asked == nil {
		r.asked = map[string]int{}
	}
	r.asked[key]++
	r.mu.Unlock()
	a := answers[key]
	if a.Delay > 0 {
		t := time.NewTimer(a.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return Answer{}, errors.Join(ErrTimeout, ctx.Err())
		}
	}
	if a.Err != nil {
		return Answer{}, a.Err
	}
	return a, nil
}

func notFound(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}
