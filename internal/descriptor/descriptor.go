// Package descriptor waits for file descriptors when all are taken: thousands of
// clients that send at the same time take two each, and give them back as they
// are served. To fail instead would refuse mail, or put a delivery off, for want
// of a moment's patience.
package descriptor

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// How long Wait waits, and how often it looks.
const (
	Patience = 20 * time.Second
	pause    = 10 * time.Millisecond
)

// Wait calls open until it does not fail for want of a descriptor (EMFILE,
// ENFILE), ctx ends, or Patience is over, and gives what it gave last.
func Wait[T any](ctx context.Context, open func() (T, error)) (T, error) {
	for limit := time.Now().Add(Patience); ; {
		v, err := open()
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) || !time.Now().Before(limit) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, err
		case <-time.After(pause):
		}
	}
}
