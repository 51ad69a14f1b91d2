package listener

import (
	"errors"
	"net"
	"net/netip"
	"sync"
)

// Why a connection is not admitted.
var (
	ErrFull       = errors.New("as many sessions as smtp limit max-sessions allows")
	ErrSourceFull = errors.New("as many sessions from one source as smtp limit max-sessions-per-source allows")
)

// Limits counts sessions at once, over all sockets of a server and for each
// source. Safe for concurrent use, but for the fields, which are the limits to
// begin with.
type Limits struct {
	MaxSessions          int
	MaxSessionsPerSource int
	FreeLoopback         bool // this machine's own addresses are held to MaxSessions alone

	mu       sync.Mutex
	sessions int
	sources  map[netip.Prefix]int
}

// Set changes the limits. Sessions beyond lower ones go on.
func (l *Limits) Set(maxSessions, perSource int, freeLoopback bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.MaxSessions, l.MaxSessionsPerSource, l.FreeLoopback = maxSessions, perSource, freeLoopback
}

// admit counts a connection in, or says why not. release counts it out.
// Connections of the unix socket have no source and count for the total only.
func (l *Limits) admit(addr net.Addr) (release func(), err error) {
	src, hasSource := source(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions >= l.MaxSessions {
		return nil, ErrFull
	}
	if hasSource {
		free := l.FreeLoopback && src.Addr().IsLoopback()
		if l.sources[src] >= l.MaxSessionsPerSource && !free {
			return nil, ErrSourceFull
		}
		if l.sources == nil {
			l.sources = make(map[netip.Prefix]int)
		}
		l.sources[src]++
	}
	l.sessions++
	return func() { l.release(src, hasSource) }, nil
}

func (l *Limits) release(src netip.Prefix, hasSource bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions--
	if !hasSource {
		return
	}
	if l.sources[src]--; l.sources[src] == 0 {
		delete(l.sources, src)
	}
}

// source gives what counts as one source: an IPv4 address, an IPv6 /64, which
// is what one customer is given.
func source(addr net.Addr) (netip.Prefix, bool) {
	a, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}, false
	}
	ip := a.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	return p, err == nil
}
