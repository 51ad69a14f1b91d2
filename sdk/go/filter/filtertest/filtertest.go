// Package filtertest runs a filter.Filter without a server: a test plays the
// server, session by session, and sees what the filter answers.
//
// It speaks the real protocol to the filter over pipes, so what passes here
// has been registered, encoded and parsed as it will be.
package filtertest

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/weirmail/weir/sdk/go/filter"
)

// Server plays the server for one Filter. It is for one goroutine.
type Server struct {
	t          testing.TB
	to         *io.PipeWriter
	from       chan string
	registered []string
	sessions   int
	waiting    []string // answers for other sessions than the one that is asked
}

// Start serves f and shakes hands with it, offering features. The test's end
// stops it; a filter that ends with an error fails the test.
func Start(t testing.TB, f *filter.Filter, features ...filter.Feature) *Server {
	t.Helper()
	fromServer, to := io.Pipe()
	from, toServer := io.Pipe()
	s := &Server{t: t, to: to, from: make(chan string, 1<<12)}
	done := make(chan error, 1)
	go func() {
		err := f.Serve(fromServer, toServer)
		fromServer.CloseWithError(io.ErrClosedPipe) // fails the test's next line instead of hanging it
		toServer.Close()
		done <- err
	}()
	go func() {
		defer close(s.from)
		lines := bufio.NewScanner(from)
		lines.Buffer(nil, filter.MaxLine)
		for lines.Scan() {
			s.from <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		to.Close()
		if err := <-done; err != nil {
			t.Errorf("the filter ended: %v", err)
		}
	})
	hello := "config|smtpd-version|test\nconfig|protocol|0.7\nconfig|subsystem|smtp-in\n"
	for _, feature := range features {
		hello += "config|feature|" + string(feature) + "\n"
	}
	s.send(hello + "config|ready\n")
	for line := range s.from {
		if line == "register|ready" {
			return s
		}
		s.registered = append(s.registered, line)
	}
	t.Fatal("the filter ended before register|ready")
	return nil
}

// Registered gives the register lines of the filter, without register|ready.
func (s *Server) Registered() []string { return s.registered }

func (s *Server) send(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.to, text); err != nil {
		s.t.Fatalf("the filter no longer reads: %v", err)
	}
}

// Session is one session that the test plays.
type Session struct {
	server *Server
	id     string
}

// Session begins a session of a client at 192.0.2.1 called client.example.
func (s *Server) Session() *Session {
	s.sessions++
	c := &Session{s, fmt.Sprintf("%016x", s.sessions)}
	c.Report(filter.LinkConnect, "client.example|pass|192.0.2.1:4321|198.51.100.1:25")
	c.Report(filter.LinkGreeting, "mx.example")
	return c
}

// Report tells the filter of an event; rest is what follows the session on
// its line. An event that the filter did not register is not sent.
func (c *Session) Report(event filter.Event, rest string) {
	c.server.t.Helper()
	if !slices.Contains(c.server.registered, "register|report|smtp-in|"+string(event)) {
		return
	}
	if event != filter.LinkDisconnect && event != filter.Timeout {
		rest = "|" + rest
	} else {
		rest = ""
	}
	c.server.send("report|0.7|1700000000.000000|smtp-in|" + string(event) + "|" + c.id + rest + "\n")
}

// Ask asks the filter about a phase and gives its answer: "proceed",
// "reject|550 5.7.1 no". A phase that it did not register is "proceed".
func (c *Session) Ask(phase filter.Phase, arg string) string {
	c.server.t.Helper()
	if !slices.Contains(c.server.registered, "register|filter|smtp-in|"+string(phase)) {
		return "proceed"
	}
	token := "aaaaaaaaaaaaaaaa"
	c.server.send("filter|0.7|1700000000.000000|smtp-in|" + string(phase) + "|" + c.id + "|" + token + "|" + arg + "\n")
	return c.answer("filter-result|" + c.id + "|" + token + "|")
}

// answer gives the next line of the filter that begins with prefix.
func (c *Session) answer(prefix string) string {
	c.server.t.Helper()
	for i, line := range c.server.waiting {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			c.server.waiting = slices.Delete(c.server.waiting, i, i+1)
			return rest
		}
	}
	for line := range c.server.from {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return rest
		}
		c.server.waiting = append(c.server.waiting, line)
	}
	c.server.t.Fatalf("the filter ended without the answer %s...", prefix)
	return ""
}

// Mail plays a transaction from MAIL to the commit question, all accepted by
// the server, and gives the message that came out of the filter and its
// answer to the question. Lines of message end in LF.
func (c *Session) Mail(from, to, message string) (out, answer string) {
	c.server.t.Helper()
	const id = "0badcafe"
	c.Report(filter.TxBegin, id)
	c.Report(filter.TxMail, id+"|ok|"+from)
	c.Report(filter.TxRcpt, id+"|ok|"+to)
	c.Report(filter.TxData, id+"|ok")
	out = c.Message(message)
	answer = c.Ask(filter.Commit, fmt.Sprint(len(out)))
	if answer == "proceed" {
		c.Report(filter.TxCommit, id+"|"+fmt.Sprint(len(out)))
	} else {
		c.Report(filter.TxRollback, id)
	}
	c.Report(filter.TxReset, id)
	return out, answer
}

// Message sends a message, lines ended by LF, through the filter and gives
// what comes out.
func (c *Session) Message(message string) string {
	c.server.t.Helper()
	if !slices.Contains(c.server.registered, "register|filter|smtp-in|data-line") {
		return message
	}
	head := c.id + "|bbbbbbbbbbbbbbbb|"
	var lines strings.Builder
	for line := range strings.Lines(message) {
		if strings.HasPrefix(line, ".") {
			line = "." + line
		}
		lines.WriteString("filter|0.7|1700000000.000000|smtp-in|data-line|" + head + strings.TrimSuffix(line, "\n") + "\n")
	}
	c.server.send(lines.String() + "filter|0.7|1700000000.000000|smtp-in|data-line|" + head + ".\n")
	var out strings.Builder
	for {
		line := c.answer("filter-dataline|" + head)
		if line == "." {
			return out.String()
		}
		out.WriteString(strings.TrimPrefix(line, ".") + "\n")
	}
}

// End ends the session.
func (c *Session) End() { c.Report(filter.LinkDisconnect, "") }
