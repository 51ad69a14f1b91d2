package session

import (
	"crypto/tls"
	"errors"
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
	conn   net.Conn        // as accepted, or its TLS
	raw    syscall.RawConn // of the accepted connection; nil under TLS
	reader *smtp.Reader

	// A read ends at deadline, that of a command line as a whole
	// (RFC 5321 s4.5.3.2.7). Within a message each read has its own of
	// perRead (RFC 5321 s4.5.3.2.5).
	deadline time.Time
	perRead  time.Duration
	// expired is asked when a deadline made a read return, which Interrupt
	// does too; nil goes on reading.
	expired func() error
	ready   func(fd uintptr) bool // readable, made once
}

func newInput(conn net.Conn, expired func() error) *input {
	in := &input{conn: conn, expired: expired, ready: readable}
	if sc, ok := conn.(syscall.Conn); ok {
		in.raw, _ = sc.SyscallConn()
	}
	in.reader = smtp.NewReader(in)
	if in.raw != nil {
		in.reader.WaitReadable = in.wait
	}
	return in
}

// Read reads from the connection within the deadline.
func (in *input) Read(p []byte) (n int, err error) {
	if in.perRead != 0 {
		in.arm(time.Now().Add(in.perRead))
	}
	err = in.retry(func() error {
		n, err = in.conn.Read(p)
		return err
	})
	return n, err
}

// wait returns when the connection has something to read, or has failed.
func (in *input) wait() error {
	if in.perRead != 0 {
		return nil
	}
	err := in.retry(func() error { return in.raw.Read(in.ready) })
	if errors.Is(err, errIdle) || errors.Is(err, errStopped) {
		return err
	}
	return nil // Read finds out what it is
}

// retry repeats an operation that a deadline ended for as long as expired
// wants it to go on.
func (in *input) retry(op func() error) error {
	for {
		err := op()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err := in.expired(); err != nil {
			return err
		}
		in.conn.SetReadDeadline(in.deadline)
	}
}

// arm sets the deadline of the reads that follow.
func (in *input) arm(deadline time.Time) {
	in.deadline = deadline
	in.conn.SetReadDeadline(deadline)
}

// readable reports whether a socket has something for us, without taking it.
func readable(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		return true
	}
}

// secure goes on with the connection's TLS. Nothing read in the clear is left
// by then; startTLS sees to it.
func (in *input) secure(conn *tls.Conn) {
	in.conn, in.raw = conn, nil
	in.reader.WaitReadable = nil
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
		s.out.flush(s)
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

// dataTimeout bounds the silence of a client within a message
// (RFC 5321 s4.5.3.2.5: 3 minutes), or the session's if that is shorter.
const dataTimeout = 3 * time.Minute

// readingMessage changes over to a time limit for each read, and back.
func (s *Session) readingMessage(on bool) {
	s.in.perRead = 0
	if on {
		s.in.perRead = min(dataTimeout, s.opt.Limits.Timeout)
		s.in.arm(time.Now().Add(s.in.perRead))
	}
}
