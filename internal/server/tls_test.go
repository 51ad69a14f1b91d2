package server

import (
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/test/weirtest"
)

// password is a word that occurs nowhere else.
const password = "Xyzzy-Plugh-42"

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// secrets is what no log may show.
var secrets = []string{password, b64(password), b64("\x00alice\x00" + password), b64("\x00alice\x00wrong-" + password), b64("wrong-" + password)}

// startTLS is a server with all kinds of listeners that have TLS.
func startTLS(t *testing.T) *running {
	t.Helper()
	dir := t.TempDir()
	weirtest.Certificate(t, dir, "mx.example.test")
	f := script(t, dir, "echo.sh", echo, "connect", "ehlo", "starttls", "auth", "mail-from", "commit")
	return start(t, dir, fmt.Sprintf(`
pki mx.example.test cert "@DIR@/cert.pem"
pki mx.example.test key "@DIR@/key.pem"
table creds { %s }
filter echo proc-exec %q
listen on 127.0.0.1 port 0 tag may tls pki mx.example.test auth-optional <creds> filter echo
listen on 127.0.0.1 port 0 tag must tls-require pki mx.example.test auth <creds> filter echo
listen on 127.0.0.1 port 0 tag wrapped smtps pki mx.example.test auth <creds> filter echo
`, weirtest.Credentials(t, password, "alice"), f)+boxes(dir), Options{})
}

func (s *running) noSecrets(t *testing.T) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// TestTLS: RFC 3207: what is offered when, and a message over each kind.
func TestTLS(t *testing.T) {
	s := startTLS(t)
	for _, tag := range []string{"may", "must", "wrapped"} {
		t.Run(tag, func(t *testing.T) {
			c := connect(t, s.addr(t, tag))
			if tag == "wrapped" {
				c.secure()
			}
			c.want("220")
			reply := c.do("EHLO client.example.net", "250")
			if tag != "wrapped" {
				if !strings.Contains(reply, "250-STARTTLS\r\n") || strings.Contains(reply, "AUTH") {
					t.Errorf("in the clear: %q", reply)
				}
				if tag == "must" {
					c.do("MAIL FROM:<s@example.net>", "530")
				}
				c.do("STARTTLS", "220")
				c.secure()
				c.do("MAIL FROM:<s@example.net>", "503") // RFC 3207 s4.2: EHLO again
				reply = c.do("EHLO client.example.net", "250")
			}
			if strings.Contains(reply, "STARTTLS") || !strings.Contains(reply, "250-AUTH PLAIN LOGIN\r\n") {
				t.Errorf("in TLS: %q", reply)
			}
			c.do("STARTTLS", "503")
			if tag != "may" {
				c.do("MAIL FROM:<s@example.net>", "530")
				c.do("AUTH PLAIN "+b64("\x00alice\x00"+password), "235")
			}
			c.mail("s@example.net", "alice@example.test", tag)
			c.do("QUIT", "221")
			c.over()
		})
	}
	for _, m := range mails(t, filepath.Join(filepath.Dir(s.config().Queue.Path), "mail", "alice"), 3) {
		if !strings.Contains(m, "TLSv1.3:TLS_") {
			t.Errorf("no trace of TLS in %q", m)
		}
	}
	s.noSecrets(t)
}

// TestStartTLSInjection: commands that arrive with STARTTLS in the clear count
// for nothing in TLS (RFC 3207 s4.2; CVE-2011-0411).
func TestStartTLSInjection(t *testing.T) {
	s := startTLS(t)
	c := dial(t, s.addr(t, "may"))
	c.do("EHLO client.example.net", "250")
	c.say("STARTTLS\nMAIL FROM:<evil@example.net>\n")
	c.want("220")
	c.over()
}

// TestTLSNoise: a handshake that is none ends the session, and no other.
func TestTLSNoise(t *testing.T) {
	s := startTLS(t)
	c := dial(t, s.addr(t, "may"))
	c.do("EHLO client.example.net", "250")
	c.do("STARTTLS", "220")
	c.say("MAIL FROM:<evil@example.net>\nRCPT TO:<alice@example.test>\n")
	c.SetReadDeadline(time.Now().Add(limit))
	for n, b := 0, make([]byte, 512); n >= 0; { // an alert perhaps, then the end
		if _, err := c.Read(b); err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Fatal("the session goes on")
			}
			break
		}
	}
	dial(t, s.addr(t, "may")).do("QUIT", "221")
}

// TestAuth: RFC 4954 with its two mechanisms. No log shows what a client said.
func TestAuth(t *testing.T) {
	s := startTLS(t)
	plain, wrong := b64("\x00alice\x00"+password), b64("\x00alice\x00wrong-"+password)
	long := strings.Repeat("A", 12000)
	for _, tt := range []struct {
		name, in string
		codes    []string
	}{
		{"plain", "AUTH PLAIN " + plain + "\n", []string{"235"}},
		{"plain in two steps", "AUTH PLAIN\n" + plain + "\n", []string{"334", "235"}},
		{"plain in small letters", "auth plain " + plain + "\n", []string{"235"}},
		{"login", "AUTH LOGIN\n" + b64("alice") + "\n" + b64(password) + "\n", []string{"334", "334", "235"}},
		{"login with name", "AUTH LOGIN " + b64("alice") + "\n" + b64(password) + "\n", []string{"334", "235"}},
		{"twice", "AUTH PLAIN " + plain + "\nAUTH PLAIN " + plain + "\n", []string{"235", "503"}},
		{"wrong, then right", "AUTH PLAIN " + wrong + "\nAUTH PLAIN " + plain + "\n", []string{"535", "235"}},
		{"wrong login", "AUTH LOGIN\n" + b64("alice") + "\n" + b64("wrong-"+password) + "\nNOOP\n", []string{"334", "334", "535", "250"}},
		{"nobody", "AUTH PLAIN " + b64("\x00nobody\x00"+password) + "\nNOOP\n", []string{"535", "250"}},
		{"cancelled", "AUTH PLAIN\n*\nNOOP\n", []string{"334", "501", "250"}},
		{"cancelled after the name", "AUTH LOGIN\n" + b64("alice") + "\n*\nAUTH PLAIN " + plain + "\n", []string{"334", "334", "501", "235"}},
		{"no base64", "AUTH PLAIN " + password + "\nNOOP\n", []string{"501", "250"}},
		{"no base64 after the prompt", "AUTH LOGIN\n" + password + "!\nNOOP\n", []string{"334", "501", "250"}},
		{"empty", "AUTH PLAIN =\nNOOP\n", []string{"501", "250"}},
		{"long and wrong", "AUTH PLAIN\n" + long + "\nNOOP\n", []string{"334", "501", "250"}},
		{"too long", "AUTH PLAIN\n" + long + long + "\nNOOP\n", []string{"334", "500"}},
		{"unknown mechanism", "AUTH CRAM-MD5\nNOOP\n", []string{"504", "250"}},
		{"mechanism forgotten", "AUTH " + plain + "\nNOOP\n", []string{"504", "250"}},
		{"mechanism forgotten, and not even base64", "AUTH " + password + "\nNOOP\n", []string{"504", "250"}},
		{"within a transaction", "AUTH PLAIN " + plain + "\nMAIL FROM:<s@example.net>\nAUTH PLAIN " + plain + "\n", []string{"235", "250", "503"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connect(t, s.addr(t, "wrapped"))
			c.secure()
			c.want("220")
			c.do("EHLO client.example.net", "250")
			c.say(tt.in)
			c.want(tt.codes...)
		})
	}
	if !strings.Contains(s.log.String(), "user=alice result=pass") {
		t.Error("the log does not tell of who came in")
	}
	s.noSecrets(t)
}

// TestAuthRewrite: what a filter makes of credentials is as secret as they are.
func TestAuthRewrite(t *testing.T) {
	dir := t.TempDir()
	weirtest.Certificate(t, dir, "mx.example.test")
	f := script(t, dir, "rewrite.sh",
		`[ "$kind" = filter ] && echo "filter-result|$id|$tok|rewrite|PLAIN `+b64("\x00alice\x00"+password)+`"`, "auth")
	s := start(t, dir, fmt.Sprintf(`
pki mx.example.test cert "@DIR@/cert.pem"
pki mx.example.test key "@DIR@/key.pem"
table creds { %s }
filter other proc-exec %q
listen on 127.0.0.1 port 0 tag in smtps pki mx.example.test auth <creds> filter other
`, weirtest.Credentials(t, password, "alice"), f)+boxes(dir), Options{})
	c := connect(t, s.addr(t, "in"))
	c.secure()
	c.want("220")
	c.do("EHLO client.example.net", "250")
	c.do("AUTH PLAIN AAAA", "235")
	s.noSecrets(t)
}
