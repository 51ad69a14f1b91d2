package peers

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/weirmail/weir/test/weirtest"
)

// TestSwaks sends a message in each of the ways that swaks has.
func TestSwaks(t *testing.T) {
	swaks := weirtest.Program(t, "swaks", "swaks")
	h := newHouse(t, "", "tls pki mx.example.test auth-optional <creds>", "")
	want := 0
	for _, c := range []struct {
		name   string
		args   []string
		module string // of Perl, without which swaks cannot do it
		says   string
	}{
		{"plain", nil, "", "Message accepted for delivery"},
		{"helo", []string{"--protocol", "SMTP"}, "", "Message accepted for delivery"},
		{"pipelined", []string{"--pipeline"}, "", "Message accepted for delivery"},
		{"tls", []string{"--tls"}, "Net::SSLeay", "TLS started"},
		{"auth plain", []string{"--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "secret"}, "Net::SSLeay", "Authentication succeeded"},
		{"auth login", []string{"--tls", "--auth", "LOGIN", "--auth-user", "alice", "--auth-password", "secret"}, "Net::SSLeay", "Authentication succeeded"},
		{"dots", []string{"--body", ".\n..\n.x\n"}, "", "Message accepted for delivery"},
		{"many recipients", []string{"--to", strings.Repeat("alice@example.test,", 49) + "alice@example.test"}, "", "Message accepted for delivery"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.module != "" && exec.Command("perl", "-M"+c.module, "-e", "1").Run() != nil {
				t.Skipf("swaks needs Perl's %s for it", c.module)
			}
			args := append([]string{
				"--server", fmt.Sprintf("127.0.0.1:%d", h.port), "--helo", "client.example.net",
				"--from", "sender@example.net", "--to", "alice@example.test", "--header", "Subject: " + c.name,
			}, c.args...)
			out, err := peer(t, "", swaks, args...)
			if err != nil || !strings.Contains(out, c.says) {
				t.Fatalf("%v\n%s", err, out)
			}
			want++
		})
	}
	n := 0
	for _, m := range h.delivered(t) {
		if strings.Contains(m, "\nSubject: dots\n") && !strings.Contains(m, "\n\n.\n..\n.x\n") {
			t.Errorf("the dots came out wrong: %q", m)
		}
		n++
	}
	// One recipient named fifty times is one mailbox; what matters is that
	// nothing is missing.
	if n < want {
		t.Errorf("%d messages delivered, %d accepted", n, want)
	}
}

// TestSwaksRefused shows that swaks is told what the RFC says it is told.
func TestSwaksRefused(t *testing.T) {
	swaks := weirtest.Program(t, "swaks", "swaks")
	h := newHouse(t, "", "", "")
	out, err := peer(t, "", swaks, "--server", fmt.Sprintf("127.0.0.1:%d", h.port), "--helo", "client.example.net",
		"--from", "sender@example.net", "--to", "nosuch@example.test")
	if err == nil || !strings.Contains(out, "550 Invalid recipient: <nosuch@example.test>") {
		t.Errorf("%v\n%s", err, out)
	}
	if got := h.delivered(t); len(got) != 0 {
		t.Errorf("delivered: %q", got)
	}
}

// TestSMTPSource holds a hundred sessions at once.
func TestSMTPSource(t *testing.T) {
	source := weirtest.Program(t, "smtp-source", "postfix")
	const sessions, messages = 100, 1000
	for _, c := range []struct {
		name string
		args []string
	}{
		{"one session each", nil},
		{"sessions kept", []string{"-d"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, "", "", "")
			args := append(c.args, "-s", fmt.Sprint(sessions), "-m", fmt.Sprint(messages), "-l", "4096", "-M", "client.example.net",
				"-f", "sender@example.net", "-t", "alice@example.test", fmt.Sprintf("inet:127.0.0.1:%d", h.port))
			out, err := peer(t, "", source, args...)
			if err != nil || strings.TrimSpace(out) != "" {
				t.Fatalf("%v\n%s", err, out)
			}
			got := h.delivered(t)
			if len(got) != messages {
				t.Errorf("%d messages delivered of %d", len(got), messages)
			}
			ids := make(map[string]bool)
			for _, m := range got {
				_, rest, _ := strings.Cut(m, "SMTP id ")
				ids[rest[:min(8, len(rest))]] = true
			}
			if len(ids) != len(got) {
				t.Errorf("%d ids for %d messages", len(ids), len(got))
			}
		})
	}
}
