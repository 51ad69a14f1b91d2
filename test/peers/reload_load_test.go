package peers

import (
	"fmt"
	"net"
	"net/smtp"
	"time"
)

// session sends a few messages; that of every other client lasts for about as
// long as two reloads.
func (b *reloadBed) session(client int) error {
	b.mu.Lock()
	first := len(b.states) - 1
	b.mu.Unlock()
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", b.port), programLimit)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(programLimit))
	c, err := smtp.NewClient(conn, "mx.example.test")
	if err != nil {
		return err
	}
	if client > 1 {
		if err := b.users.startTLS(c); err != nil {
			return err
		}
	}
	b.mu.Lock()
	id := len(b.may)
	b.may = append(b.may, [2]int{first, len(b.states) - 1})
	b.mu.Unlock()
	for i := range 3 {
		if i > 0 && client%2 == 0 {
			b.wait()
		}
		msg := fmt.Sprintf("m%d-%d", id, i)
		if err := sendStamped(c, msg); err != nil {
			return fmt.Errorf("session %d: %w", id, err)
		}
		b.mu.Lock()
		b.want[msg] = id
		b.mu.Unlock()
	}
	return c.Quit()
}

// wait waits for one more change of state, or for a moment.
func (b *reloadBed) wait() {
	b.mu.Lock()
	seen := len(b.states)
	b.mu.Unlock()
	for range 40 {
		b.mu.Lock()
		now := len(b.states)
		b.mu.Unlock()
		if now > seen {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func sendStamped(c *smtp.Client, id string) error {
	if err := c.Mail("sender@example.net"); err != nil {
		return err
	}
	if err := c.Rcpt("alice@example.test"); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "From: <sender@example.net>\r\nSubject: %s\r\nX-Stamp-gen: none\r\nX-Stamp-steady: none\r\n\r\ntext\r\n", id)
	return w.Close()
}
