package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
	"github.com/weirmail/weir/internal/smtp"
	"github.com/weirmail/weir/internal/trace"
)

// growth is by how much filters may lengthen a message beyond the size that
// clients are held to: room for signatures and verdicts, not for another message.
const growth = 1 << 20

// fault is what is wrong with a message; it is answered after the dot.
type fault uint8

const (
	faultNone fault = iota
	faultSize
	faultBare
)

// message is a body on its way from the client to the queue:
//
//	take -> [filters] -> sink: dots unescaped -> Fixer -> spool
//
// Lines come in by the session's goroutine. With filters the sink runs on a
// goroutine of theirs, and everything behind it belongs to that until finish
// or abort has returned.
type message struct {
	s      *Session
	spool  Spool
	fixer  *mail.Fixer
	filter MessageFilter // nil if no filter wants the lines
	chunks *smtp.ChunkReader

	read   int64 // bytes of the client's lines, dot-escaped, LF counted
	passed int64 // bytes that came out of the filters, unescaped
	fault  fault
	cause  error // why it was refused, for the log
	err    error // first failure of the sink
}

// beginMessage opens the spool and the filters for a body.
func (s *Session) beginMessage() smtp.Reply {
	spool, err := s.opt.Queue.Spool(s.tx.id)
	if err != nil {
		r := queueReply(err)
		s.refuse("data", "", r, err)
		return r
	}
	m := &message{s: s}
	m.into(spool)
	if s.filters != nil {
		m.filter = s.filters.Message(s.ctx, sink{m})
	}
	s.tx.message = m
	return smtp.Reply{}
}

// into has what comes out of the filters go into spool.
func (m *message) into(spool Spool) {
	m.spool = spool
	m.fixer = mail.NewFixer(spool, mail.Options{Domain: m.s.name, AddMissing: m.s.opt.AddMissing, Now: time.Now, NewID: rand.Uint64})
}

// restore takes the message again, as it was before filters that have failed
// since it passed them.
func (m *message) restore(before func(io.Writer) error) {
	m.spool.Discard()
	spool, err := m.s.opt.Queue.Spool(m.s.tx.id)
	if err == nil {
		m.into(spool)
		m.passed, m.err = 0, nil
		err = before(sink{m})
	}
	if err == nil {
		err = m.fixer.Close()
	}
	if err != nil && m.err == nil {
		m.err = err
	}
}

// begin sends the lines that we put on top through the filters.
func (m *message) begin() {
	s := m.s
	h := mail.Received{
		Helo: s.facts.Helo, Rdns: s.facts.Rdns, Source: s.source(), MaskSource: s.opt.MaskSource,
		Host: s.name, Extended: s.esmtp, Auth: s.facts.Auth, UTF8: s.tx.params.UTF8,
		ID: s.tx.id, Time: time.Now(),
	}
	if s.tls != nil {
		h.TLS = tlsText(s.tls.ConnectionState())
	}
	if len(s.tx.rcpts) == 1 {
		h.For = s.tx.rcpts[0]
	}
	var top []byte
	if s.junk || s.tx.junk {
		top = append(top, "X-Spam: Yes\n"...)
	}
	m.pass(h.Append(top))
}

// take takes lines of the client, dot-escaped and each ended by LF. Filters get
// those that are within the size limit and none after that, however the
// client's bytes were cut into reads.
func (m *message) take(lines []byte) {
	if m.fault != faultNone {
		return
	}
	if room := m.s.opt.Limits.MaxMessageSize - m.read; int64(len(lines)) > room {
		lines = lines[:bytes.LastIndexByte(lines[:room], '\n')+1]
		m.fail(faultSize, nil)
	}
	m.read += int64(len(lines))
	if len(lines) > 0 {
		m.pass(lines)
	}
}

// pass hands lines to the filters, or to the sink if there are none. A filter
// that fails is heard of at finish.
func (m *message) pass(lines []byte) {
	if m.filter != nil {
		m.s.asking.Store(time.Now().UnixNano())
		m.filter.Write(lines)
		m.s.asking.Store(0)
		return
	}
	sink{m}.Write(lines)
}

// fail notes the first thing that is wrong with the message.
func (m *message) fail(f fault, cause error) {
	if m.fault == faultNone {
		m.fault, m.cause = f, cause
	}
}

// sink is the end of the way for lines: everything behind the filters.
type sink struct{ m *message }

// Write takes dot-escaped lines. It never fails, so that filters and clients
// always get to the end of a message; the failure is answered there.
func (k sink) Write(lines []byte) (int, error) {
	m := k.m
	n := len(lines)
	body := smtp.Unescape(lines)
	m.passed += int64(len(body))
	if m.err == nil && m.passed > m.s.opt.Limits.MaxMessageSize+growth {
		m.err = errTooLong
	}
	if m.err == nil {
		_, m.err = m.fixer.Write(body)
	}
	return n, nil
}

// errTooLong: filters lengthened the message beyond reason.
var errTooLong = errors.New("message grew beyond the size limit in the filters")

// finish waits for the filters to return the rest of the message. The reply is
// that of a filter that failed.
func (m *message) finish() smtp.Reply {
	if m.filter != nil {
		f := m.filter
		m.s.asking.Store(time.Now().UnixNano())
		v := f.Finish(m.s.ctx)
		m.s.asking.Store(0)
		m.filter = nil
		if m.s.overdue() {
			return replyTimeout
		}
		if v.Err != nil {
			r, err := smtp.ParseReply(v.Param)
			if err != nil {
				r = replyFilterText
			}
			m.s.refuse("data-line", v.Filter, r, v.Err)
			return r
		}
	}
	if err := m.fixer.Close(); err != nil && m.err == nil {
		m.err = err
	}
	return smtp.Reply{}
}

// refusal gives the reply for what is wrong with the message, once all of it
// is there; the zero Reply if it is good.
func (m *message) refusal() smtp.Reply {
	switch {
	case m.fault == faultSize:
		return replyTooBig
	case m.fault == faultBare:
		return replyBareBody
	case m.fixer.Loop():
		return replyLoop
	case m.fixer.Malformed():
		return replyMalformed
	case errors.Is(m.err, errTooLong):
		return replyTooBig
	case m.err != nil:
		m.cause = m.err
		return queueReply(m.err)
	}
	return smtp.Reply{}
}

// abort gives the message up and leaves nothing behind.
func (m *message) abort() {
	defer m.spool.Discard()
	if m.filter != nil {
		m.filter.Abort()
		m.filter = nil
	}
}

// commit puts the message into the queue. It is not cut short by the client's
// departure: an outcome that nobody knows would be worse than a late one.
func (s *Session) commit() smtp.Reply {
	tx := s.tx
	for i := range tx.envelopes {
		tx.envelopes[i].Held, tx.envelopes[i].LastErr = tx.hold != "", tx.hold
	}
	msg := &mail.Message{
		ID: tx.id, Sender: tx.sender, Session: s.id, Helo: s.facts.Helo, Source: s.source(), Rdns: s.facts.Rdns,
		AuthUser: s.facts.AuthUser, Tag: s.opt.Tag, Junk: tx.junkLate,
		EightBit: tx.params.Body == smtp.Body8BitMIME, UTF8: tx.params.UTF8, Ret: tx.params.Ret, EnvID: tx.params.EnvID,
	}
	if err := tx.message.spool.Commit(context.WithoutCancel(s.ctx), msg, tx.envelopes); err != nil {
		r := queueReply(err)
		s.refuse("commit", "", r, err)
		return r
	}
	tx.end = committed
	s.tell(trace.Event{Kind: trace.Accepted, Message: tx.id, Size: tx.message.spool.Size(), Addr: tx.sender, Count: len(tx.rcpts)})
	if tx.hold != "" {
		s.opt.Log.Warn("held", "session", s.id.String(), "message", tx.id.String(), "cause", tx.hold)
	}
	return mustText(250, "2.0.0", fmt.Sprintf("%s Message accepted for delivery", tx.id))
}

// queueReply gives the reply for a failure of the queue.
func queueReply(err error) smtp.Reply {
	if errors.Is(err, queue.ErrNoSpace) {
		return replyNoSpace
	}
	return replyQueueFailed
}
