package peers

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/test/weirtest"
)

// ready fails the test unless all filters have registered, without having been
// started again.
func (h *house) ready(t *testing.T) {
	t.Helper()
	c, err := admin.Dial(filepath.Join(h.Spool, admin.Socket))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := 0
	err = admin.Each(t.Context(), c, admin.MethodFilterList, nil, func(f admin.Filter) error {
		n++
		if f.State != "ready" || f.Restarts != 0 {
			return fmt.Errorf("filter %s is %s, started again %d times: %s", f.Name, f.State, f.Restarts, f.LastErr)
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("%d filters, %v", n, err)
	}
}

const message = "From: Sender <sender@example.net>\nTo: <alice@example.test>\nSubject: through it\n" +
	"Date: Mon, 02 Jan 2006 15:04:05 +0000\nMessage-ID: <x@client.example.net>\n\n.one\ntwo | three\n"

// send hands the message in over the socket: what comes from there has no
// address, so no filter asks the network about it.
func (h *house) send(t *testing.T, more ...string) (string, error) {
	t.Helper()
	args := append([]string{"send", "-q", h.Spool, "-f", "sender@example.net"}, more...)
	return peer(t, message, weirtest.Binary(t), append(args, "alice@example.test")...)
}

// intact fails the test unless one message came out with its body as it went in.
func intact(t *testing.T, mails []string) string {
	t.Helper()
	_, body, _ := strings.Cut(message, "\n\n")
	if len(mails) != 1 || !strings.HasSuffix(mails[0], "\n\n"+body) {
		t.Fatalf("delivered: %q", mails)
	}
	return mails[0]
}

func TestFilterSenderscore(t *testing.T) {
	path := weirtest.Program(t, "filter-senderscore", "opensmtpd-filter-senderscore")
	h := newHouse(t, fmt.Sprintf("filter score proc-exec \"%s -blockBelow 50 -junkBelow 70 -scoreHeader\"\n", path), "", "filter score")
	for range 3 {
		if out, err := h.send(t); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if n := len(h.delivered(t)); n != 3 {
		t.Errorf("%d messages delivered of 3", n)
	}
	h.ready(t)
}

func TestFilterDKIMSign(t *testing.T) {
	path := weirtest.Program(t, "filter-dkimsign", "opensmtpd-filter-dkimsign")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dkim.pem")
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, fmt.Sprintf("filter dkim proc-exec \"%s -d example.net -s sel -k %s\"\n", path, file), "", "filter dkim")
	if out, err := h.send(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := intact(t, h.delivered(t))
	if !strings.Contains(m, "\nDKIM-Signature: ") || !strings.Contains(m, "d=example.net") {
		t.Errorf("it is not signed: %s", m)
	}
	h.ready(t)
}

// TestFilterRspamd has a rspamd of its own, which says what the case wants.
func TestFilterRspamd(t *testing.T) {
	path := weirtest.Program(t, "filter-rspamd", "opensmtpd-filter-rspamd")
	var verdict atomic.Value
	var seen atomic.Value
	rspamd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen.Store(string(b))
		io.WriteString(w, verdict.Load().(string))
	}))
	defer rspamd.Close()
	h := newHouse(t, fmt.Sprintf("filter rspamd proc-exec \"%s -url %s\"\n", path, rspamd.URL), "", "filter rspamd")

	verdict.Store(`{"score": 1, "required_score": 15, "action": "no action"}`)
	if out, err := h.send(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := intact(t, h.delivered(t))
	if got, _ := seen.Load().(string); !strings.Contains(got, "Subject: through it") {
		t.Errorf("rspamd was asked about %q", got)
	}
	if strings.Contains(m, "X-Spam: yes") {
		t.Errorf("it is marked: %s", m)
	}
	os.RemoveAll(h.mail)

	verdict.Store(`{"score": 9, "required_score": 15, "action": "add header"}`)
	if out, err := h.send(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if m := intact(t, h.delivered(t)); !strings.Contains(strings.ToLower(m), "\nx-spam: yes\n") {
		t.Errorf("it is not marked: %s", m)
	}
	os.RemoveAll(h.mail)

	verdict.Store(`{"score": 20, "required_score": 15, "action": "reject"}`)
	out, err := h.send(t)
	if err == nil || !strings.Contains(out, "550") {
		t.Errorf("a message that rspamd rejects: %v\n%s", err, out)
	}
	if got := h.delivered(t); len(got) != 0 {
		t.Errorf("delivered: %q", got)
	}
	h.ready(t)
}

// TestFilterRspamdAlone: no rspamd answers. The filter must register all the
// same, and what becomes of a message is told to the client in good time.
func TestFilterRspamdAlone(t *testing.T) {
	path := weirtest.Program(t, "filter-rspamd", "opensmtpd-filter-rspamd")
	h := newHouse(t, fmt.Sprintf("filter rspamd proc-exec \"%s -url http://127.0.0.1:%d\"\n", path, weirtest.FreePort(t)), "", "filter rspamd")
	began := time.Now()
	out, err := h.send(t)
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	if err == nil {
		intact(t, h.delivered(t))
	} else if !strings.Contains(out, "4") || len(h.delivered(t)) != 0 {
		t.Errorf("%v\n%s", err, out)
	}
	h.ready(t)
}
