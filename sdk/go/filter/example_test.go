package filter_test

import (
	"fmt"
	"strings"

	"github.com/weirmail/weir/sdk/go/filter"
)

// The easy level: a function from transaction to decision, and how to try it.
func ExampleRun() {
	decide := func(tx *filter.Transaction) filter.Decision {
		if strings.HasSuffix(tx.From, "@spam.example") {
			return filter.Reject(550, "5.7.1 no mail from there")
		}
		return filter.Proceed
	}
	// In a filter's main: filter.Run(decide)

	fmt.Println(decide(filter.NewTransaction("me@spam.example", []string{"you@example.org"}, "Subject: hi\n\nhello\n")))
	fmt.Println(decide(filter.NewTransaction("me@example.org", []string{"you@example.org"}, "Subject: hi\n\nhello\n")))
	// Output:
	// reject|550 5.7.1 no mail from there
	// proceed
}

// The full level: a handler for each question; the answer may come from
// another goroutine.
func ExampleFilter_On() {
	f := filter.New()
	f.On(filter.RcptTo, func(q *filter.Question) {
		go func() { // the look-up may take its time
			if q.Arg == "nobody@example.org" {
				q.Answer(filter.Reject(550, "5.1.1 there is nobody of that name"))
				return
			}
			q.Answer(filter.Proceed)
		}()
	})
	// f.Run()
}

// A message is read and written as a stream: here a line is put on top.
func ExampleFilter_OnMessage() {
	f := filter.New()
	f.OnMessage(func(m *filter.Message) {
		m.WriteLine([]byte("X-Helo: " + m.Session.Helo))
		for line := range m.Lines() {
			if strings.HasPrefix(string(line), "X-Virus:") {
				m.Decide(filter.Reject(550, "5.7.1 it says itself that it is one"))
			}
			m.WriteLine(line)
		}
	})
	// f.Run()
}
