package server

import (
	"errors"
	"sync"
	"time"

	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/routing"
)

// accounts remembers for routing.UsersTTL what ask says of a user, also that
// there is none: each local recipient of each message is asked for. It is safe
// for concurrent use.
type accounts struct {
	ask func(name string) (delivery.Account, error) // the error is delivery.ErrNoUser if there is none

	mu    sync.Mutex
	known map[string]knownAccount
}

type knownAccount struct {
	delivery.Account
	err     error // nil or delivery.ErrNoUser
	expires time.Time
}

// lookUp gives the user of that name. What cannot be the name of one is not
// asked for. A fault is not remembered.
func (c *accounts) lookUp(name string) (delivery.Account, error) {
	if !routing.PlausibleUser(name) {
		return delivery.Account{}, delivery.ErrNoUser
	}
	now := time.Now()
	c.mu.Lock()
	a, ok := c.known[name]
	c.mu.Unlock()
	if ok && now.Before(a.expires) {
		return a.Account, a.err
	}
	u, err := c.ask(name)
	if errors.Is(err, delivery.ErrNoUser) {
		err = delivery.ErrNoUser
	} else if err != nil {
		return delivery.Account{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Names come from strangers.
	if c.known == nil || len(c.known) >= routing.UsersCache {
		c.known = make(map[string]knownAccount)
	}
	c.known[name] = knownAccount{u, err, now.Add(routing.UsersTTL)}
	return u, err
}
