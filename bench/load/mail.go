package load

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"
)

// idWidth is the room for what differs in a Message-ID.
const idWidth = 36

// message makes a message of about size bytes with its final dot, and says
// where in it its id is. All lines are as long as those of an encoded
// attachment.
func message(size int) (text []byte, id int) {
	var b bytes.Buffer
	b.WriteString("From: <sender@bench.example>\r\nTo: <rcpt@sink.example>\r\nSubject: bench\r\n" +
		"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <")
	id = b.Len()
	b.WriteString(strings.Repeat("0", idWidth) + "@bench.example>\r\nMIME-Version: 1.0\r\n\r\n")
	line := strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789+/", 2) + "\r\n"
	for b.Len()+len(line) <= size {
		b.WriteString(line)
	}
	b.WriteString(".\r\n")
	return b.Bytes(), id
}

// stamp writes an id, which is unique for a tag.
func stamp(at []byte, tag string, n int) {
	copy(at[:idWidth], fmt.Sprintf("%-24.24s%012d", tag+strings.Repeat("-", 24), n))
}

// chunk is how much of a message is written at once: a session that sends a
// large one takes turns with the others.
const chunk = 64 << 10

// mail has Sessions clients send messages.
func (w *worker) mail() {
	var wg, there sync.WaitGroup
	there.Add(w.Sessions)
	start := make(chan struct{})
	shared, at := message(w.Size)
	for range w.Sessions {
		wg.Go(func() {
			var c *client
			var err error
			if w.Gather {
				if c, err = w.open(); err != nil {
					w.failed(err)
				}
			}
			there.Done()
			<-start
			// Of a large message the sessions share all but the beginning.
			head := bytes.Clone(shared[:min(len(shared), 1<<10)])
			w.sender(c, &draft{head, shared[len(head):], at})
		})
	}
	there.Wait()
	w.mu.Lock()
	w.begin = time.Now()
	w.mu.Unlock()
	close(start)
	wg.Wait()
}

// draft is a message: its beginning, with the id, is a session's own.
type draft struct {
	head, rest []byte
	id         int
}

// sender is one client after the other until all is sent. The first may be
// there already.
func (w *worker) sender(c *client, d *draft) {
	for failures := 0; failures < maxFailures; {
		n := w.take()
		if n == 0 {
			break
		}
		var err error
		if c == nil {
			c, err = w.open()
		}
		if err == nil {
			err = w.session(c, n, d)
		}
		if err != nil {
			w.failed(err)
			failures++
			if c != nil {
				c.Close()
			}
		}
		c = nil
	}
	if c != nil {
		_ = c.quit()
	}
}

// session sends message n and those that follow it, until it has sent
// PerSession or there are no more.
func (w *worker) session(c *client, n int, d *draft) error {
	var all []time.Duration
	defer func() { w.done(all, len(all)*(len(d.head)+len(d.rest)-3)) }()
	for ; n != 0; n = w.take() {
		stamp(d.head[d.id:], w.Tag, n)
		begin := time.Now()
		if err := w.transaction(c, d); err != nil {
			return err
		}
		all = append(all, time.Since(begin))
		if len(all) == w.PerSession {
			break
		}
	}
	return c.quit()
}

func (w *worker) transaction(c *client, d *draft) error {
	if err := c.say("MAIL FROM:<sender@bench.example>", '2'); err != nil {
		return err
	}
	for i := range w.Recipients {
		rcpt := "RCPT TO:<rcpt@sink.example>"
		if i > 0 {
			rcpt = fmt.Sprintf("RCPT TO:<rcpt%d@sink.example>", i)
		}
		if err := c.say(rcpt, '2'); err != nil {
			return err
		}
	}
	if err := c.say("DATA", '3'); err != nil {
		return err
	}
	if len(d.rest) < chunk {
		// One write, so that a small message is one packet as with any client.
		if err := c.send(append(d.head[:len(d.head):len(d.head)], d.rest...)); err != nil {
			return err
		}
		return c.expect('2')
	}
	if err := c.send(d.head); err != nil {
		return err
	}
	for rest := d.rest; len(rest) > 0; {
		n := min(len(rest), chunk)
		if err := c.send(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return c.expect('2')
}
