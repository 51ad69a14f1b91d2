package delivery

import (
	"errors"
	"fmt"
)

// message sends the message and gives the recipients their outcomes.
func (x *transaction) message(c *Conn) error {
	x.step = "the message"
	if err := x.sendBody(c); err != nil {
		var p *problem
		switch {
		case errors.Is(err, errBareCR):
			x.settle(Outcome{Status: Failed, Enhanced: "5.6.0", Text: oneLine(err.Error())})
			return err
		case errors.As(err, &p): // cannot be read
			x.settle(outcomeOf(err))
			return err
		}
		// A server that has had enough often says why before it closes.
		if reply, rerr := c.Reply(c.times.quit); rerr == nil && !reply.IsPositive() {
			x.settle(x.outcome(reply))
		}
		return fmt.Errorf("sending the message: %w", err)
	}
	x.dotted = true
	replies := 1
	if x.lmtp {
		replies = len(x.rcpts) // RFC 2033 s4.2
	}
	for i := range replies {
		reply, err := c.Reply(c.times.end)
		if err != nil {
			x.prune()
			return fmt.Errorf("waiting for the reply to the message: %w", err)
		}
		if x.lmtp {
			x.decide(i, x.outcome(reply))
		} else {
			x.settle(x.outcome(reply))
		}
		if reply.Code() == 421 && i == replies-1 {
			return &refusal{"the message", reply}
		}
	}
	x.prune()
	c.sent++
	return nil
}

// sendBody sends the message and the final dot, each chunk with one write and
// the dot with the last.
func (x *transaction) sendBody(c *Conn) error {
	buf := wires.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxWire {
			wires.Put(buf)
		}
	}()
	var enc dotEncoder
	for {
		chunk, last, err := x.body.next()
		if err != nil {
			return err
		}
		if *buf, err = enc.append((*buf)[:0], chunk); err != nil {
			return err
		}
		if last {
			*buf = enc.end(*buf)
		}
		if err := c.Write(*buf); err != nil || last {
			return err
		}
	}
}
