package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// client is one session. What it writes goes out at once; it reads with a
// small buffer, as there may be very many of them.
type client struct {
	net.Conn
	r       *bufio.Reader
	timeout time.Duration
}

const hello = "EHLO client.bench.example"

// open connects and says hello.
func (w *worker) open() (*client, error) {
	w.dialing <- struct{}{}
	c, err := w.dial()
	<-w.dialing
	if err != nil {
		return nil, err
	}
	if err := c.greet(w.TLS); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// portAtConnect has the kernel choose a socket's port when it connects. At bind
// one that an ended connection still has for a minute counts as taken.
func portAtConnect(_, _ string, c syscall.RawConn) (err error) {
	controlErr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(controlErr, err)
}

// dial connects and waits for the banner.
func (w *worker) dial() (*client, error) {
	d := net.Dialer{Timeout: w.Timeout, KeepAlive: -1}
	if w.Sources > 0 {
		w.mu.Lock()
		w.opened++
		n := w.opened % w.Sources
		w.mu.Unlock()
		// An address has some 28,000 ports to connect from; there are many
		// loopback addresses.
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+n>>8), byte(n))}
		d.Control = portAtConnect
	}
	conn, err := d.DialContext(context.WithoutCancel(w.ctx), "tcp", w.Addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn, bufio.NewReaderSize(conn, 512), w.Timeout}
	if err := c.expect('2'); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *client) greet(secure bool) error {
	if err := c.say(hello, '2'); err != nil || !secure {
		return err
	}
	if err := c.say("STARTTLS", '2'); err != nil {
		return err
	}
	// The certificate is one that the benchmark has just made.
	t := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := t.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	if err := t.Handshake(); err != nil {
		return err
	}
	c.Conn = t
	c.r.Reset(t)
	return c.say(hello, '2')
}

// say sends a line and reads the reply, which must begin with that digit.
func (c *client) say(line string, class byte) error {
	if err := c.send([]byte(line + "\r\n")); err != nil {
		return err
	}
	return c.expect(class)
}

func (c *client) send(b []byte) error {
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}

var errReply = errors.New("reply")

// expect reads one reply, which may have several lines.
func (c *client) expect(class byte) error {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	for {
		line, err := c.r.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case len(line) < 4:
			return fmt.Errorf("%w of %d octets", errReply, len(line))
		case line[3] == '-':
		case line[0] != class:
			return fmt.Errorf("%w %s", errReply, strings.TrimSpace(string(line)))
		default:
			return nil
		}
	}
}

func (c *client) quit() error {
	defer c.Close()
	return c.say("QUIT", '2')
}
