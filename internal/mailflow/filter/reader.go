package filter

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/weirmail/weir/internal/filterwire"
)

// readBuffer is how much of a filter's output is read at once, in bytes. It
// holds the longest line and as much again behind it.
const readBuffer = 2 * filterwire.MaxLine

// reader hands what a process writes to the sessions. It never waits for one.
type reader struct {
	p    *process
	line filterwire.Line

	buf   []byte
	have  int   // bytes of buf that were read and not handled
	fault error // why the reading ended
	again bool  // a look for the end of the pipe is due

	// Lines of a message come in runs: head is what the last one began with,
	// up to its text, and cur its stream, locked while the run lasts.
	head []byte
	cur  *stream
	held bool
}

// run reads until the pipe ends or a line is wrong.
//
// It stays within one RawConn.Read: a read that did not fill the buffer has
// emptied the pipe, and the poller tells of whatever comes after it. To try
// again first, as File.Read does, would be a system call in vain for each batch
// of answers: a tenth of what a question costs. But of a filter that closes the
// pipe before we have read its last lines the poller tells once for both, and
// not again: so it is tried again a little later, or when the program has ended.
func (r *reader) run() {
	r.buf = make([]byte, readBuffer)
	raw, err := r.p.stdout.SyscallConn()
	for err == nil && r.fault == nil {
		if err = raw.Read(r.drain); errors.Is(err, os.ErrDeadlineExceeded) {
			r.again = false
			err = r.p.stdout.SetReadDeadline(time.Time{})
		}
	}
	if r.fault == nil {
		r.fault = err // closed by us
	}
	r.p.fail(r.fault)
}

// drain reads what there is and handles it. It reports true when there is
// nothing more to come, or the filter has failed: whatever else of it writes on
// and on is not heard, and holds nobody up who closes the pipe.
func (r *reader) drain(fd uintptr) bool {
	for {
		room := len(r.buf) - r.have
		n, err := syscall.Read(int(fd), r.buf[r.have:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return false
		case n <= 0 && err == nil:
			err = io.EOF
		}
		r.have += max(n, 0)
		if r.fault = r.take(err); r.fault != nil {
			return true
		}
		if r.p.ended.Load() {
			r.fault = ErrDown // known already: see process.fail
			return true
		}
		if n < room {
			r.lookOnce()
			return false
		}
	}
}

// lookAgain is how long after a read the end of the pipe is looked for.
const lookAgain = 50 * time.Millisecond

// lookOnce has the pipe read once more, whether the poller tells of it or not.
func (r *reader) lookOnce() {
	if !r.again {
		r.again = r.p.stdout.SetReadDeadline(time.Now().Add(lookAgain)) == nil
	}
}

// take handles the whole lines of the buffer and keeps the rest. err is that of
// the read.
func (r *reader) take(err error) error {
	used, fault := r.lines(r.buf[:r.have])
	r.release()
	rest := r.buf[used:r.have]
	switch {
	case fault != nil:
		return fault
	case len(rest) > filterwire.MaxLine:
		return filterwire.NewProtocolError(rest, tooLong)
	case err != nil:
		return atEnd(rest, err)
	}
	r.have = copy(r.buf, rest)
	return nil
}

// tooLong is what is expected in place of a line over filterwire.MaxLine.
const tooLong = "a line of no more than 131072 bytes"

// atEnd says what the end of the output means.
func atEnd(rest []byte, err error) error {
	if len(rest) > 0 {
		return filterwire.NewProtocolError(rest, "LF at the end of the last line")
	}
	if errors.Is(err, io.EOF) {
		return ErrExited
	}
	return err
}

// lines handles all whole lines of b and gives how many bytes they were.
func (r *reader) lines(b []byte) (used int, err error) {
	for {
		n := bytes.IndexByte(b[used:], '\n')
		if n < 0 {
			return used, nil
		}
		line := b[used : used+n]
		used += n + 1
		if len(r.head) > 0 && r.cur != nil && bytes.HasPrefix(line, r.head) && n <= filterwire.MaxLine {
			if err := r.dataline(line, line[len(r.head):]); err != nil {
				return used, err
			}
			continue
		}
		r.release()
		if n > filterwire.MaxLine {
			return used, filterwire.NewProtocolError(line, tooLong)
		}
		if err := r.one(line); err != nil {
			return used, err
		}
	}
}

// one handles a line that does not go on with the message of the last.
func (r *reader) one(line []byte) error {
	l := &r.line
	if err := filterwire.Parse(line, l); err != nil {
		return err
	}
	switch l.Kind {
	case filterwire.Result, filterwire.DataOut:
		if !r.p.isReady {
			return filterwire.NewProtocolError(line, "register|ready before the first answer")
		}
	}
	switch l.Kind {
	case filterwire.Result:
		st := r.p.seat(l.Session)
		if st == nil {
			return nil // the session has ended, or never was
		}
		r.p.w.proc.count(l.Decision) // before the session goes on
		if err := st.result(r.p, l); err != nil {
			return r.wrong(line, st, err.Error())
		}
	case filterwire.DataOut:
		return r.firstDataline(line)
	case filterwire.OwnReport:
		r.p.w.report(r.p, l)
	case filterwire.RegisterReady:
		if !r.p.isReady {
			r.p.isReady = true
			close(r.p.ready)
		}
	default:
		return r.register(line)
	}
	return nil
}

// wantFeature is what is expected in place of another feature.
const wantFeature = "a feature that config|feature announced"

func (r *reader) register(line []byte) error {
	l, p := &r.line, r.p
	switch l.Kind {
	case filterwire.RegisterReport:
		p.events.Or(uint32(l.Events))
	case filterwire.RegisterFilter:
		p.phases.Or(uint32(filterwire.Phases(0).With(l.Phase)))
	case filterwire.RegisterFeature:
		switch name := string(l.Text); {
		case p.w.proc.protocol == filterwire.V06:
			return filterwire.NewProtocolError(line, wantFeature)
		case name == FeatureMessageSize:
			p.size.Store(true)
		case name == FeatureFinalAddress:
			p.finalAddr.Store(true)
		default:
			return filterwire.NewProtocolError(line, wantFeature)
		}
	}
	return nil
}

// firstDataline looks up the message that a run of lines belongs to.
func (r *reader) firstDataline(line []byte) error {
	l := &r.line
	st := r.p.seat(l.Session)
	if st == nil {
		return nil
	}
	x, over := st.stream(l.Token)
	switch {
	case x != nil:
	case over:
		return r.wrong(line, st, "no line of this message after its dot")
	case r.p.wasMessage(l.Token):
		return nil // the message was given up
	default:
		return r.wrong(line, st, "no message line, since no message of this session and token is under way")
	}
	r.head = append(r.head[:0], line[:len(line)-len(l.Text)]...)
	r.cur = x
	return r.dataline(line, l.Text)
}

// dataline adds a line to the stream at hand.
func (r *reader) dataline(line, text []byte) error {
	if !r.held {
		r.cur.out.mu.Lock()
		r.held = true
	}
	err := r.cur.line(text)
	if err == nil {
		return nil
	}
	r.release()
	st := r.cur.seat
	if r.p.seat(st.s.id) != st {
		return nil // the session has ended
	}
	r.line.Session = st.s.id
	return r.wrong(line, st, err.Error())
}

// release ends a run of lines: whoever moves them on is told.
func (r *reader) release() {
	if r.held {
		r.held = false
		r.cur.out.mu.Unlock()
		r.cur.out.signal()
	}
}

// wrong makes the fault of a line that is right in itself but not here.
func (r *reader) wrong(line []byte, st *seat, expected string) error {
	return &Fault{
		Filter:  r.p.w.proc.name,
		Phase:   st.asked(),
		Session: r.line.Session,
		Cause:   filterwire.NewProtocolError(line, expected),
	}
}
