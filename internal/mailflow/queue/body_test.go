package queue_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

// TestJunk: a message that was marked after its header had been written is
// delivered with the mark on top, from memory at first and from the store later.
func TestJunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deliverer{answer: func(*mail.Envelope) delivery.Outcome { return softly }}
		b := newBed(t, d, func(o *queue.Options) { o.WarnIntervals = []time.Duration{} })
		b.run()
		b.sendMessage(&mail.Message{Sender: mail.Address{Local: "s", Domain: "from.example"}, Junk: true}, rcpt("a@one.example"))
		b.send(rcpt("b@two.example"))
		b.sleep(10 * time.Minute)
		b.stop()
		for to, marked := range map[string]bool{"a@one.example": true, "b@two.example": false} {
			jobs := d.attempts(to)
			if len(jobs) < 2 {
				t.Fatalf("%s: %d attempts, want a second one", to, len(jobs))
			}
			for i, j := range jobs {
				if strings.HasPrefix(j.body, "X-Spam: Yes\nSubject: ") != marked {
					t.Errorf("%s, attempt %d: %q", to, i+1, j.body)
				}
			}
		}
	})
}
