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
	key  Key
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
		if id := s.key.ID(n); id != 0 { // zero is no message
			return id, nil
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
	s.key = b.Key
	return nil
}

// Key is the key of the bijection between numbers and message ids. A Store
// may use the number of a message, which follows the order in which ids were
// given out, where the id would scatter its rows.
type Key [16]byte

const keyRounds = 4

// ID gives the id with number n. It is zero, no id, for exactly one n.
func (k Key) ID(n uint32) mail.MessageID {
	l, r := uint16(n>>16), uint16(n)
	for i := range keyRounds {
		l, r = r, l^k.mix(i, r)
	}
	return mail.MessageID(uint32(l)<<16 | uint32(r))
}

// Number gives the number of an id.
func (k Key) Number(id mail.MessageID) uint32 {
	l, r := uint16(id>>16), uint16(id)
	for i := keyRounds - 1; i >= 0; i-- {
		l, r = r^k.mix(i, l), l
	}
	return uint32(l)<<16 | uint32(r)
}

// mix is the round function of the Feistel network that ID is: a bijection,
// whatever mix does. It hides order; it guards no secret.
func (k Key) mix(round int, n uint16) uint16 {
	c := binary.LittleEndian.Uint32(k[round*4:])
	x := (uint32(n) ^ c) * 0x9e3779b1
	x ^= x >> 15
	x = (x + c>>7) * 0x85ebca6b
	return uint16(x ^ x>>16)
}
