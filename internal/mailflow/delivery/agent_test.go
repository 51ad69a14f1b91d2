package delivery

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
)

func TestDestination(t *testing.T) {
	cfg := &config.Config{Actions: map[string]*config.Action{
		"maildir": {Method: config.Maildir},
		"lmtp":    {Method: config.LMTP, LMTPDest: "localhost:24"},
		"socket":  {Method: config.LMTP, LMTPDest: "/run/lmtp"},
		"relay":   {Method: config.Relay, Host: &config.RelayHost{Host: "Mail.Example", Port: 25}},
		"relay6":  {Method: config.Relay, Host: &config.RelayHost{Host: "::1", Port: 2525}},
	}}
	a := New(cfg, Options{})
	tests := []struct {
		action string
		local  mail.Local
		want   string
	}{
		{"maildir", mail.Local{User: "alice"}, "local:alice"},
		{"lmtp", mail.Local{User: "alice"}, "lmtp:localhost:24"},
		{"socket", mail.Local{User: "alice"}, "lmtp:/run/lmtp"},
		{"lmtp", mail.Local{User: "alice", File: "/x"}, "local:alice"},
		{"relay", mail.Local{}, "relay:mail.example:25"},
		{"relay", mail.Local{User: "alice", Command: "x"}, "local:alice"},
		{"relay6", mail.Local{}, "relay:[::1]:2525"},
		{"gone", mail.Local{}, "unknown:gone"},
	}
	for _, tt := range tests {
		if got := a.Destination(&mail.Envelope{Action: tt.action, Local: tt.local}); got != tt.want {
			t.Errorf("%s %+v: %q, want %q", tt.action, tt.local, got, tt.want)
		}
	}
}

func TestDeliverOddJobs(t *testing.T) {
	home := t.TempDir()
	a := testAgent(t, &config.Action{Method: config.Maildir, Userbase: userbase("alice", home)})
	a.config().Actions["expand"] = &config.Action{Name: "expand", Method: config.ExpandOnly, Userbase: userbase("alice", home)}
	a.config().Actions["nouser"] = &config.Action{Name: "nouser", Method: config.Maildir, User: "no-such-user"}

	if out := deliver(t, a, job(testMessage)); len(out) != 0 {
		t.Errorf("no envelopes: %v", out)
	}
	j := job(testMessage, "alice@example.org", "b@example.org", "c@example.org", "d@example.org", "e@example.org")
	for i, c := range []struct{ action, user string }{{"a", "alice"}, {"gone", "alice"}, {"a", "carol"}, {"expand", "alice"}, {"nouser", "x"}} {
		j.Envelopes[i].Action, j.Envelopes[i].Local.User = c.action, c.user
	}
	out := deliver(t, a, j)
	want(t, out[0], Delivered, "2.0.0", "")
	want(t, out[1], Deferred, "4.3.5", `action "gone" is not in the configuration`)
	want(t, out[2], Failed, "5.1.1", `user "carol" does not exist`)
	want(t, out[3], Deferred, "4.3.5", "does not deliver to users")
	want(t, out[4], Deferred, "4.3.5", `user "no-such-user" does not exist`)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, a.Deliver(ctx, j)[0], Deferred, "4.4.7", "canceled")

	j.Open = func() (io.ReadCloser, error) { panic("boom") }
	out = a.Deliver(t.Context(), j)
	for i, o := range out {
		if o.Status == Delivered || o.Status == 0 || i == 0 && !strings.Contains(o.Text, "internal error") {
			t.Errorf("after a panic: %+v", o)
		}
	}
}

func TestLoop(t *testing.T) {
	a := testAgent(t, &config.Action{Method: config.Maildir, Userbase: userbase("alice", t.TempDir())})
	j := localJob("Delivered-To: ALICE@example.org\n\nx\n", "alice@example.org", "alice")
	want(t, deliver(t, a, j)[0], Failed, "5.4.6", "loop")
	j = localJob("Delivered-To: alice2@example.org\n\nDelivered-To: alice@example.org\n", "alice@example.org", "alice")
	want(t, deliver(t, a, j)[0], Delivered, "", "")
}
