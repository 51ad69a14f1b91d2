package delivery

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/weirmail/weir/internal/config"
)

// What a step of a script may say instead of a reply.
const (
	doClose = "close" // closes the connection
	doStall = "stall" // says nothing more until the client leaves
)

// fake is a server that follows a script: for each step the reply, lines
// joined by "\r\n", or what to do. Steps are greet, ehlo, helo, lhlo, mail,
// rcpt, data, dot, starttls, quit; "rcpt2" is the second RCPT of a transaction
// (or the second reply after the dot: "dot2"), "mail@2" any MAIL on the second
// connection. Steps that are not in the script succeed.
type fake struct {
	t      testing.TB
	ln     net.Listener
	script map[string]string
	lmtp   bool
	tls    *tls.Config // for STARTTLS

	mu       sync.Mutex
	conns    int
	commands []string // of all connections
	messages []string // what came after DATA, as it came, without the final dot
	batches  []string // the verbs that came with one read
	wg       sync.WaitGroup
}

const offer = "250-fake.example\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES"

func newFake(t testing.TB, network string, script map[string]string) *fake {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = t.TempDir() + "/lmtp"
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, ln: ln, script: script}
	f.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns++
			n := f.conns
			f.mu.Unlock()
			f.wg.Go(func() { f.serve(nc, n) })
		}
	})
	t.Cleanup(func() { ln.Close(); f.wg.Wait() })
	return f
}

// action gives the relay action that leads to f.
func (f *fake) action(proto string) *config.Action {
	host, port, _ := net.SplitHostPort(f.ln.Addr().String())
	n, _ := strconv.Atoi(port)
	return &config.Action{Method: config.Relay, Host: &config.RelayHost{Proto: proto, Host: host, Port: n}}
}

// say performs step; false ends the connection.
func (f *fake) say(nc net.Conn, conn int, step string, n int, fallback string) bool {
	f.mu.Lock()
	reply := fallback
	for _, key := range []string{step, step + strconv.Itoa(n), step + "@" + strconv.Itoa(conn)} {
		if r, ok := f.script[key]; ok {
			reply = r
		}
	}
	f.mu.Unlock()
	switch reply {
	case doClose:
		return false
	case doStall:
		nc.Read(make([]byte, 1))
		return false
	}
	_, err := nc.Write([]byte(reply + "\r\n"))
	return err == nil && !strings.HasPrefix(reply, "421")
}

func (f *fake) serve(nc net.Conn, conn int) {
	defer nc.Close()
	r := bufio.NewReader(nc)
	if !f.say(nc, conn, "greet", conn, "220 fake.example ready") {
		return
	}
	rcpts, batch := 0, []string{}
	for {
		if r.Buffered() == 0 && len(batch) > 0 {
			f.mu.Lock()
			f.batches = append(f.batches, strings.Join(batch, " "))
			f.mu.Unlock()
			batch = nil
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		f.mu.Lock()
		f.commands = append(f.commands, line)
		f.mu.Unlock()
		verb, _, _ := strings.Cut(strings.ToLower(line), " ")
		batch = append(batch, verb)
		ok := true
		switch verb {
		case "ehlo", "lhlo":
			ok = f.say(nc, conn, verb, conn, offer)
		case "mail":
			rcpts = 0
			ok = f.say(nc, conn, verb, conn, "250 2.1.0 sender ok")
		case "rcpt":
			rcpts++
			ok = f.say(nc, conn, verb, rcpts, "250 2.1.5 rcpt ok")
		case "data":
			if ok = f.say(nc, conn, verb, conn, "354 go on"); ok && f.scripted("data", "") {
				ok = f.message(nc, r, conn, rcpts)
			}
		case "starttls":
			ok = f.say(nc, conn, verb, conn, "220 go on")
			f.mu.Lock()
			if ok && f.tls != nil {
				nc = tls.Server(nc, f.tls)
				r.Reset(nc)
			}
			f.mu.Unlock()
		case "quit":
			f.say(nc, conn, verb, conn, "221 bye")
			return
		default:
			ok = f.say(nc, conn, verb, conn, "250 ok")
		}
		if !ok {
			return
		}
	}
}

func (f *fake) message(nc net.Conn, r *bufio.Reader, conn, rcpts int) bool {
	var b strings.Builder
	if f.scripted("body", doClose) {
		r.ReadString('\n')
		return false
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		b.WriteString(line)
	}
	f.mu.Lock()
	f.messages = append(f.messages, b.String())
	f.mu.Unlock()
	if !f.lmtp {
		return f.say(nc, conn, "dot", conn, "250 2.0.0 queued as 42")
	}
	for i := range rcpts {
		if !f.say(nc, conn, "dot", i+1, fmt.Sprintf("250 2.0.0 stored %d", i+1)) {
			return false
		}
	}
	return true
}

// log gives the commands so far, joined by "|".
func (f *fake) log() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.commands, "|")
}

// scripted reports whether the script says want at step.
func (f *fake) scripted(step, want string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	got, ok := f.script[step]
	return ok == (want != "") && got == want
}

// follow changes the script.
func (f *fake) follow(script map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = script
}

// counts gives how many connections and messages there were.
func (f *fake) counts() (conns, messages int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns, len(f.messages)
}

// got gives message i.
func (f *fake) got(i int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.messages[i]
}
