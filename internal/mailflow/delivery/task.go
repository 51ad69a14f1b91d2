package delivery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
)

// task is an attempt of a local method as it is told to a worker. Texts are
// bytes as they came; the worker adds nothing and looks nothing up.
type task struct {
	method taskMethod
	junk   bool // goes to the folder of junk
	given  bool // of the account: see account
	delim  byte

	sender, rcpt, dest  mail.Address
	user, userHome      string // who receives
	run, runHome        string // with whose rights
	local               mail.Local
	action, path        string
	command, actionUser string
	host                string
}

type taskMethod uint8

const (
	taskMaildir taskMethod = iota + 1
	taskMbox               // the descriptor beside the task is the mailbox
	taskMDA
	taskFile    // of an alias or .forward
	taskCommand // of an alias or .forward
)

// taskOf tells t.
func (a *Agent) taskOf(t *attempt) *task {
	cfg := a.config()
	k := &task{
		junk: t.act.Junk && t.body.header.junk, given: t.run.given, delim: cfg.SMTP.SubAddrDelim,
		sender: t.job.Message.Sender, rcpt: t.env.Rcpt, dest: t.env.Dest,
		user: t.user.name, userHome: t.user.home, run: t.run.name, runHome: t.run.home, local: t.env.Local,
		action: t.act.Name, path: t.act.Path, command: t.act.Command, actionUser: t.act.User, host: a.conf.Load().host,
	}
	switch {
	case t.env.Local.File != "":
		k.method = taskFile
	case t.env.Local.Command != "":
		k.method = taskCommand
	case t.act.Method == config.Maildir:
		k.method = taskMaildir
	case t.act.Method == config.Mbox:
		k.method = taskMbox
	default:
		k.method = taskMDA
	}
	return k
}

// attempt gives what the worker has to do.
func (k *task) attempt(b *body) *attempt {
	act := &config.Action{Name: k.action, Path: k.path, Command: k.command, User: k.actionUser, Junk: true}
	b.header = headerScan{junk: k.junk, done: true}
	return &attempt{
		job:  &Job{Message: &mail.Message{Sender: k.sender}},
		env:  &mail.Envelope{Rcpt: k.rcpt, Dest: k.dest, Local: k.local},
		act:  act,
		user: account{name: k.user, home: k.userHome},
		run:  account{name: k.run, home: k.runHome, given: k.given},
		body: b,
	}
}

// The frames between an Agent and a worker: a byte for what it is, four for the
// length, and as many bytes. A task is followed by the message in chunks, and
// an end; then comes the outcome.
const (
	frameTask    = 't'
	frameChunk   = 'c'
	frameEnd     = 'e'
	frameAbort   = 'a' // the message cannot be read to its end
	frameOutcome = 'o'

	frameHead = 5
	maxFrame  = 1 << 20 // bytes
)

var errFrame = errors.New("a message between our own processes is not as it should be")

// appendHead appends the head of a frame.
func appendHead(b []byte, kind byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(b, kind), uint32(n))
}

// readHead reads the head of a frame.
func readHead(r io.Reader) (kind byte, n int, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, 0, fmt.Errorf("%w: a frame of %d bytes", errFrame, size)
	}
	return head[0], int(size), nil
}

// readFrame reads a frame that must be of a kind.
func readFrame(r io.Reader, want byte) ([]byte, error) {
	kind, n, err := readHead(r)
	if err != nil {
		return nil, err
	}
	if kind != want {
		return nil, fmt.Errorf("%w: a frame %q instead of %q", errFrame, kind, want)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}

// texts gives the fields of k that are texts, in their order on the wire.
func (k *task) texts() [18]*string {
	return [18]*string{
		&k.sender.Local, &k.sender.Domain, &k.rcpt.Local, &k.rcpt.Domain, &k.dest.Local, &k.dest.Domain,
		&k.user, &k.userHome, &k.run, &k.runHome, &k.local.User, &k.local.File, &k.local.Command,
		&k.action, &k.path, &k.command, &k.actionUser, &k.host,
	}
}

// append appends k: its method, flags and delimiter, then each text after its
// length.
func (k *task) append(b []byte) []byte {
	var flags byte
	if k.junk {
		flags |= 1
	}
	if k.given {
		flags |= 2
	}
	b = append(b, byte(k.method), flags, k.delim)
	for _, s := range k.texts() {
		b = binary.AppendUvarint(b, uint64(len(*s)))
		b = append(b, *s...)
	}
	return b
}

// decodeTask reads what append wrote.
func decodeTask(b []byte) (*task, error) {
	if len(b) < 3 {
		return nil, errFrame
	}
	k := &task{method: taskMethod(b[0]), junk: b[1]&1 != 0, given: b[1]&2 != 0, delim: b[2]}
	if k.method < taskMaildir || k.method > taskCommand || b[1] > 3 {
		return nil, errFrame
	}
	b = b[3:]
	for _, s := range k.texts() {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return nil, errFrame
		}
		*s, b = string(b[size:size+int(n)]), b[size+int(n):]
	}
	if len(b) > 0 {
		return nil, errFrame
	}
	return k, nil
}

// appendOutcome appends o: its status, its code before a zero, its text.
func appendOutcome(b []byte, o Outcome) []byte {
	b = append(append(b, byte(o.Status)), o.Enhanced...)
	return append(append(b, 0), o.Text...)
}

// decodeOutcome reads what appendOutcome wrote; what it says is another
// process's word.
func decodeOutcome(b []byte) (Outcome, error) {
	if len(b) < 2 || Status(b[0]) < Delivered || Status(b[0]) > Failed {
		return Outcome{}, errFrame
	}
	for i, c := range b[1:] {
		switch {
		case c == 0:
			return Outcome{Status: Status(b[0]), Enhanced: string(b[1 : 1+i]), Text: oneLine(string(b[2+i:]))}, nil
		case c != '.' && (c < '0' || c > '9') || i > len("5.999.999"):
			return Outcome{}, errFrame
		}
	}
	return Outcome{}, errFrame
}
