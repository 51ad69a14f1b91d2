package filter

import (
	"path/filepath"
	"testing"

	"github.com/weirmail/weir/internal/filterwire"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/trace"
)

// With final-address tx-mail and tx-rcpt carry the address that counts, and the
// client's where there is none; a filter beside it that did not register the
// feature is told what the client wrote.
func TestFinalAddress(t *testing.T) {
	dir := t.TempDir()
	plain, final := filepath.Join(dir, "plain"), filepath.Join(dir, "final")
	h, _ := host(t, Options{}, command("record", plain), command("record-final", final))
	s := open(h)
	defer s.Close()
	addr := mail.Address{Local: "new", Domain: "example.org"}
	tell := func(k trace.Kind, result, text string, a mail.Address) {
		s.told(k, func(e *trace.Event) { e.Message, e.Result, e.Text, e.Addr = 1, result, text, a })
	}
	tell(trace.TxMail, "ok", "old@example.net", addr)
	tell(trace.TxRcpt, "ok", "old@example.net", addr)
	tell(trace.TxRcpt, "permfail", "bad address", mail.Address{})
	tell(trace.TxMail, "ok", "old@example.net", mail.Address{}) // rewritten to the null reverse-path
	wantProceed(t, ask(t, s, filterwire.Noop, ""))
	equal(t, "plain", heard(t, plain, s.id), []string{
		"report|tx-mail|00000001|ok|old@example.net", "report|tx-rcpt|00000001|ok|old@example.net",
		"report|tx-rcpt|00000001|permfail|bad address", "report|tx-mail|00000001|ok|old@example.net", "filter|noop|",
	})
	equal(t, "final", heard(t, final, s.id), []string{
		"report|tx-mail|00000001|ok|new@example.org", "report|tx-rcpt|00000001|ok|new@example.org",
		"report|tx-rcpt|00000001|permfail|bad address", "report|tx-mail|00000001|ok|", "filter|noop|",
	})
}
