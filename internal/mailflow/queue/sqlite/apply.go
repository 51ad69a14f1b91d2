package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// Apply implements queue.Store.
func (s *Store) Apply(ctx context.Context, c *queue.Change) error {
	for i := range c.Add {
		if err := s.check(&c.Add[i]); err != nil {
			return err
		}
	}
	r := newRequest()
	r.run, r.need, r.patient = func(w *writer) error { return w.apply(c) }, shrink, true
	if len(c.Add) > 0 {
		r.need, r.patient = grow, false
	}
	return s.hand(ctx, r)
}

// check refuses what would be a fault of the caller.
func (s *Store) check(n *queue.New) error {
	if n.Lines != nil && len(n.Lines) != len(n.Envelopes) {
		return fmt.Errorf("message %v has %d envelopes and %d lines", n.Message.ID, len(n.Envelopes), len(n.Lines))
	}
	if len(n.Envelopes) == 0 || len(n.Envelopes) > envelopeMask {
		return fmt.Errorf("message %v has %d envelopes", n.Message.ID, len(n.Envelopes))
	}
	if len(n.Inline) > queue.InlineBody {
		return fmt.Errorf("message %v has a body of %d bytes that is not in a file", n.Message.ID, len(n.Inline))
	}
	if n.Body == nil {
		return nil
	}
	b, ok := n.Body.(*body)
	if !ok || b.s != s || b.id != n.Message.ID || !b.sealed {
		return errors.New("the body was not made and sealed by this store for this message")
	}
	return nil
}

func (w *writer) apply(c *queue.Change) error {
	if err := w.checkClaims(c); err != nil {
		return err
	}
	if len(c.Add) > 0 && !w.reserve.ready() {
		return refusal{fmt.Errorf("%w: less than %d MB are free in %s", queue.ErrNoSpace, (reserveSize+reserveMargin)>>20, w.s.dir)}
	}
	for i := range c.Add {
		if err := w.add(&c.Add[i]); err != nil {
			return err
		}
	}
	for i := range c.Defer {
		if err := w.deferEnvelope(&c.Defer[i]); err != nil {
			return err
		}
	}
	return w.drop(c.Done)
}

// checkClaims refuses a change if claims of it are lost.
func (w *writer) checkClaims(c *queue.Change) error {
	var lost []mail.EnvelopeID
	check := func(cl queue.Claim) {
		if have, ok := w.claims[cl.ID]; !ok || have.fence != cl.Fence {
			lost = append(lost, cl.ID)
		}
	}
	for _, cl := range c.Done {
		check(cl)
	}
	for i := range c.Defer {
		check(c.Defer[i].Claim)
	}
	if lost != nil {
		return refusal{&queue.LostError{IDs: lost}}
	}
	return nil
}

func (w *writer) add(n *queue.New) error {
	m := n.Message
	seq := w.s.seq(m.ID)
	var inline any
	if n.Body == nil {
		inline = n.Inline
		if n.Inline == nil {
			inline = []byte{}
		}
	} else {
		w.stored = append(w.stored, n.Body.(*body))
	}
	flags := int64(0)
	if m.EightBit {
		flags |= flagEightBit
	}
	if m.UTF8 {
		flags |= flagUTF8
	}
	if m.Junk {
		flags |= flagJunk
	}
	_, err := w.st.addMessage.exec(seq, int64(m.ID), m.Sender.Local, m.Sender.Domain, m.Size, micros(m.Received),
		int64(m.Session), m.Helo, m.Source, m.Rdns, m.AuthUser, m.Tag, flags, int64(m.Ret), m.EnvID, inline)
	if err != nil {
		return err
	}
	w.messages++
	w.envelopes += int64(len(n.Envelopes))
	alone := len(n.Envelopes) == 1
	for i := range n.Envelopes {
		var line queue.Line
		if n.Lines != nil {
			line = n.Lines[i]
		}
		cl := claim{seq: seq<<envelopeBits | int64(i), alone: alone, file: n.Body != nil}
		if n.Claimed {
			cl.fence = 1
		}
		if err := w.addEnvelope(cl, &n.Envelopes[i], line); err != nil {
			return err
		}
	}
	return nil
}

// addEnvelope inserts e, claimed if c has a fence.
func (w *writer) addEnvelope(c claim, e *mail.Envelope, in queue.Line) error {
	due, held := micros(e.Next), int64(0)
	var line any
	switch {
	case e.Held:
		due, held = dueHeld, 1
	case c.fence != 0:
		due = dueClaimed
		w.setClaim(e.ID, c)
	case in.Name != "":
		due, line = micros(in.Until), in.Name
	}
	_, err := w.st.addEnvelope.exec(c.seq, int64(e.ID), due, micros(e.Next), micros(e.Expires), int64(e.Attempts),
		int64(e.Warned), held, e.Rcpt.Local, e.Rcpt.Domain, e.Dest.Local, e.Dest.Domain, e.Action,
		e.Local.User, e.Local.File, e.Local.Command, int64(e.Notify), e.ORcpt, e.LastErr, line)
	return err
}

func (w *writer) deferEnvelope(d *queue.Deferral) error {
	c := w.claims[d.ID]
	w.endClaim(d.ID)
	due := d.Next
	var line any
	if d.Line.Name != "" {
		due, line = d.Line.Until, d.Line.Name
	}
	_, err := w.st.deferEnvelope.exec(c.seq, micros(due), micros(d.Next), int64(d.Attempts), int64(d.Warned), d.LastErr, line)
	return err
}

// drop deletes envelopes, and messages that have none left.
func (w *writer) drop(done []queue.Claim) error {
	last := int64(-1)
	for _, cl := range done {
		c := w.claims[cl.ID]
		w.endClaim(cl.ID)
		n, err := w.st.dropEnvelope.exec(c.seq)
		if err != nil {
			return err
		}
		w.envelopes -= n
		if c.alone {
			if err := w.dropAlone(cl.ID.Message(), c); err != nil {
				return err
			}
			continue
		}
		// Envelopes of one message come one after the other: it is looked at
		// once, and once more should it come again.
		if msg := c.seq >> envelopeBits; msg != last {
			if err := w.dropMessage(last); err != nil {
				return err
			}
			last = msg
		}
	}
	return w.dropMessage(last)
}

// dropAlone deletes the message of a single envelope. Most are such, and to
// look whether there are others costs more than the deletion.
func (w *writer) dropAlone(id mail.MessageID, c claim) error {
	n, err := w.st.dropAlone.exec(c.seq >> envelopeBits)
	w.messages -= n
	if c.file {
		w.files = append(w.files, id)
	}
	return err
}

func (w *writer) dropMessage(seq int64) error {
	if seq < 0 {
		return nil
	}
	return w.st.dropMessage.query(func(v []driver.Value) error {
		w.messages--
		if file, _ := v[0].(int64); file != 0 {
			id, _ := v[1].(int64)
			w.files = append(w.files, mail.MessageID(id))
		}
		return nil
	}, seq)
}

// micros gives a time as it is stored.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// timeOf undoes micros.
func timeOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n)
}
