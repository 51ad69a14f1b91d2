package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// server answers everything with "yes" unless err is set, after delay.
type server struct {
	mu    sync.Mutex
	asked int
	err   error
	delay time.Duration
}

func (s *server) ask(ctx context.Context, key string) (string, error) {
	s.mu.Lock()
	s.asked++
	err, delay := s.err, s.delay
	s.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return "yes " + key, err
}

func TestCacheTTL(t *testing.T) {
	notFound := &net.DNSError{Err: "no such host", IsNotFound: true}
	failure := errors.New("down")
	for _, row := range []struct {
		err error
		ttl time.Duration
	}{{nil, PositiveTTL}, {notFound, NegativeTTL}, {failure, FailureTTL}} {
		synctest.Test(t, func(t *testing.T) {
			s := &server{err: row.err}
			c := newCache(s.ask)
			check := func(asked int) {
				t.Helper()
				if v, err := c.get(t.Context(), "k"); v != "yes k" || !errors.Is(err, row.err) || s.asked != asked {
					t.Errorf("%q, %v, asked %d times, want %d", v, err, s.asked, asked)
				}
			}
			check(1)
			time.Sleep(row.ttl - 1)
			check(1)
			time.Sleep(time.Nanosecond)
			check(2)
		})
	}
}

// TestCacheSharesLookups: a hundred callers, one lookup; one that leaves early
// takes the answer from nobody.
func TestCacheSharesLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{delay: 2 * time.Second}
		c := newCache(s.ask)
		var wg sync.WaitGroup
		early, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wg.Go(func() {
			if _, err := c.get(early, "k"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the early one: %v", err)
			}
		})
		for range 100 {
			wg.Go(func() {
				if v, err := c.get(t.Context(), "k"); v != "yes k" || err != nil {
					t.Errorf("%q, %v", v, err)
				}
			})
		}
		wg.Wait()
		if s.asked != 1 {
			t.Errorf("asked %d times", s.asked)
		}
		if v, err := c.get(early, "k"); v != "yes k" || err != nil {
			t.Errorf("what is known takes no time: %q, %v", v, err)
		}
	})
}

func TestCacheLookupLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{delay: time.Hour}
		c := newCache(s.ask)
		start := time.Now()
		if _, err := c.get(t.Context(), "k"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != LookupLimit {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestCacheSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		c := newCache(s.ask)
		fill := func(round, n int) {
			for i := range n {
				c.get(t.Context(), fmt.Sprint(round, i))
				if len(c.entries) > CacheSize {
					t.Fatalf("%d entries", len(c.entries))
				}
			}
		}
		fill(0, CacheSize)
		if len(c.entries) != CacheSize {
			t.Errorf("%d entries of %d allowed", len(c.entries), CacheSize)
		}
		fill(1, CacheSize)
		// Stale entries go before fresh ones.
		time.Sleep(PositiveTTL)
		c.get(t.Context(), "fresh")
		asked := s.asked
		c.get(t.Context(), "fresh")
		fill(2, CacheSize/2)
		c.get(t.Context(), "fresh")
		if s.asked != asked+CacheSize/2 {
			t.Errorf("asked %d times more, want %d", s.asked-asked, CacheSize/2)
		}
		// The bound holds while nothing has been answered, too.
		s.delay = time.Second
		var wg sync.WaitGroup
		for i := range 2 * CacheSize {
			wg.Go(func() { c.get(t.Context(), fmt.Sprint("slow", i)) })
		}
		synctest.Wait()
		if len(c.entries) > CacheSize {
			t.Errorf("%d entries under way", len(c.entries))
		}
		wg.Wait()
	})
}
