package filter

import "sync"

// bufferMax is the most that a buffer may have grown to be kept, in bytes.
const bufferMax = spoolMemory + 64<<10

// buffers are shared by all who need one for a moment: an idle session has none.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// getBuffer gives an empty buffer.
func getBuffer() *[]byte {
	b := buffers.Get().(*[]byte)
	*b = (*b)[:0]
	return b
}

// putBuffer gives b back; nil is none.
func putBuffer(b *[]byte) {
	if b != nil && cap(*b) <= bufferMax {
		buffers.Put(b)
	}
}
