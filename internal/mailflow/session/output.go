package session

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/weirmail/weir/internal/smtp"
)

// outputLimit is how much is kept before it is written even though the client
// has more commands waiting: it bounds memory, not the replies.
const outputLimit = 4 << 10

// writeTimeout is how long a client may leave a reply unread, or up to
// writeSlack longer: to set the deadline anew for each reply would be felt.
const (
	writeTimeout = 5 * time.Minute
	writeSlack   = 10 * time.Second
)

// replyWriter gathers replies so that those of pipelined commands leave in one
// write (RFC 2920 s3.2). It keeps the first error; nothing is written after it.
type replyWriter struct {
	w     io.Writer
	buf   *[]byte // borrowed, nil if there is nothing to write
	err   error
	armed time.Time // deadline of writes
}

// replyBuffers are shared by all sessions: one that waits has none.
var replyBuffers = sync.Pool{New: func() any { return new([]byte) }}

func (o *replyWriter) add(s *Session, r smtp.Reply) {
	if o.buf == nil {
		o.buf = replyBuffers.Get().(*[]byte)
	}
	*o.buf = r.AppendWire(*o.buf)
	if len(*o.buf) >= outputLimit {
		o.flush(s)
	}
}

// flush writes what was gathered and lets go of the memory.
func (o *replyWriter) flush(s *Session) {
	if o.buf == nil {
		return
	}
	if o.err == nil {
		o.arm(s)
		_, o.err = o.w.Write(*o.buf)
	}
	if cap(*o.buf) <= 2*outputLimit {
		*o.buf = (*o.buf)[:0]
		replyBuffers.Put(o.buf)
	}
	o.buf = nil
}

// arm gives the client at least writeTimeout for what is about to be written.
func (o *replyWriter) arm(s *Session) {
	if now := time.Now(); o.armed.Sub(now) < writeTimeout {
		o.armed = now.Add(writeTimeout + writeSlack)
		s.conn.SetWriteDeadline(o.armed)
	}
}

// mayGather reports whether the reply to verb may wait for those of the
// commands behind it: RFC 2920 s3.2 says which. That a message was accepted
// never waits: a client that does not hear of it sends it again.
func (s *Session) mayGather(verb smtp.Verb) bool {
	switch verb {
	case smtp.Mail, smtp.Rcpt, smtp.Rset:
		return true
	case smtp.Bdat:
		return s.tx != nil && s.tx.end != committed
	}
	return false
}

// lingerLimit is how long a connection that we close is read before, so that
// what the client has sent does not destroy our last reply on its way.
const lingerLimit = 200 * time.Millisecond

// closeConn ends the connection. A reset would drop replies that the client
// has not read yet, so its side is read for a moment after ours is shut.
func (s *Session) closeConn() {
	if s.tls != nil {
		s.conn.SetWriteDeadline(time.Now().Add(lingerLimit))
		s.tls.CloseWrite()
	}
	if c, ok := s.conn.(*net.TCPConn); ok && s.linger {
		c.CloseWrite()
		c.SetReadDeadline(time.Now().Add(lingerLimit))
		io.CopyN(io.Discard, c, lingerBytes)
	}
	s.conn.Close()
}

// lingerBytes bounds what is read of a client that goes on sending.
const lingerBytes = 1 << 20
