package filter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// MaxTransaction is how many bytes of a message a transaction function is
// given. A longer message is refused with 552, for it could not be returned.
const MaxTransaction = 64 << 20

// Transaction is one whole mail transaction. Message may be changed, and what
// it holds when the function returns is what the server goes on with.
type Transaction struct {
	Session *Session // may be read until the function returns; nil in tests
	ID      string   // message id, 8 hex digits, as in the server's log
	From    string   // reverse-path without brackets, empty for <>
	To      []string // forward-paths that the server accepted
	Message []byte   // header, empty line, body; each line ends in LF
}

// NewTransaction gives a transaction for tests of a function that is meant
// for Run. Lines of message end in LF or CR LF.
func NewTransaction(from string, to []string, message string) *Transaction {
	message = strings.ReplaceAll(message, "\r\n", "\n")
	if message != "" && !strings.HasSuffix(message, "\n") {
		message += "\n"
	}
	return &Transaction{From: from, To: to, Message: []byte(message)}
}

// Run calls decide with each mail transaction, when its message is complete,
// each in a goroutine of its own, and answers with its decision. Like
// Filter.Run it ends the program with the server.
func Run(decide func(*Transaction) Decision) { Whole(decide).Run() }

// Whole gives the Filter that Run runs: for Serve, and for tests. Handlers
// may be added to it for what comes before a message.
func Whole(decide func(*Transaction) Decision) *Filter {
	f := New()
	tx := func(r *Report) *Transaction {
		if r.Session.tx == nil || r.Session.tx.ID != r.Message {
			r.Session.tx = &Transaction{ID: r.Message}
		}
		return r.Session.tx
	}
	f.OnReport(TxMail, func(r *Report) {
		if r.Result == "ok" {
			tx(r).From = r.Text
		}
	})
	f.OnReport(TxRcpt, func(r *Report) {
		if r.Result == "ok" {
			t := tx(r)
			t.To = append(t.To, r.Text)
		}
	})
	f.OnReport(TxReset, func(r *Report) { r.Session.tx = nil })
	f.wholeMessage(decide)
	return f
}

func (f *Filter) wholeMessage(decide func(*Transaction) Decision) {
	f.OnMessage(func(m *Message) {
		tx := m.tx
		if tx == nil { // a server that does not report transactions
			tx = &Transaction{}
		}
		tx.Session = m.Session
		for {
			line, err := m.ReadLine()
			if errors.Is(err, ErrGone) {
				return
			}
			if err != nil {
				break
			}
			if len(tx.Message)+len(line) >= MaxTransaction {
				m.Decide(Reject(552, "5.3.4 Message too big for a filter"))
				return
			}
			tx.Message = append(append(tx.Message, line...), '\n')
		}
		m.Decide(decide(tx))
		m.Write(tx.Message)
	})
}

// header gives the bytes of the header, without the empty line after it.
func (tx *Transaction) header() []byte {
	if bytes.HasPrefix(tx.Message, []byte("\n")) {
		return nil
	}
	if end := bytes.Index(tx.Message, []byte("\n\n")); end >= 0 {
		return tx.Message[:end+1]
	}
	return tx.Message
}

// Body gives what follows the header's empty line. It is a part of Message.
func (tx *Transaction) Body() []byte {
	header := len(tx.header())
	if header == len(tx.Message) {
		return nil
	}
	return tx.Message[header+1:]
}

// Header gives the value of the first header field of that name, unfolded
// and without surrounding space; "" if there is none. Case does not matter.
func (tx *Transaction) Header(name string) string {
	start, end := tx.field(name, 0)
	if start < 0 {
		return ""
	}
	value := string(tx.Message[start+len(name)+1 : end])
	// RFC 5322 s2.2.3: unfolding takes away the line ends alone.
	value = strings.ReplaceAll(value, "\r\n", "")
	return strings.TrimSpace(strings.ReplaceAll(value, "\n", ""))
}

// AddHeader puts a header field on top of the message. It panics if name is
// not a field name (RFC 5322 s2.2); control bytes in value, which may come
// from outside, become spaces.
func (tx *Transaction) AddHeader(name, value string) {
	checkName("AddHeader", name)
	tx.Message = append([]byte(name+": "+oneLine(value)+"\n"), tx.Message...)
}

// RemoveHeader takes all header fields of that name away and says how many
// there were.
func (tx *Transaction) RemoveHeader(name string) int {
	checkName("RemoveHeader", name)
	n := 0
	for at := 0; ; n++ {
		start, end := tx.field(name, at)
		if start < 0 {
			return n
		}
		tx.Message = append(tx.Message[:start], tx.Message[end:]...)
		at = start
	}
}

// field finds the first field of that name at or after byte at, which begins
// a line: from its first byte to the end of its last line.
func (tx *Transaction) field(name string, at int) (start, end int) {
	header := tx.header()
	for at < len(header) {
		next := at
		for { // a line that begins with white space belongs to the field
			eol := bytes.IndexByte(header[next:], '\n')
			if eol < 0 {
				next = len(header)
				break
			}
			next += eol + 1
			if next == len(header) || header[next] != ' ' && header[next] != '\t' {
				break
			}
		}
		if next-at > len(name) && header[at+len(name)] == ':' && strings.EqualFold(string(header[at:at+len(name)]), name) {
			return at, next
		}
		at = next
	}
	return -1, -1
}

func checkName(who, name string) {
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || c == ':' {
			panic(fmt.Sprintf("filter: %s: %q is not the name of a header field", who, name))
		}
	}
	if name == "" {
		panic("filter: " + who + ": empty name of a header field")
	}
}
