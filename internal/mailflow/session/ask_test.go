package session

import (
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/filter"
)

// TestRewriteKeepsParameters: a filter that gives a new address is not shown
// the parameters and does not mean to take them away; one that writes some of
// its own replaces them.
func TestRewriteKeepsParameters(t *testing.T) {
	in := hello + "MAIL FROM:<sender@example.net> SMTPUTF8 RET=HDRS ENVID=x\nRCPT TO:<alice@example.test> NOTIFY=NEVER\n" + body + "QUIT\n"
	for _, tt := range []struct {
		from, to string
		ret      mail.Ret
		notify   mail.Notify
	}{
		{"<née@example.net>", "<bob@example.test>", mail.RetHdrs, mail.NotifyNever},
		{"<new@example.net> RET=FULL", "<bob@example.test> NOTIFY=DELAY", mail.RetFull, mail.NotifyDelay},
	} {
		b := newBench()
		b.filters.answers[filterwire.MailFrom] = filter.Verdict{Decision: filterwire.Rewrite, Param: tt.from}
		b.filters.answers[filterwire.RcptTo] = filter.Verdict{Decision: filterwire.Rewrite, Param: tt.to}
		if got, want := codes(b.run(t, crlf(in))), "220 250 250 250 354 250 221"; got != want {
			t.Errorf("%s: got %s, want %s", tt.from, got, want)
			continue
		}
		m := b.queue.messages[0]
		if m.Ret != tt.ret || m.envelopes[0].Notify != tt.notify || !strings.Contains(tt.from, "<"+m.Sender.String()+">") {
			t.Errorf("%s: message %+v, envelopes %+v", tt.from, m.Message, m.envelopes)
		}
	}
}
