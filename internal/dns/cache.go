package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// How System remembers and limits.
const (
	CacheSize   = 4096             // answers of either kind kept at once
	PositiveTTL = 5 * time.Minute  // an answer with something in it
	NegativeTTL = time.Minute      // "there is none"
	FailureTTL  = 5 * time.Second  // a lookup that failed: a server that is down is not asked for each mail
	LookupLimit = 10 * time.Second // one lookup, however long its callers would wait
)

// System gives the resolver of the machine (/etc/hosts, then the servers of
// /etc/resolv.conf) behind a cache; callers that ask the same at the same time
// share one lookup.
func System() Resolver { return NewCache(systemResolver{}) }

type systemResolver struct{}

func (systemResolver) LookupAddr(ctx context.Context, a netip.Addr) ([]string, error) {
	return net.DefaultResolver.LookupAddr(ctx, a.String())
}

func (systemResolver) LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// NewCache puts a cache before r with the limits of this package.
func NewCache(r Resolver) Resolver {
	return &cached{
		addrs: newCache(r.LookupAddr),
		hosts: newCache(r.LookupNetIP),
	}
}

type cached struct {
	addrs *cache[netip.Addr, []string]
	hosts *cache[string, []netip.Addr]
}

func (c *cached) LookupAddr(ctx context.Context, a netip.Addr) ([]string, error) {
	return c.addrs.get(ctx, a)
}

func (c *cached) LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	return c.hosts.get(ctx, host)
}

// cache remembers what ask returned.
type cache[K comparable, V any] struct {
	ask func(context.Context, K) (V, error)

	mu      sync.Mutex
	entries map[K]*entry[V]
}

// entry is an answer, or a lookup under way until done is closed. value, err
// and expires are set before that and never changed after.
type entry[V any] struct {
	done    chan struct{}
	value   V
	err     error
	expires time.Time
}

func newCache[K comparable, V any](ask func(context.Context, K) (V, error)) *cache[K, V] {
	return &cache[K, V]{ask: ask, entries: make(map[K]*entry[V])}
}

func (c *cache[K, V]) get(ctx context.Context, key K) (V, error) {
	e := c.find(key)
	select {
	case <-e.done:
		return e.value, e.err
	default:
	}
	select {
	case <-e.done:
		return e.value, e.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

// find gives the entry for key and starts the lookup if there is none. The
// lookup has its own time limit: a caller that leaves does not take the answer
// from the others, and the next to ask finds it.
func (c *cache[K, V]) find(key K) *entry[V] {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok && !e.stale(now) {
		return e
	}
	e := &entry[V]{done: make(chan struct{})}
	if len(c.entries) >= CacheSize {
		c.shrink(now)
	}
	c.entries[key] = e
	go c.fill(key, e)
	return e
}

func (c *cache[K, V]) fill(key K, e *entry[V]) {
	ctx, cancel := context.WithTimeout(context.Background(), LookupLimit)
	defer cancel()
	defer close(e.done)
	e.value, e.err = c.ask(ctx, key)
	e.expires = time.Now().Add(ttl(e.err))
}

func (e *entry[V]) stale(now time.Time) bool {
	select {
	case <-e.done:
		return !now.Before(e.expires)
	default:
		return false
	}
}

// shrink makes room: what is stale goes, and if that is too little an eighth
// of the rest, whichever the map gives first. Entries of lookups under way go
// last, but they go too: the bound holds, and those who wait keep theirs.
func (c *cache[K, V]) shrink(now time.Time) {
	for k, e := range c.entries {
		if e.stale(now) {
			delete(c.entries, k)
		}
	}
	room := CacheSize - CacheSize/8
	for k, e := range c.entries {
		if len(c.entries) <= room {
			return
		}
		select {
		case <-e.done:
			delete(c.entries, k)
		default:
		}
	}
	for k := range c.entries {
		if len(c.entries) <= room {
			return
		}
		delete(c.entries, k)
	}
}

func ttl(err error) time.Duration {
	var e *net.DNSError
	switch {
	case err == nil:
		return PositiveTTL
	case errors.As(err, &e) && e.IsNotFound:
		return NegativeTTL
	}
	return FailureTTL
}
