// Package peer starts and ends the mail servers that the benchmark compares:
// weir, and those of Debian that it is measured against.
//
// Each gets a configuration for the same task: take mail from this machine, ask
// filters, keep it safe, relay all of it to one sink. It listens on a free
// loopback port, keeps its state below one directory, and runs in a mount
// namespace in which the name server answers at once that there is no such
// name. Only what was started here is ended.
//
// To add a peer, write a type with the methods of Peer and put it into All.
package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/weirmail/weir/bench/filters"
)

// What the filters of a Setup do.
const (
	None = ""     // there are none
	Noop = "noop" // asked at every phase, let all proceed
	Data = "data" // get every line of a message, give all back
)

// Setup says how a server is to be set up.
type Setup struct {
	Filters  string
	Chain    int    // how many filters; 1 if zero
	TLS      bool   // offer STARTTLS
	Sessions int    // how many at once there will be; 100 if zero
	Queue    string // weir: the directory of a queue that exists
	Home     string // weir: the home of user rcpt, who gets the mail into a maildir; "": it is relayed
}

// House is where peers run and what they need.
type House struct {
	Dir     string // state; on the disk that is to be measured
	Self    string // this program, which is run again as Inside
	Weir    string // the weir to measure
	Sink    string // address of the sink
	Filters filters.Built
	Cert    Certificate
	Resolv  string // the resolv.conf that the servers see; "" without a mount namespace
}

// Peer is a server that can be measured.
type Peer interface {
	Name() string
	// Missing says why the server cannot run here, nil if it can.
	Missing(h *House) error
	Version(h *House) string
	// Most is how many sessions at once this kind of server is asked for.
	Most() int
	// prepare writes the configuration for a port into dir.
	prepare(h *House, s Setup, dir string, port int) (command, error)
}

// command is how a server is started in the foreground.
type command struct {
	argv   []string
	binds  []string // from:to, for the mount namespace
	queued []string // says what is in the queue, if there is such a command
	all    bool     // all of its processes are told to end, not the first alone
}

// All are the peers, weir first.
func All() []Peer { return []Peer{Weir{}, Postfix{}, OpenSMTPD{}} }

// startTimeout is how long a server may take until its banner; one with a very
// long queue may read much of it.
const startTimeout = 2 * time.Minute

// Start starts a server and waits for its banner.
func Start(ctx context.Context, h *House, p Peer, s Setup) (*Running, error) {
	if s.Sessions == 0 {
		s.Sessions = 100
	}
	if s.Chain == 0 && s.Filters != None {
		s.Chain = 1
	}
	dir, err := os.MkdirTemp(h.Dir, p.Name()+"-")
	if err != nil {
		return nil, err
	}
	// The users of servers, and their filters, look into it.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	r := &Running{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), dir: dir}
	if err := r.start(ctx, h, p, s, port); err != nil {
		r.Stop()
		return nil, fmt.Errorf("%s: %w", p.Name(), err)
	}
	return r, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// banner waits for a server's first reply.
func banner(ctx context.Context, addr string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = c.SetDeadline(time.Now().Add(startTimeout))
			line, err := bufio.NewReader(c).ReadString('\n')
			_, _ = c.Write([]byte("QUIT\r\n"))
			_ = c.Close()
			if err == nil && line[0] == '2' {
				return nil
			}
		}
		select {
		case <-ended:
			return errors.New("it ended before it listened")
		case <-ctx.Done():
			return fmt.Errorf("no banner: %w", ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// write puts a file into dir.
func write(dir, name, text string) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}
