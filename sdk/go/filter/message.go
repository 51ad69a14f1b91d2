package filter

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"sync"
	"sync/atomic"
)

// maxUnread is how many bytes of one message may wait for its handler before
// the filter reads nothing more from the server, for any session.
const maxUnread = 1 << 20

// ErrGone is what reading a message gives when the transaction ended before
// the message did: the client left, or broke a limit.
var ErrGone = errors.New("filter: the transaction ended within the message")

// Message is one message on its way through the filter. Reading gives what
// the client sent, headers of the server on top, each line ended by LF;
// writing makes the message that the server goes on with, so a handler that
// writes nothing empties it and io.Copy(m, m) passes the rest of it through.
//
// Its methods are for one goroutine at a time. A handler may write before it
// has read all, and reads and writes 1 MiB behind or ahead at most: one that
// stops reading for long holds up the other sessions of the filter.
type Message struct {
	Session *Session

	mu     sync.Mutex
	cond   sync.Cond
	buf    []byte // lines that have come, each with LF
	ended  error  // io.EOF or ErrGone once nothing more comes
	handed []byte // what the handler holds, cut from kept
	kept   []byte // the other buffer

	out     *output
	head    []byte // "filter-dataline|SESSION|TOKEN|"
	partial []byte // written without a line end so far
	closed  bool
	tx      *Transaction // of the easy level
	gone    atomic.Bool  // ended with ErrGone
	verdict atomic.Pointer[Decision]
}

func newMessage(s *Session, token []byte, out *output) *Message {
	m := &Message{Session: s, out: out, tx: s.tx}
	m.cond.L = &m.mu
	m.head = append(m.head, "filter-dataline|"...)
	m.head = append(m.head, s.ID...)
	m.head = append(m.head, '|')
	m.head = append(m.head, token...)
	m.head = append(m.head, '|')
	return m
}

// put adds a line that came from the server, already unescaped.
func (m *Message) put(line []byte) {
	m.mu.Lock()
	for len(m.buf) > maxUnread && m.ended == nil {
		m.cond.Wait()
	}
	wake := len(m.buf) == 0
	if m.ended == nil {
		m.buf = append(m.buf, line...)
		m.buf = append(m.buf, '\n')
	}
	m.mu.Unlock()
	if wake {
		m.cond.Broadcast()
	}
}

// end says that no line will follow, because of why.
func (m *Message) end(why error) {
	if why != io.EOF {
		m.gone.Store(true)
	}
	m.mu.Lock()
	if m.ended == nil {
		m.ended = why
	}
	m.mu.Unlock()
	m.cond.Broadcast()
}

// fill waits until handed holds something.
func (m *Message) fill() error {
	if len(m.handed) > 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.buf) == 0 {
		if m.ended != nil {
			return m.ended
		}
		m.cond.Wait()
	}
	m.handed, m.kept, m.buf = m.buf, m.buf, m.kept[:0]
	m.cond.Broadcast() // the reader may wait for room
	return nil
}

// Read gives the next bytes of the message, io.EOF at its end.
func (m *Message) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := m.fill(); err != nil {
		return 0, err
	}
	n := copy(p, m.handed)
	m.handed = m.handed[n:]
	return n, nil
}

// ReadLine gives the next line without its end, io.EOF after the last. The
// line is valid until the next call.
func (m *Message) ReadLine() ([]byte, error) {
	if err := m.fill(); err != nil {
		return nil, err
	}
	// Lines are put whole, so there always is an LF.
	line, rest, _ := bytes.Cut(m.handed, []byte{'\n'})
	m.handed = rest
	return line, nil
}

// Lines gives the lines that are left, each valid until the next. It ends
// early if the transaction does; ReadLine tells the two apart.
func (m *Message) Lines() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			line, err := m.ReadLine()
			if err != nil || !yield(line) {
				return
			}
		}
	}
}

// WriteLine adds a line to the message. It panics if line holds an LF or the
// message was closed: those are mistakes in the program.
func (m *Message) WriteLine(line []byte) {
	if bytes.IndexByte(line, '\n') >= 0 {
		panic("filter: WriteLine: more than one line; use Write")
	}
	if m.closed {
		panic("filter: WriteLine on a closed message")
	}
	if m.gone.Load() {
		return // the server wants no more of it
	}
	m.out.end(appendDataLine(m.out.begin(), m.head, line))
}

// Write adds text to the message, cut into lines at LF or CR LF. A last line
// without an end is completed by the next Write or by Close.
func (m *Message) Write(p []byte) (int, error) {
	if m.closed {
		return 0, errors.New("filter: Write on a closed message")
	}
	n := len(p)
	for len(p) > 0 {
		line, rest, found := bytes.Cut(p, []byte{'\n'})
		if !found {
			m.partial = append(m.partial, line...)
			break
		}
		if len(m.partial) > 0 {
			m.partial = append(m.partial, line...)
			line = m.partial
			m.partial = m.partial[:0]
		}
		m.WriteLine(bytes.TrimSuffix(line, []byte{'\r'}))
		p = rest
	}
	return n, nil
}

// Decide says what to answer when the server asks whether to accept this
// message. Without it the answer is that of the Commit handler, Proceed if
// there is none. It is called before Close or the handler's return.
func (m *Message) Decide(d Decision) {
	if m.closed {
		panic("filter: Decide on a closed message")
	}
	m.verdict.Store(&d)
}

// Close completes the message; what has not been read of it is thrown away.
// The filter closes it when the handler returns.
func (m *Message) Close() error {
	if m.closed {
		return nil
	}
	for range m.Lines() {
	}
	if len(m.partial) > 0 {
		m.WriteLine(bytes.TrimSuffix(m.partial, []byte{'\r'}))
	}
	m.closed = true
	if m.gone.Load() {
		return ErrGone
	}
	buf := append(m.out.begin(), m.head...)
	m.out.end(append(buf, ".\n"...))
	return nil
}
