package queue

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/weirmail/weir/internal/mail"
)

// idBlock is how many ids are set aside at a time: a disk access for every so
// many messages. A restart wastes at most so many of the 2^32.
const idBlock = 1 << 14

// idTimeout bounds the wait for a new block when the store hangs.
const idTimeout = 30 * time.Second

// idSource makes message ids: a counter that the store reserves in blocks,
// spread by a keyed bijection so that ids neither show how much mail there
// was nor can be guessed from one another. A bijection never repeats itself,
// so ids are unique until the counter has gone through all 2^32.
type idSource struct {
	st   Store
	mu   sync.Mutex
	next uint64
	end  uint64
	keys [feistelRounds]uint32
}

// NewID gives an id that no other message of this queue has had, within 2^32
// messages. It does not touch the disk, except once in 16,384 calls.
func (q *Queue) NewID() (mail.MessageID, error) {
	return q.ids.id()
}

func (s *idSource) id() (mail.MessageID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.next == s.end {
			ctx, cancel := context.WithTimeout(context.Background(), idTimeout)
			err := s.refillLocked(ctx)
			cancel()
			if err != nil {
				return 0, err
			}
		}
		n := uint32(s.next)
		s.next++
		if id := spread(n, &s.keys); id != 0 { // zero is no message
			return mail.MessageID(id), nil
		}
	}
}

func (s *idSource) refill(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refillLocked(ctx)
}

func (s *idSource) refillLocked(ctx context.Context) error {
	b, err := s.st.Reserve(ctx, idBlock)
	if err != nil {
		return err
	}
	s.next, s.end = b.First, b.First+idBlock
	for i := range s.keys {
		s.keys[i] = binary.LittleEndian.Uint32(b.Key[i*4:])
	}
	return nil
}

const feistelRounds = 4

// spread is a bijection on 32 bits: a Feistel network, which is one whatever
// its round function is. It hides order; it is no secret that matters.
func spread(n uint32, keys *[feistelRounds]uint32) uint32 {
	l, r := uint16(n>>16), uint16(n)
	for _, k := range keys {
		x := (uint32(r) ^ k) * 0x9e3779b1
		x ^= x >> 15
		x = (x + k>>7) * 0x85ebca6b
		x ^= x >> 16
		l, r = r, l^uint16(x)
	}
	return uint32(l)<<16 | uint32(r)
}
