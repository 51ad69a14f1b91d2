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
	"sync"
	"testing"

	"github.com/weirmail/weir/sdk/go/filter"
)

// Server plays the server for one Filter. It is for one goroutine.
type Server struct {
	t          testing.TB
	to         *io.PipeWriter
	registered []string
	sessions   int

	mu    sync.Mutex
	cond  sync.Cond
	lines []string // what the filter wrote and nobody has asked for yet
	ended bool
}

// Start serves f and shakes hands with it, offering features. The test's end
// stops it; a filter that ends with an error fails the test.
func Start(t testing.TB, f *filter.Filter, features ...filter.Feature) *Server {
	t.Helper()
	fromServer, to := io.Pipe()
	from, toServer := io.Pipe()
	s := &Server{t: t, to: to}
	s.cond.L = &s.mu
	done := make(chan error, 1)
	go func() {
		err := f.Serve(fromServer, toServer)
		fromServer.CloseWithError(io.ErrClosedPipe) // fails the test's next line instead of hanging it
		toServer.Close()
		done <- err
	}()
	go s.read(from)
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
	for {
		line := s.next("register|")
		if line == "ready" {
			return s
		}
		s.registered = append(s.registered, "register|"+line)
	}
}

// read keeps all that the filter writes: it must never wait for the test,
// which may be writing to it.
func (s *Server) read(from io.Reader) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		s.mu.Lock()
		if err == nil {
			s.lines = append(s.lines, line[:len(line)-1])
		}
		s.ended = err != nil
		s.mu.Unlock()
		s.cond.Broadcast()
		if err != nil {
			return
		}
	}
}

// next waits for the filter's next line that begins with prefix, and gives
// the rest of it.
func (s *Server) next(prefix string) string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := 0; ; at++ {
		for at == len(s.lines) {
			if s.ended {
				s.t.Fatalf("the filter ended without a line %s...", prefix)
			}
			s.cond.Wait()
		}
		if rest, ok := strings.CutPrefix(s.lines[at], prefix); ok {
			if at == 0 {
				s.lines = s.lines[1:]
			} else {
				s.lines = slices.Delete(s.lines, at, at+1)
			}
			return rest
		}
	}
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
	return c.server.next("filter-result|" + c.id + "|" + token + "|")
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
		line := c.server.next("filter-dataline|" + head)
		if line == "." {
			return out.String()
		}
		out.WriteString(strings.TrimPrefix(line, ".") + "\n")
	}
}

// End ends the session.
func (c *Session) End() { c.Report(filter.LinkDisconnect, "") }
