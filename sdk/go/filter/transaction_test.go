package filter_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/weirmail/weir/sdk/go/filter"
	"github.com/weirmail/weir/sdk/go/filter/filtertest"
)

func TestHeader(t *testing.T) {
	tx := filter.NewTransaction("a@b", nil, "Received: x\r\n\tby y\r\nSubject: one\r\nsubject : no\r\nSUBJECT:two\r\nTo: \xe9\r\n\r\nSubject: body\r\n")
	for name, want := range map[string]string{
		"received": "x\tby y", "Subject": "one", "to": "\xe9", "Body": "", "Subjec": "",
	} {
		if got := tx.Header(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := string(tx.Body()); got != "Subject: body\n" {
		t.Errorf("body %q", got)
	}
	if n := tx.RemoveHeader("subject"); n != 2 {
		t.Errorf("removed %d", n)
	}
	tx.AddHeader("X-New", "a\nb")
	if got, want := string(tx.Message), "X-New: a b\nReceived: x\n\tby y\nsubject : no\nTo: \xe9\n\nSubject: body\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHeaderEdges(t *testing.T) {
	for _, c := range []struct{ message, header, body string }{
		{"", "", ""},
		{"\n", "", ""},
		{"\nbody\n", "", "body\n"},
		{"X: 1\n", "1", ""},
		{"X: 1\n\n", "1", ""},
		{"X:\n", "", ""},
		{"X: 1", "1", ""},
	} {
		tx := filter.NewTransaction("", nil, c.message)
		if got := tx.Header("X"); got != c.header {
			t.Errorf("%q: header %q", c.message, got)
		}
		if got := string(tx.Body()); got != c.body {
			t.Errorf("%q: body %q", c.message, got)
		}
		if had := strings.HasPrefix(c.message, "X"); (tx.RemoveHeader("x") == 1) != had {
			t.Errorf("%q: left %q", c.message, tx.Message)
		}
	}
}

func TestWhole(t *testing.T) {
	var got []string
	f := filter.Whole(func(tx *filter.Transaction) filter.Decision {
		got = append(got, tx.ID, tx.From, strings.Join(tx.To, " "), tx.Session.Remote, tx.Header("Subject"))
		if tx.From == "bad@example.net" {
			return filter.Reject(550, "5.7.1 no")
		}
		tx.AddHeader("X-Seen", "yes")
		return filter.Junk
	})
	c := filtertest.Start(t, f).Session()
	out, answer := c.Mail("good@example.net", "a|b@example.org", "Subject: hi\n\n.x\n")
	if out != "X-Seen: yes\nSubject: hi\n\n.x\n" || answer != "junk" {
		t.Errorf("got %q, %q", out, answer)
	}
	out, answer = c.Mail("bad@example.net", "a@example.org", "Subject: ho\n\n")
	if out != "Subject: ho\n\n" || answer != "reject|550 5.7.1 no" {
		t.Errorf("got %q, %q", out, answer)
	}
	c.End()
	want := []string{
		"0badcafe", "good@example.net", "a|b@example.org", "192.0.2.1", "hi",
		"0badcafe", "bad@example.net", "a@example.org", "192.0.2.1", "ho",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("Subject: x\n y\n\nbody", "subject")
	f.Add("\n", "a")
	f.Fuzz(func(t *testing.T, message, name string) {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
			return
		}
		if strings.HasPrefix(message, " ") || strings.HasPrefix(message, "\t") {
			return // a header that begins with a folded line belongs to what is put on top of it
		}
		tx := filter.NewTransaction("", nil, message)
		body := string(tx.Body())
		tx.Header(name)
		tx.AddHeader(name, "v")
		if tx.Header(name) != "v" {
			t.Fatalf("an added header reads %q", tx.Header(name))
		}
		if tx.RemoveHeader(name); tx.Header(name) != "" {
			t.Fatalf("left %q", tx.Message)
		}
		if !strings.HasSuffix(string(tx.Message), body) {
			t.Fatalf("the body %q became %q", body, tx.Message)
		}
	})
}
