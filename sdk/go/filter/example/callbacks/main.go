// Callbacks prints what each handler is given, and lets all mail through.
package main

import (
	"fmt"

	"github.com/weirmail/weir/sdk/go/filter"
)

func main() { callbacks().Run() }

func callbacks() *filter.Filter {
	f := filter.New()
	f.On(filter.Connect, func(q *filter.Question) {
		fmt.Println("connect:", q.Session.ID, q.Session.Local, q.Session.Remote, q.Session.Hostname)
		q.Answer(filter.Proceed)
	})
	for _, phase := range []filter.Phase{filter.Helo, filter.Ehlo, filter.MailFrom, filter.RcptTo, filter.Data, filter.Commit} {
		f.On(phase, func(q *filter.Question) {
			fmt.Printf("%s: %s %s\n", q.Phase, q.Session.ID, q.Arg)
			q.Answer(filter.Proceed)
		})
	}
	f.OnMessage(func(m *filter.Message) {
		for line := range m.Lines() {
			fmt.Printf("line: %s %s\n", m.Session.ID, line)
			m.WriteLine(line)
		}
	})
	for _, event := range []filter.Event{filter.TxCommit, filter.TxRollback, filter.LinkDisconnect} {
		f.OnReport(event, func(r *filter.Report) {
			fmt.Printf("%s: %s %s\n", r.Event, r.Session.ID, r.Message)
		})
	}
	f.Want(filter.MessageSize)
	return f
}
