package filter

import (
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

// What waits in memory of messages that filters have written, for the next
// stage; what is beyond goes to a file. A filter writes in runs of more than one
// block, and through a file each byte would be copied twice more: a tenth of
// what a large message costs.
const (
	spoolMemory = 64 << 10 // bytes of a block
	spoolShelf  = 16       // whole blocks of one message, besides the last
	spoolShelfs = 512      // and of all messages of a Host
)

// budget is what is left of spoolShelfs.
type budget struct{ left atomic.Int32 }

// take takes one block of it; false if there is none.
func (b *budget) take() bool {
	if b.left.Add(-1) >= 0 {
		return true
	}
	b.give(1)
	return false
}

func (b *budget) give(n int) { b.left.Add(int32(n)) }

// spool holds what one filter has written of one message, or was sent, until
// it is moved on. One goroutine adds to it and never blocks on who takes; one takes. The
// order is: what taker holds, shelf, file, mem.
type spool struct {
	limit  int64         // most bytes of the message
	budget *budget       // that shelf is part of
	ready  chan struct{} // something is there to take

	mu     sync.Mutex
	mem    *[]byte // nil until the first line
	shelf  []*[]byte
	file   *os.File // unlinked
	rd     int64    // where the first of blocks begins in file
	blocks []int    // sizes of what was spilled and not taken; whole lines each
	wr     int64    // where the last ends
	total  int64    // bytes of the message so far
	shut   bool     // what is added is dropped: one of the following
	ended  bool     // all of the message is in
	closed bool     // nobody takes any more
	err    error    // why the rest is missing
}

func newSpool(limit int64, b *budget) *spool {
	return &spool{limit: limit, budget: b, ready: make(chan struct{}, 1)}
}

// add appends one line and its LF; mu is held. After end it does nothing.
func (s *spool) add(line []byte) {
	n := len(line) + 1
	if s.mem == nil || len(*s.mem)+n > min(spoolMemory, cap(*s.mem)) || s.shut || s.total+int64(n) > s.limit {
		if !s.room(n) {
			return
		}
	} else {
		s.total += int64(n)
	}
	*s.mem = append(append(*s.mem, line...), '\n')
}

// addLines appends whole lines.
func (s *spool) addLines(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) > 0 && s.room(len(p)) {
		*s.mem = append(*s.mem, p...)
	}
	s.signal()
	return s.err
}

// end says that all of the message is in.
func (s *spool) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.shut = true, true
	s.signal()
}

// state reports whether all of the message is in, or why it never will be.
func (s *spool) state() (ended bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended, s.err
}

// room makes room for n bytes in mem; mu is held. It reports false if they are
// not to be added.
func (s *spool) room(n int) bool {
	if s.shut {
		return false
	}
	if s.total += int64(n); s.total > s.limit {
		s.err, s.shut = ErrTooLarge, true
		return false
	}
	if s.mem == nil {
		s.mem = getBlock(s.total)
	}
	if len(*s.mem)+n > spoolMemory && len(*s.mem) > 0 {
		if s.err = s.putBy(); s.err != nil {
			s.shut = true
			return false
		}
	}
	s.mem = widen(s.mem, n)
	return true
}

// putBy makes mem empty, without losing what is in it; mu is held.
func (s *spool) putBy() error {
	if len(s.blocks) > 0 || len(s.shelf) >= spoolShelf || !s.budget.take() {
		return s.spill()
	}
	s.shelf = append(s.shelf, s.mem)
	s.mem = getBlock(s.total)
	return nil
}

// spill moves mem behind what the file holds; mu is held.
func (s *spool) spill() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "weir-filter-")
		if err != nil {
			return err
		}
		os.Remove(f.Name()) // the open file lives until it is closed
		s.file = f
	}
	if err := roomFor(s.file); err != nil {
		return err
	}
	if _, err := s.file.WriteAt(*s.mem, s.wr); err != nil {
		return err
	}
	s.wr += int64(len(*s.mem))
	s.blocks = append(s.blocks, len(*s.mem))
	*s.mem = (*s.mem)[:0]
	return nil
}

// signal wakes who takes.
func (s *spool) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// take gives what comes next, in whole lines, and whether that is the end. It
// gives nothing if nothing is there. The buffer, nil if there is nothing, is the
// caller's, who brings it back with the next call (nil at first) or to
// putBuffer: nobody holds one while a message stands still.
func (s *spool) take(buf *[]byte) (data *[]byte, end bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || len(s.blocks) == 0 || len(s.shelf) > 0 {
		putBuffer(buf)
		buf = nil
	}
	switch {
	case s.err != nil:
		return nil, false, s.err
	case len(s.shelf) > 0:
		buf = s.shelf[0]
		s.shelf = slices.Delete(s.shelf, 0, 1)
		s.budget.give(1)
	case len(s.blocks) > 0:
		if buf == nil {
			buf = getBlock(s.total)
		}
		err = s.takeFile(buf)
	default:
		buf, s.mem = s.mem, nil
	}
	return buf, s.ended && len(s.shelf)+len(s.blocks) == 0 && s.mem == nil, err
}

// takeFile moves the next block of the file into buf; mu is held, but not
// while reading: only take moves rd, and spill writes at wr and behind.
func (s *spool) takeFile(buf *[]byte) error {
	n := s.blocks[0]
	*buf = slices.Grow(*buf, n)[:n]
	f, rd := s.file, s.rd
	s.mu.Unlock()
	_, err := f.ReadAt(*buf, rd)
	s.mu.Lock()
	s.blocks = s.blocks[1:]
	if s.rd += int64(n); len(s.blocks) == 0 {
		s.rd, s.wr, s.blocks = 0, 0, nil // all is taken: the file begins anew
	}
	return err
}

// close drops what is left. Nobody takes any more.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.shut = true, true
	putBuffer(s.mem)
	s.mem = nil
	for _, b := range s.shelf {
		putBuffer(b)
	}
	s.budget.give(len(s.shelf))
	s.shelf = nil
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}
