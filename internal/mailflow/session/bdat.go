package session

import (
	"errors"
	"fmt"
	"io"

	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/trace"
)

// maxSkip is how many bytes of a chunk that is refused are read and dropped to
// keep the session; a larger one ends it.
const maxSkip = 1 << 30

// proceedBdat takes one chunk (RFC 3030 s2). Its bytes follow the command and
// are read whatever the answer is, as the client has already sent them.
func (s *Session) proceedBdat(req *request) smtp.Reply {
	size, last, err := smtp.ParseBdatArgs([]byte(req.args))
	if err != nil {
		// How many bytes follow is unknown: no command could be told from them.
		return replyBdatSyntax.ThenClose()
	}
	if s.isTyped() {
		return replyBdatTyped // the octets that follow are not those that the client counted
	}
	if r := s.beginBdat(); r.Code() != 0 {
		if s.tx != nil {
			s.tx.spoiled = !last
		}
		return s.skip(size, r)
	}
	s.readingMessage(true)
	defer s.readingMessage(false)
	m := s.tx.message
	for m.chunks.Begin(size, last); ; {
		lines, err := m.chunks.Next()
		switch {
		case err == nil:
			m.take(lines)
			continue
		case errors.Is(err, io.EOF):
			return s.endChunk(size, last)
		case errors.Is(err, smtp.ErrLineTooLong):
			s.tx.end = failed
			return replyLineTooLong
		}
		if !s.dataFailed(err) {
			s.enter(stateQuit)
		}
		return smtp.Reply{}
	}
}

// beginBdat begins the message at its first chunk, as DATA would: with the
// same checks and the same question to the filters. After a refusal chunks that
// were under way are refused up to the last (RFC 3030 s2): were one of them
// taken for the first, the message would lack its beginning.
func (s *Session) beginBdat() smtp.Reply {
	if s.state != stateTx {
		return replyBdatNoTx
	}
	if s.tx.message != nil {
		return smtp.Reply{}
	}
	if s.tx.spoiled {
		return replyBdatSpoiled
	}
	c := &commands[smtp.Data]
	if r := c.check(s, &request{}); r.Code() != 0 {
		return r
	}
	if r := s.ask(c, &request{}); r.Code() != 0 {
		return r
	}
	if r := s.beginMessage(); r.Code() != 0 {
		return r
	}
	s.tx.message.chunks = smtp.NewChunkReader(s.in.reader)
	s.tell(trace.Event{Kind: trace.TxData, Message: s.tx.id, Result: "ok"})
	s.tx.message.begin()
	return smtp.Reply{}
}

// endChunk answers a chunk that was read whole.
func (s *Session) endChunk(size int64, last bool) smtp.Reply {
	m := s.tx.message
	if m.chunks.Bare() {
		m.fail(faultBare, nil)
	}
	if !last {
		return mustText(250, "2.0.0", fmt.Sprintf("%d octets received", size))
	}
	return s.endMessage(false)
}

// skip drops the bytes of a chunk that is refused with r.
func (s *Session) skip(size int64, r smtp.Reply) smtp.Reply {
	if size > maxSkip {
		return replyBdatTooBigToSkip
	}
	s.readingMessage(true)
	defer s.readingMessage(false)
	if err := s.in.reader.Discard(size); err != nil {
		if !s.dataFailed(err) {
			s.enter(stateQuit)
		}
		return smtp.Reply{}
	}
	return r
}
