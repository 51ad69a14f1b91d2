package filter

import (
	"slices"
	"sync"
)

// Buffers that may have grown are kept in two sizes: lines of reports and
// questions, and blocks of messages. A few bytes do not hold a block.
const (
	lineMax  = 16 << 10             // the most that a buffer of lines may have grown, in bytes
	blockMax = spoolMemory + 64<<10 // and a block; more is not kept
)

// They are shared by all who need one for a moment: an idle session has none.
var (
	lineBuffers = sync.Pool{New: func() any { return new([]byte) }}
	blocks      = sync.Pool{New: func() any { b := make([]byte, 0, spoolMemory); return &b }}
)

// getBuffer gives an empty buffer for lines.
func getBuffer() *[]byte { return empty(&lineBuffers) }

// getBlock gives an empty buffer for so many bytes, a block if a buffer of lines
// does not hold them.
func getBlock(size int64) *[]byte {
	if size <= lineMax {
		return getBuffer()
	}
	return empty(&blocks)
}

// widen gives a buffer with what is in b and room for n bytes more. What is more
// than lines moves into a block: a buffer that grew step by step would be a new
// one for each message of a few pages.
func widen(b *[]byte, n int) *[]byte {
	need := len(*b) + n
	if need <= lineMax || cap(*b) > lineMax {
		*b = slices.Grow(*b, n)
		return b
	}
	wide := empty(&blocks)
	*wide = append(slices.Grow(*wide, need), *b...)
	putBuffer(b)
	return wide
}

func empty(pool *sync.Pool) *[]byte {
	b := pool.Get().(*[]byte)
	*b = (*b)[:0]
	return b
}

// putBuffer gives b back; nil is none.
func putBuffer(b *[]byte) {
	switch {
	case b == nil:
	case cap(*b) <= lineMax:
		lineBuffers.Put(b)
	case cap(*b) <= blockMax:
		blocks.Put(b)
	}
}
