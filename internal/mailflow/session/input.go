package session

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/weirmail/weir/internal/smtp"
)

// errIdle: the client said nothing for as long as it may be silent.
var errIdle = errors.New("client was silent for too long")

// input is the reading half of a connection. While it waits for a command it
// holds no buffer: most sessions of a busy server are waiting.
type input struct {
	conn    net.Conn        // as accepted, or its TLS
	raw     syscall.RawConn // of the accepted connection; nil under TLS
	secured bool            // conn is TLS
	reader  *smtp.Reader

	// A read ends at deadline, that of a command line as a whole
	// (RFC 5321 s4.5.3.2.7). Within a message each read has its own of
	// perRead (RFC 5321 s4.5.3.2.5). The connection was told armed.
	deadline, armed time.Time
	perRead         time.Duration
	// expired is asked when a deadline made a read return, which Interrupt
	// does too; nil goes on reading.
	expired func() error

	try func(fd uintptr) bool // tryRead, made once
	n   int                   // what it read
	err error
	one [1]byte
}

func newInput(conn net.Conn, expired func() error) *input {
	in := &input{conn: conn, expired: expired}
	in.try = in.tryRead
	if sc, ok := conn.(syscall.Conn); ok {
		in.raw, _ = sc.SyscallConn()
	}
	in.reader = smtp.NewReader(in)
	return in
}

// Read reads from the connection within the deadline.
func (in *input) Read(p []byte) (int, error) {
	if in.perRead != 0 {
		in.arm(time.Now().Add(in.perRead))
	}
	for {
		n, err := in.conn.Read(p)
		if err == nil || n > 0 {
			return n, err
		}
		if err = in.again(err); err != nil {
			return 0, err
		}
	}
}

// ReadTo is Read for a smtp.Reader, whose buffer it gives back while it waits.
func (in *input) ReadTo(r *smtp.Reader) (int, error) {
	switch {
	case in.raw != nil:
		return in.readRaw()
	case in.secured && in.perRead == 0 && r.Buffered() == 0:
		// TLS takes a buffer before it waits. One byte is buffer enough; the
		// rest of the record is there when the next read wants it.
		r.Park()
		n, err := in.Read(in.one[:])
		return copy(r.Room(), in.one[:n]), err
	}
	return in.Read(r.Room())
}

// readRaw reads from the socket itself.
//
// This is where sessions wait, so what stands on the stack here is memory of
// each of them: below 1,248 bytes in all the collector halves the 8 KB that a
// greeting needs (a quarter of them, less the runtime's own 800). It was 1,560
// with a call for each step. TestIdleStack keeps it so.
func (in *input) readRaw() (int, error) {
	if in.perRead != 0 {
		in.arm(time.Now().Add(in.perRead))
	}
	in.n, in.err = 0, nil
	for {
		err := in.raw.Read(in.try)
		if err == nil {
			return in.n, in.err
		}
		if err = in.again(err); err != nil {
			return 0, err
		}
	}
}

// tryRead reads what the socket has, if there is something.
func (in *input) tryRead(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), in.reader.Room())
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			in.reader.Park()
			return false
		case err != nil:
			in.err = os.NewSyscallError("read", err)
		case n == 0:
			in.err = io.EOF
		}
		in.n = max(n, 0)
		return true
	}
}

// again says whether a read that failed with err is to be tried again, because
// a deadline ended it and expired wants to go on: nil.
func (in *input) again(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if err := in.expired(); err != nil {
		return err
	}
	in.armed = in.deadline
	in.conn.SetReadDeadline(in.deadline)
	return nil
}

// armSlack is how much later a deadline may get before the connection is told:
// to tell it for each command would be felt. A read that ends before its
// deadline is tried again.
const armSlack = time.Second

// arm sets the deadline of the reads that follow.
func (in *input) arm(deadline time.Time) {
	in.deadline = deadline
	if d := deadline.Sub(in.armed); d < 0 || d > armSlack {
		in.armed = deadline
		in.conn.SetReadDeadline(deadline)
	}
}

// secure goes on with the connection's TLS. Nothing read in the clear is left
// by then; startTLS sees to it.
func (in *input) secure(conn *tls.Conn) {
	in.conn, in.raw, in.secured = conn, nil, true
	in.armed = time.Time{} // the handshake had a deadline of its own
	in.reader.Reset(in)
}

// close gives the buffers back.
func (in *input) close() { in.reader.Reset(nil) }

// expired is what input asks when a deadline ended a read.
func (s *Session) expired() error {
	switch {
	case s.stopping.Load() && s.tx == nil:
		return errStopped
	case !time.Now().Before(s.in.deadline):
		return errIdle
	}
	return nil
}

// readCommand flushes what is to be said, waits for a command and reads it.
func (s *Session) readCommand() ([]byte, error) { return s.readLine(smtp.MaxCommandLine) }

// readLine reads one line. The client has Limits.Timeout for all of it.
func (s *Session) readLine(max int) ([]byte, error) {
	if !s.in.reader.HasLine() {
		s.flush()
	}
	if s.out.err != nil {
		return nil, s.out.err
	}
	s.in.arm(time.Now().Add(s.opt.Limits.Timeout))
	if s.stopping.Load() && s.tx == nil {
		return nil, errStopped // Interrupt may have come before arm
	}
	return s.in.reader.ReadLine(max)
}

// flush lets go everything that is to be known while the session waits for its
// client: replies, and reports to filters.
func (s *Session) flush() {
	s.out.flush(s)
	if s.filters != nil {
		s.flushReports()
	}
}

// flushReports may wait, for a filter that does not read. It is not in flush,
// which is part of the frame of readLine: see readRaw.
//
//go:noinline
func (s *Session) flushReports() {
	s.asking.Store(time.Now().UnixNano())
	s.filters.Flush()
	s.asking.Store(0)
}

// dataTimeout bounds the silence of a client within a message
// (RFC 5321 s4.5.3.2.5: 3 minutes), or the session's if that is shorter.
const dataTimeout = 3 * time.Minute

// readingMessage changes over to a time limit for each read, and back.
func (s *Session) readingMessage(on bool) {
	s.in.perRead = 0
	if on {
		s.flush()
		s.in.perRead = min(dataTimeout, s.opt.Limits.Timeout)
		s.in.arm(time.Now().Add(s.in.perRead))
	}
}
