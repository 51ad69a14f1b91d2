package main

import (
	"testing"

	"github.com/weirmail/weir/sdk/go/filter"
)

func TestDecide(t *testing.T) {
	for _, c := range []struct{ from, message, want, after string }{
		{"x@SPAM.example", "Subject: hi\n\n", "reject|550 5.7.1 No mail from there, please", "Subject: hi\n\n"},
		{"x@example.org", "Subject: the Lottery\n\n", "reject|550 5.7.1 No lottery here, please", "Subject: the Lottery\n\n"},
		{"x@example.org", "Subject: hi\n\nlottery\n", "proceed", "X-Decide: seen\nSubject: hi\n\nlottery\n"},
	} {
		tx := filter.NewTransaction(c.from, nil, c.message)
		if got := decide(tx).String(); got != c.want || string(tx.Message) != c.after {
			t.Errorf("%+v: got %q, %q", c, got, tx.Message)
		}
	}
}
