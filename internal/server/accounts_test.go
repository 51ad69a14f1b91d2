package server

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/routing"
)

func TestAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]int{}
		down := errors.New("down")
		c := &accounts{ask: func(name string) (delivery.Account, error) {
			asked[name]++
			switch name {
			case "alice":
				return delivery.Account{Name: name, UID: uint32(asked[name])}, nil
			case "fault":
				return delivery.Account{}, down
			}
			return delivery.Account{}, fmt.Errorf("%s: %w", name, delivery.ErrNoUser)
		}}
		check := func(name string, uid uint32, want error, times int) {
			t.Helper()
			if u, err := c.lookUp(name); u.UID != uid || !errors.Is(err, want) || asked[name] != times {
				t.Errorf("%.20s: %+v, %v, asked %d times; want %d, %v, %d", name, u, err, asked[name], uid, want, times)
			}
		}
		for range 2 {
			check("alice", 1, nil, 1)
			check("nobody-there", 0, delivery.ErrNoUser, 1)
		}
		check("fault", 0, down, 1)
		check("fault", 0, down, 2)
		check("", 0, delivery.ErrNoUser, 0)
		check("a:b", 0, delivery.ErrNoUser, 0)
		check(strings.Repeat("a", 1<<16), 0, delivery.ErrNoUser, 0)
		time.Sleep(routing.UsersTTL - time.Nanosecond)
		check("alice", 1, nil, 1)
		time.Sleep(time.Nanosecond)
		check("alice", 2, nil, 2)
		check("nobody-there", 0, delivery.ErrNoUser, 2)
	})
}

// TestAccountsBound has strangers name more users than are remembered.
func TestAccountsBound(t *testing.T) {
	c := &accounts{ask: func(string) (delivery.Account, error) { return delivery.Account{}, delivery.ErrNoUser }}
	var wg sync.WaitGroup
	for from := range 4 {
		wg.Go(func() {
			for n := range routing.UsersCache {
				c.lookUp(strconv.Itoa(from) + "-" + strconv.Itoa(n))
				c.mu.Lock()
				if len(c.known) > routing.UsersCache {
					t.Errorf("%d names are remembered", len(c.known))
				}
				c.mu.Unlock()
			}
		})
	}
	wg.Wait()
}
