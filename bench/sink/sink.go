// Package sink is an SMTP server that takes every message and forgets it. It
// counts the Message-IDs that it saw, so that a message that does not arrive,
// or arrives twice, is noticed.
//
// It keeps nothing, checks nothing and answers at once: it is where the servers
// under test deliver to, and must not be what holds them back.
package sink

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// idle is how long a client may be silent.
const idle = 10 * time.Minute

// Counts is what has arrived.
type Counts struct {
	Messages   int64   `json:"messages"`
	Unique     int64   `json:"unique"`     // different Message-IDs
	Recipients int64   `json:"recipients"` // of all messages
	Bytes      int64   `json:"bytes"`
	Last       float64 `json:"last"` // when the last one came, in seconds since 1970
}

// Sink counts the messages of any number of listeners.
type Sink struct {
	mu  sync.Mutex
	ids map[string]struct{}
	c   Counts
}

// New gives a Sink that has seen nothing.
func New() *Sink { return &Sink{ids: make(map[string]struct{})} }

// Counts gives what has arrived since the last Reset.
func (s *Sink) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.c.Unique = int64(len(s.ids))
	return s.c
}

// Reset forgets what has arrived.
func (s *Sink) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids, s.c = make(map[string]struct{}), Counts{}
}

func (s *Sink) add(id string, recipients int, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[id] = struct{}{}
	s.c.Messages++
	s.c.Recipients += int64(recipients)
	s.c.Bytes += size
	s.c.Last = float64(time.Now().UnixNano()) / 1e9
}

// Serve serves the connections of l until it is closed.
func (s *Sink) Serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, for one
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go func() {
			defer c.Close()
			_ = s.session(c)
		}()
	}
}

// session talks to one client until it leaves.
func (s *Sink) session(c net.Conn) error {
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriter(c)
	rcpts := 0
	reply := "220 sink.example ESMTP"
	for {
		if reply != "" {
			fmt.Fprintf(w, "%s\r\n", reply)
		}
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
			_ = c.SetDeadline(time.Now().Add(idle))
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch verb(line) {
		case "EHLO", "LHLO":
			reply = "250-sink.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-SMTPUTF8\r\n250 8BITMIME"
		case "MAIL":
			rcpts, reply = 0, "250 ok"
		case "RCPT":
			rcpts++
			reply = "250 ok"
		case "HELO", "RSET", "NOOP":
			reply = "250 ok"
		case "DATA":
			fmt.Fprint(w, "354 go on\r\n")
			if err := w.Flush(); err != nil {
				return err
			}
			id, size, err := message(r)
			if err != nil {
				return err
			}
			s.add(id, rcpts, size)
			reply = "250 ok"
		case "QUIT":
			fmt.Fprint(w, "221 bye\r\n")
			return w.Flush()
		default:
			reply = "502 no"
		}
	}
}

func verb(line []byte) string {
	if len(line) < 4 {
		return ""
	}
	return strings.ToUpper(string(line[:4]))
}

var endOfData = []byte("\r\n.\r\n")

// message reads a message and its final dot, and gives its Message-ID. Only
// the header is taken apart; the rest is searched for its end, a buffer at a
// time, as a look at each line would make the sink the slowest part.
func message(r *bufio.Reader) (id string, size int64, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return "", 0, err
		}
		size += int64(len(line))
		if string(line) == ".\r\n" {
			return id, size - 3, nil
		}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && id == "" && strings.EqualFold(string(name), "Message-ID") {
			id = string(bytes.TrimSpace(value))
		}
		if string(line) == "\r\n" {
			break
		}
	}
	// The end of the header may be the line end before the final dot.
	if next, err := r.Peek(3); err != nil {
		return "", 0, err
	} else if string(next) == ".\r\n" {
		_, err = r.Discard(3)
		return id, size, err
	}
	for {
		if _, err := r.Peek(len(endOfData)); err != nil {
			return "", 0, err
		}
		have, _ := r.Peek(r.Buffered())
		if i := bytes.Index(have, endOfData); i >= 0 {
			_, err = r.Discard(i + len(endOfData))
			return id, size + int64(i) + 2, err
		}
		// What could be the beginning of the end stays.
		n, _ := r.Discard(len(have) - len(endOfData) + 1)
		size += int64(n)
	}
}

// Control answers "counts" and "reset", a line each, with the Counts as a line
// of JSON, until in ends. It is how the sink is asked when it is a process of
// its own.
func (s *Sink) Control(in io.Reader, out io.Writer) error {
	enc := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if lines.Text() == "reset" {
			s.Reset()
		}
		if err := enc.Encode(s.Counts()); err != nil {
			return err
		}
	}
	return lines.Err()
}
