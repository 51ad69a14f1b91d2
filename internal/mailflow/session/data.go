package session

import (
	"errors"
	"io"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/trace"
)

func (s *Session) checkData(*request) smtp.Reply {
	switch {
	case s.tx.message != nil:
		return replyBdatNotData // RFC 3030 s2: DATA and BDAT do not mix
	case len(s.tx.rcpts) == 0:
		return replyNoRcpt
	}
	return smtp.Reply{}
}

func (s *Session) proceedData(*request) smtp.Reply {
	if r := s.beginMessage(); r.Code() != 0 {
		return r
	}
	s.enter(stateBody)
	return replyStartBody
}

// receive reads the lines of the message that 354 asked for and gives the
// reply to its final dot; the zero Reply if the client is gone.
//
// What is wrong with a message (size, bare line ends, headers) is answered
// after the dot. Until then its lines are read and dropped: to close instead
// would make the client send it all again (RFC 5321 s4.2.5).
func (s *Session) receive() smtp.Reply {
	m := s.tx.message
	m.begin()
	s.readingMessage(true)
	defer s.readingMessage(false)
	data := smtp.NewDataReader(s.in.reader)
	for {
		lines, err := data.Next()
		if err == nil {
			m.take(lines)
			continue
		}
		if data.Bare() {
			m.fail(faultBare, nil)
		}
		switch {
		case errors.Is(err, io.EOF):
			return s.endMessage(true)
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

// dataFailed deals with a connection that failed within a message.
func (s *Session) dataFailed(err error) bool {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return s.inputFailed(err)
}

// endMessage is the dot: the rest comes back from the filters, they are asked
// about the whole, and the queue takes it.
func (s *Session) endMessage(dot bool) smtp.Reply {
	tx, m := s.tx, s.tx.message
	tx.end = failed
	r := m.finish()
	if s.gone() {
		return smtp.Reply{}
	}
	if dot {
		s.tell(trace.Event{Kind: trace.ProtocolClient, Text: "."})
	}
	if r.Code() != 0 {
		return r
	}
	if s.filters != nil {
		s.filters.SetMessageSize(m.passed)
		v := s.question(filterwire.Commit, "")
		if s.gone() {
			return smtp.Reply{}
		}
		if v.Decision == filterwire.Rewrite {
			s.logEmptyRewrite(filterwire.Commit, v.Filter)
			v.Decision = filterwire.Proceed
		}
		if r := s.heed(filterwire.Commit, v); r.Code() != 0 {
			return r
		}
		tx.hold = v.Hold
		if v.Before != nil {
			m.restore(v.Before)
		}
	}
	if r := m.refusal(); r.Code() != 0 {
		s.refuse("data", "", r, m.cause)
		return r
	}
	return s.commit()
}

// gone reports whether the client left while a filter was asked; the session
// then ends without another word.
func (s *Session) gone() bool {
	if s.ctx.Err() == nil || s.overdue() {
		return false
	}
	s.enter(stateQuit)
	return true
}
