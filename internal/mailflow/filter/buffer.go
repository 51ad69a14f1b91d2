package filter

import "sync"

// Buffers that may have grown are kept in two sizes: lines of reports and
// questions, and blocks of messages. A few bytes do not hold a block.
const (
	lineMax  = 16 << 10              // the most that a buffer of lines may have grown, in bytes
	blockMax = spoolMemory + 64<<10  // and a block; more is not kept
	blockFor = spoolMemory - lineMax // a message of so many bytes gets blocks
)

// They are shared by all who need one for a moment: an idle session has none.
var (
	lineBuffers = sync.Pool{New: func() any { return new([]byte) }}
	blocks      = sync.Pool{New: func() any { b := make([]byte, 0, spoolMemory); return &b }}
)

// getBuffer gives an empty buffer for lines.
func getBuffer() *[]byte { return empty(&lineBuffers) }

// getBlock gives an empty buffer for so many bytes of a message.
func getBlock(size int64) *[]byte {
	if size < blockFor {
		return getBuffer()
	}
	return empty(&blocks)
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
