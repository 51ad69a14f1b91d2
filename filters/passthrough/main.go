// Passthrough is a filter that says proceed to every question and returns
// every line: what a filter costs when it does nothing, for tests and
// benchmarks. With -no-lines it leaves messages alone.
package main

import (
	"flag"
	"io"

	"github.com/weirmail/weir/sdk/go/filter"
)

func main() {
	noLines := flag.Bool("no-lines", false, "do not ask for the lines of messages")
	flag.Parse()
	passthrough(!*noLines).Run()
}

func passthrough(lines bool) *filter.Filter {
	f := filter.New()
	for _, phase := range []filter.Phase{
		filter.Connect, filter.Helo, filter.Ehlo, filter.StartTLS, filter.Auth, filter.MailFrom,
		filter.RcptTo, filter.Data, filter.Commit, filter.Rset, filter.Quit, filter.Noop,
	} {
		f.On(phase, func(q *filter.Question) { q.Answer(filter.Proceed) })
	}
	if lines {
		f.OnMessage(func(m *filter.Message) { io.Copy(m, m) })
	}
	return f
}
