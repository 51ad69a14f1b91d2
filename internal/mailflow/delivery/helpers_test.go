package delivery

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/table"
)

const testMessage = "Subject: hello\n\n.dot\nbody\n"

// testAgent makes an agent with one action "a", and ends it with the test.
func testAgent(t testing.TB, act *config.Action) *Agent {
	t.Helper()
	act.Name = "a"
	cfg := &config.Config{
		Hostname: "mx.example.org",
		Actions:  map[string]*config.Action{"a": act},
		SMTP:     config.SMTP{SubAddrDelim: '+'},
	}
	a := New(cfg, Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Cleanup(a.Close)
	return a
}

// userbase is a table with one user who has the rights of the caller.
func userbase(name, home string) *table.Table {
	return table.NewMapping("users", []table.Pair{{Key: name,
		Value: itoa(os.Getuid()) + ":" + itoa(os.Getgid()) + ":" + home}})
}

func addr(s string) mail.Address {
	local, domain, _ := strings.Cut(s, "@")
	return mail.Address{Local: local, Domain: domain}
}

// job makes a job with one envelope for each recipient.
func job(body string, rcpts ...string) Job {
	j := Job{
		Message: &mail.Message{ID: 0x1234, Sender: addr("bob@example.net"), Size: int64(len(body))},
		Open:    func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
	}
	for i, r := range rcpts {
		e := &mail.Envelope{ID: mail.NewEnvelopeID(j.Message.ID, uint32(i+1)), Rcpt: addr(r), Dest: addr(r), Action: "a"}
		j.Envelopes = append(j.Envelopes, e)
	}
	return j
}

// localJob is a job for one local user.
func localJob(body, rcpt, user string) Job {
	j := job(body, rcpt)
	j.Envelopes[0].Local.User = user
	return j
}

func deliver(t testing.TB, a *Agent, j Job) []Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out := a.Deliver(ctx, j)
	if len(out) != len(j.Envelopes) {
		t.Fatalf("%d outcomes for %d envelopes", len(out), len(j.Envelopes))
	}
	return out
}

// want checks status, enhanced code ("" for any) and a part of the text.
func want(t testing.TB, got Outcome, status Status, enhanced, text string) {
	t.Helper()
	if got.Status != status || enhanced != "" && got.Enhanced != enhanced || !strings.Contains(got.Text, text) {
		t.Errorf("outcome %v %s %q, want %v %s with %q", got.Status, got.Enhanced, got.Text, status, enhanced, text)
	}
}

// files gives the contents of the files in dir.
func files(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(b))
	}
	return list
}
