package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/weirmail/weir/internal/admin"
)

// replyTimeout is how long the server may think about one command (RFC 5321
// s4.5.3.2.6: ten minutes for the one that ends the message).
const replyTimeout = 10 * time.Minute

// maxReply bounds one line of a reply, in bytes. RFC 5321 s4.5.3.1.5 allows
// 512; filters may say more.
const maxReply = 8 << 10

// dialSMTP connects to the server's SMTP socket.
func dialSMTP(ctx context.Context, p place) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", p.smtp())
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w (%s: no such file)", admin.ErrNoServer, p.smtp())
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w (%s: nothing answers)", admin.ErrNoServer, p.smtp())
	}
	return nil, exitWith(exitTempFail, fmt.Errorf("SMTP socket: %w", err))
}

// passThrough joins the SMTP socket with in and out until the server closes.
func passThrough(ctx context.Context, p place, in io.Reader, out io.Writer) error {
	conn, err := dialSMTP(ctx, p)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() {
		io.Copy(conn, in)
		if c, ok := conn.(*net.UnixConn); ok {
			c.CloseWrite() // no more commands; replies may still come
		}
	}()
	if _, err := io.Copy(out, conn); err != nil {
		return exitWith(exitTempFail, fmt.Errorf("SMTP dialog: %w", err))
	}
	return nil
}

// dialog is an SMTP conversation, one command and its reply at a time.
type dialog struct {
	conn    net.Conn
	in      *bufio.Reader
	out     *bufio.Writer
	verbose *os.File
	offered map[string]bool // keywords of EHLO
}

func newDialog(conn net.Conn, verbose *os.File) *dialog {
	return &dialog{
		conn: conn, verbose: verbose, offered: make(map[string]bool),
		in: bufio.NewReaderSize(conn, maxReply), out: bufio.NewWriterSize(conn, 32<<10),
	}
}

// refusal is a reply that says no.
type refusal struct {
	line    string // the last line of the reply
	command string // what it answers
}

func (r *refusal) Error() string   { return r.line }
func (r *refusal) temporary() bool { return r.line[0] == '4' }

// command sends a line, unless it is empty, and reads the reply. A reply that
// is not positive is a refusal with the exit code that fits.
func (d *dialog) command(line string) error {
	if line != "" {
		d.show(">>> ", line)
		d.out.WriteString(line + "\r\n")
	}
	d.conn.SetDeadline(time.Now().Add(replyTimeout))
	if err := d.out.Flush(); err != nil {
		return d.lost(line, err)
	}
	for {
		b, err := d.in.ReadSlice('\n')
		if err != nil {
			return d.lost(line, err)
		}
		text := strings.TrimRight(string(b), "\r\n")
		d.show("<<< ", text)
		if len(text) < 3 || text[0] < '2' || text[0] > '5' {
			return exitWith(exitSoftware, fmt.Errorf("the server's reply is not understood: %q", text))
		}
		if strings.HasPrefix(line, "EHLO ") && len(text) > 4 {
			keyword, _, _ := strings.Cut(text[4:], " ")
			d.offered[strings.ToUpper(keyword)] = true
		}
		if len(text) > 3 && text[3] == '-' {
			continue
		}
		return verdict(text, line)
	}
}

// verdict gives a refusal for a reply that is not positive.
func verdict(text, line string) error {
	r := &refusal{line: text, command: line}
	switch {
	case text[0] == '2' || text[0] == '3':
		return nil
	case text[0] == '4':
		return exitWith(exitTempFail, r)
	case strings.HasPrefix(line, "RCPT "):
		return exitWith(exitNoUser, r)
	}
	return exitWith(exitUnavailable, r)
}

func (d *dialog) show(mark, line string) {
	if d.verbose != nil {
		fmt.Fprintln(d.verbose, mark+printable(line))
	}
}

// lost says that the server went away; the message may come again.
func (d *dialog) lost(line string, err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("the server closed the connection")
	}
	verb, _, _ := strings.Cut(line, " ")
	if verb == "" {
		verb = "connecting"
	}
	return exitWith(exitTempFail, fmt.Errorf("after %s: %w", verb, err))
}

// transfer speaks the whole of SMTP for one message. A recipient that is
// refused ends it: it goes to all or to nobody.
func (s *submission) transfer(d *dialog, m *message) error {
	if err := d.command(""); err != nil { // the greeting
		return err
	}
	if err := d.command("EHLO localhost"); err != nil {
		return err
	}
	if err := d.command(s.mailCommand(d)); err != nil {
		return err
	}
	for _, r := range s.rcpts {
		// The blank before parameters stays without them, as OpenSMTPD's
		// sendmail has it: servers tolerate it (RFC 5321 s4.1.1), and filters
		// that look at commands were tested with it.
		line := "RCPT TO:<" + r + "> "
		if s.notify != "" {
			line += "NOTIFY=" + s.notify
		}
		if err := d.command(line); err != nil {
			return err
		}
	}
	if err := d.command("DATA"); err != nil {
		return err
	}
	// The deadline of a reply does for each write as well: a server that has
	// not read for that long is gone.
	w := progress{d}
	if _, err := w.Write(m.header.Bytes()); err != nil {
		return d.lost("DATA", err)
	}
	if _, err := m.body.WriteTo(w); err != nil {
		return d.lost("DATA", err)
	}
	if err := d.command("."); err != nil {
		return err
	}
	d.command("QUIT") // the message is the server's, whatever it says now
	return nil
}

// mailCommand gives the MAIL command with what parameters were asked for.
func (s *submission) mailCommand(d *dialog) string {
	line := "MAIL FROM:<" + s.from + "> " // for the blanks see transfer
	if s.ret != "" {
		line += "RET=" + s.ret
	}
	line += " "
	if s.envid != "" {
		line += "ENVID=" + s.envid
	}
	if d.offered["SMTPUTF8"] && s.needsUTF8() {
		line = strings.TrimRight(line, " ") + " BODY=8BITMIME SMTPUTF8"
	}
	return line
}

// needsUTF8 reports whether an address of the envelope is not ASCII (RFC 6531
// s3.4).
func (s *submission) needsUTF8() bool {
	for _, a := range append([]string{s.from}, s.rcpts...) {
		if strings.ContainsFunc(a, func(r rune) bool { return r >= 0x80 }) {
			return true
		}
	}
	return false
}

// progress writes to a dialog and moves its deadline with each write.
type progress struct{ d *dialog }

func (p progress) Write(b []byte) (int, error) {
	p.d.conn.SetDeadline(time.Now().Add(replyTimeout))
	return p.d.out.Write(b)
}
