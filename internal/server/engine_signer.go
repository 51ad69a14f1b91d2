package server

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/weirmail/weir/internal/privsep"
)

// signer is the process that has the keys of one configuration; another one
// takes its place when it has ended. It is safe for concurrent use.
type signer struct {
	e          *engine
	generation int

	mu     sync.Mutex
	ch     *privsep.Channel
	tried  time.Time // when another one was last asked for
	closed bool
}

// signerPause is the shortest time between two signers of a configuration: one
// that a client can end must not cost a process for each connection.
const signerPause = time.Second

// Call implements privsep.Caller.
func (s *signer) Call(ctx context.Context, name string, args, reply any, files ...*os.File) ([]*os.File, error) {
	s.mu.Lock()
	ch := s.ch
	s.mu.Unlock()
	got, err := ch.Call(ctx, name, args, reply, files...)
	if errors.Is(err, privsep.ErrClosed) {
		if ch = s.another(ch); ch != nil {
			return ch.Call(ctx, name, args, reply, files...)
		}
	}
	return got, err
}

// another gives the signer that follows the one of old; nil if there is none.
func (s *signer) another(old *privsep.Channel) *privsep.Channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.ch == old && time.Since(s.tried) < signerPause:
		return nil
	case s.ch != old: // somebody was faster
		return s.ch
	}
	s.tried = time.Now()
	f, err := s.e.callFile(callSigner, useArgs{s.generation}, nil)
	if err != nil {
		return nil
	}
	ch, err := privsep.NewChannel(f, nil)
	if err != nil {
		return nil
	}
	old.Close()
	s.ch = ch
	return ch
}

// close ends the process.
func (s *signer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.ch.Close()
}
