package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"time"
)

// maxHeader bounds the header section that is held in memory, in bytes.
const maxHeader = 1 << 20

// message is a message on its way from standard input to the server. Its
// header is in memory, its body in a spool, both as they go over the wire:
// lines end in CR LF and dots are stuffed.
type message struct {
	fields []field
	blank  bool         // a line ends the header section: there is a body
	header bytes.Buffer // what finish made of the fields
	body   spool
}

// field is one header field: its name as written and all of it, lines ended by LF.
type field struct {
	name string
	raw  []byte
}

func (f field) is(name string) bool { return strings.EqualFold(f.name, name) }

// value is what follows the name and colon, folds included.
func (f field) value() []byte {
	_, v, _ := bytes.Cut(f.raw, []byte(":"))
	return v
}

// Close frees what the body's spool holds.
func (m *message) Close() error { return m.body.Close() }

// readMessage reads all of r. Lines may end in LF or CR LF. With dotEnds a
// line with a single dot ends the message, as on a terminal.
func readMessage(r io.Reader, dotEnds bool) (*message, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	m := &message{}
	rest, ended, err := m.readHeader(in, dotEnds)
	if err == nil && !ended {
		err = m.readBody(in, rest, dotEnds)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// readHeader reads lines as long as they are header fields. The section ends
// with an empty line, or before the first line that is no field, which then is
// the first of the body and given back as rest; ended says that the message
// ends here.
func (m *message) readHeader(in *bufio.Reader, dotEnds bool) (rest []byte, ended bool, err error) {
	for size, first := 0, true; ; first = false {
		line, err := readLine(in, maxHeader-size)
		if errors.Is(err, io.EOF) {
			return nil, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		size += len(line)
		switch {
		case len(line) == 1:
			m.blank = true
			return nil, false, nil
		case dotEnds && string(line) == ".\n":
			return nil, true, nil
		case first && bytes.HasPrefix(line, []byte("From ")):
			continue // the separator line of a mailbox file
		case (line[0] == ' ' || line[0] == '\t') && len(m.fields) > 0:
			last := &m.fields[len(m.fields)-1]
			last.raw = append(last.raw, line...)
			continue
		}
		name, ok := fieldName(line)
		if !ok {
			m.blank = true
			return line, false, nil
		}
		m.fields = append(m.fields, field{name, line})
	}
}

// errLineTooLong is readLine's for a line beyond its limit.
var errLineTooLong = exitWith(exitDataErr, fmt.Errorf("the header is longer than %d bytes", maxHeader))

// readLine reads one line of at most limit bytes and ends it in LF, also where
// it ended in CR LF or with the input.
func readLine(in *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, errLineTooLong
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			return nil, err
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		return append(line, '\n'), nil
	}
}

// fieldName gives the name of a header field, false for a line that is none
// (RFC 5322 s2.2; blanks before the colon are of the obsolete syntax, s4.5).
func fieldName(line []byte) (string, bool) {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return "", false
	}
	name := bytes.TrimRight(line[:i], " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return "", false
		}
	}
	return string(name), len(name) > 0
}

// readBody spools the body: rest, a line already read, and then in.
func (m *message) readBody(in *bufio.Reader, rest []byte, dotEnds bool) error {
	w := bufio.NewWriter(&m.body)
	if rest != nil {
		in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(rest), in), 64<<10)
	}
	start, cr := true, false // at the start of a line; a CR is held back
	for {
		part, err := in.ReadSlice('\n')
		if start && len(part) > 0 && part[0] == '.' {
			if s := string(part); dotEnds && (s == ".\n" || s == ".\r\n" || s == ".") {
				break
			}
			w.WriteByte('.') // RFC 5321 s4.5.2
		}
		if cr && len(part) > 0 && string(part) != "\n" {
			w.WriteByte('\r') // it did not belong to the line's end
		}
		whole := len(part) > 0 && part[len(part)-1] == '\n'
		part = bytes.TrimSuffix(part, []byte("\n"))
		trimmed := bytes.TrimSuffix(part, []byte("\r"))
		cr = !whole && len(trimmed) < len(part)
		w.Write(trimmed)
		if len(part) > 0 || whole {
			start = whole
		}
		if whole {
			w.WriteString("\r\n")
		}
		if errors.Is(err, io.EOF) {
			if !start {
				w.WriteString("\r\n")
			}
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("reading the message: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return exitWith(exitTempFail, fmt.Errorf("keeping the message: %w", err))
	}
	return nil
}

// addresses gives the addresses in all fields of these names.
func (m *message) addresses(names ...string) ([]string, error) {
	var all []string
	for _, f := range m.fields {
		for _, name := range names {
			if !f.is(name) {
				continue
			}
			a, err := parseAddresses(f.value())
			if err != nil {
				return nil, exitWith(exitDataErr, fmt.Errorf("header field %s: %w", f.name, err))
			}
			all = append(all, a...)
		}
	}
	return all, nil
}

func (m *message) has(name string) bool {
	for _, f := range m.fields {
		if f.is(name) {
			return true
		}
	}
	return false
}

// finish makes the header section that is sent: From and Date are added where
// they are missing (RFC 6409 s8; a Message-ID is the server's to add), Bcc and
// Return-Path are left out.
func (m *message) finish(from, name string) {
	if !m.has("From") {
		if name = phrase(name); name != "" {
			name += " "
		}
		fmt.Fprintf(&m.header, "From: %s<%s>\r\n", name, from)
	}
	if !m.has("Date") {
		fmt.Fprintf(&m.header, "Date: %s\r\n", time.Now().Format("Mon, 2 Jan 2006 15:04:05 -0700 (MST)"))
	}
	for _, f := range m.fields {
		if f.is("Bcc") || f.is("Return-Path") {
			continue
		}
		for line := range bytes.Lines(f.raw) {
			if line[0] == '.' {
				m.header.WriteByte('.') // a name may begin with a dot
			}
			m.header.Write(bytes.TrimSuffix(line, []byte("\n")))
			m.header.WriteString("\r\n")
		}
	}
	if m.blank {
		m.header.WriteString("\r\n")
	}
}

// phrase writes a name so that it can stand before an address (RFC 5322
// s3.2.5; RFC 2047 where it is not ASCII).
func phrase(name string) string {
	name = strings.TrimSpace(name)
	plain, ascii := true, true
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 0x80, c < ' ', c == 0x7f:
			ascii = false
		case c == ' ' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z':
		case strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0:
		default:
			plain = false
		}
	}
	switch {
	case !ascii:
		return mime.QEncoding.Encode("utf-8", name)
	case plain:
		return name
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}
