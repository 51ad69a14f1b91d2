package filter

import (
	"io"
	"sync"
)

// maxPending is how many bytes of output may wait for the server before
// whoever has more to say waits too.
const maxPending = 1 << 20

// output combines what many goroutines say into few writes: one goroutine
// writes, the others append meanwhile.
type output struct {
	w    io.Writer
	mu   sync.Mutex
	cond sync.Cond // something changed: pending, err or closed
	buf  []byte
	free []byte // the buffer that is not being filled, kept for reuse

	closed bool
	err    error
	done   chan struct{}
}

func newOutput(w io.Writer) *output {
	o := &output{w: w, done: make(chan struct{})}
	o.cond.L = &o.mu
	go o.loop()
	return o
}

// begin gives the buffer to append to; end takes it back.
func (o *output) begin() []byte {
	o.mu.Lock()
	for len(o.buf) > maxPending && o.err == nil && !o.closed {
		o.cond.Wait()
	}
	return o.buf
}

func (o *output) end(buf []byte) {
	wake := len(o.buf) == 0
	o.buf = buf
	if o.err != nil || o.closed {
		o.buf = o.buf[:0] // nobody will read it
	}
	o.mu.Unlock()
	if wake {
		o.cond.Broadcast()
	}
}

// close writes what is left and gives the first error of all writes.
func (o *output) close() error {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.cond.Broadcast()
	<-o.done
	return o.err
}

func (o *output) loop() {
	defer close(o.done)
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		for len(o.buf) == 0 && !o.closed {
			o.cond.Wait()
		}
		if len(o.buf) == 0 || o.err != nil {
			return
		}
		buf := o.buf
		o.buf = o.free[:0]
		o.mu.Unlock()
		_, err := o.w.Write(buf)
		o.mu.Lock()
		o.free = buf
		if err != nil {
			o.err = err
			o.buf = o.buf[:0]
		}
		o.cond.Broadcast() // those who waited for room
	}
}
