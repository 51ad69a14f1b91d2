package queue

import (
	"strings"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
)

// The times of attempts. The n-th comes (2n-1) times the base after the one
// before, which is n*n bases after the first: soon at first, then rarer and
// rarer. RFC 5321 s4.5.4.1 asks for half an hour between attempts at a host
// and allows better strategies; a relay gets 5, 15, 25 minutes and so on.
// Local deliveries wait for something on this machine and come sooner.
const (
	retryBaseRelay = 5 * time.Minute
	retryBaseLocal = 10 * time.Second
	retryMax       = 4 * time.Hour
	retryJitter    = 0.1 // of the interval, to both sides
)

// retryAfter gives the wait after the n-th attempt, n counting from 1. r is
// random in [0, 1).
func retryAfter(e *mail.Envelope, n int, r float64) time.Duration {
	base := retryBaseRelay
	if e.Local != (mail.Local{}) {
		base = retryBaseLocal
	}
	d := retryMax
	if n = max(n, 1); n < int(retryMax/base) {
		d = min(base*time.Duration(2*n-1), retryMax)
	}
	return d + time.Duration(float64(d)*retryJitter*(2*r-1))
}

// The back-off from a destination that cannot be reached: one attempt, whose
// mail waits longest, until it succeeds; everything else for it waits.
const (
	backoffFirst = 5 * time.Second
	backoffMax   = 15 * time.Minute
)

// backoffAfter gives the wait after n rounds in a row that did not reach the
// destination.
func backoffAfter(n int, r float64) time.Duration {
	d := backoffMax
	if n = max(n, 1); n < 16 {
		d = min(backoffFirst<<(n-1), backoffMax)
	}
	return d + time.Duration(float64(d)*retryJitter*(2*r-1))
}

// unreachable reports whether the outcomes of an attempt say that its
// destination cannot be reached: all of them are about network and routing
// (RFC 3463 s3.5).
func unreachable(outcomes []delivery.Outcome) bool {
	for i := range outcomes {
		if outcomes[i].Status != delivery.Deferred || !strings.HasPrefix(outcomes[i].Enhanced, "4.4.") {
			return false
		}
	}
	return len(outcomes) > 0
}
