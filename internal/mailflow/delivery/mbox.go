package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/mail"
	"golang.org/x/sys/unix"
)

const (
	systemMailDir = "/var/mail"

	mboxPerm     = 0o600
	mboxOpen     = unix.O_RDWR | unix.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK
	lockPatience = 30 * time.Second      // how long an attempt waits for a lock
	lockPause    = 50 * time.Millisecond // between looks at a lock that is held
	lockStale    = 15 * time.Minute      // age of a dot lock whose owner is taken to be gone
)

// mboxSender is the name on the "From " line: the null reverse-path has none.
func mboxSender(a mail.Address) string {
	if a.IsNull() {
		return "MAILER-DAEMON"
	}
	return a.String()
}

// mbox is an mbox file that is being appended to. Its methods run with the
// rights of whoever opens it.
type mbox struct {
	sys     fileSystem
	path    string
	fd      int
	size    int64 // of the file before this message
	cut     bool  // the file does not end in an empty line
	dotLock bool  // we made path + ".lock"
}

// toSystemMailbox appends to the user's mailbox in the mail directory. That
// directory may be for root and its group alone, so with root it is root who
// makes the file and its dot lock; the message is written as the user.
func (a *Agent) toSystemMailbox(ctx context.Context, t *attempt) error {
	if err := checkMailbox(t.user.name, a.mailDir); err != nil {
		return err
	}
	return a.appendMbox(ctx, t, a.mailDir+"/"+t.user.name, &account{})
}

// checkMailbox refuses names that lead out of the mail directory, or to locks.
func checkMailbox(name, dir string) error {
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\x00") || strings.HasSuffix(name, ".lock") {
		return failed("5.1.3", "user %q cannot have a mailbox in %s", name, dir)
	}
	return nil
}

// toFile appends to the file that an alias or a .forward names.
func (a *Agent) toFile(ctx context.Context, t *attempt, file string) error {
	switch {
	case !strings.HasPrefix(file, "/"):
		return failed("5.3.5", "%q is not the absolute path of a file; correct the alias", file)
	case file == os.DevNull:
		return nil // the way to discard mail in aliases(5)
	}
	return a.appendMbox(ctx, t, path.Clean(file), &t.run)
}

// appendMbox appends the message under locks. opener is who opens and locks
// the file (the zero account: the server itself); t.run is who writes.
func (a *Agent) appendMbox(ctx context.Context, t *attempt, file string, opener *account) error {
	m := mbox{sys: a.fs, path: file, fd: -1}
	defer a.asUser(opener, func() error { m.release(); return nil })
	err := a.asUser(opener, func() error { return m.open(&t.run) })
	if err == nil {
		err = a.awaitLock(ctx, file, func() (held bool, err error) {
			err = a.asUser(opener, func() (err error) { held, err = m.lock(); return err })
			return held, err
		})
	}
	if err == nil {
		err = a.writeMbox(t, &m)
	}
	var p *problem
	if err != nil && !errors.As(err, &p) {
		err = fmt.Errorf("mbox %s: %w", file, err)
	}
	return err
}

// open opens the file, and makes it for owner if it is missing.
func (m *mbox) open(owner *account) (err error) {
	m.fd, err = m.sys.Open(m.path, mboxOpen, 0)
	if errors.Is(err, unix.ENOENT) {
		m.fd, err = m.sys.Open(m.path, mboxOpen|unix.O_CREAT|unix.O_EXCL, mboxPerm)
		switch {
		case errors.Is(err, unix.EEXIST): // another delivery was faster
			m.fd, err = m.sys.Open(m.path, mboxOpen, 0)
		case err == nil && unix.Geteuid() == 0:
			err = os.NewSyscallError("fchown", unix.Fchown(m.fd, int(owner.uid), -1))
		}
		if err == nil {
			err = syncDir(m.sys, path.Dir(m.path))
		}
	}
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ELOOP) {
		return failed("5.2.1", "mbox %s is not a regular file", m.path)
	}
	if err != nil {
		return err
	}
	return m.check(owner)
}

// check refuses what is no mailbox of owner. A mail directory that others may
// write to must not lead root to a file elsewhere.
func (m *mbox) check(owner *account) error {
	var st unix.Stat_t
	if err := unix.Fstat(m.fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	switch root := unix.Geteuid() == 0; {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return failed("5.2.1", "mbox %s is not a regular file", m.path)
	case root && st.Nlink != 1:
		return deferred("4.2.1", "mbox %s has %d links; it must have one", m.path, st.Nlink)
	case root && st.Uid != owner.uid:
		return deferred("4.2.1", "mbox %s belongs to user id %d, not to %s (%d)", m.path, st.Uid, owner.name, owner.uid)
	}
	return nil
}

// lock takes a dot lock, where the directory lets us make one, and flock(2);
// both or none. It does not wait.
func (m *mbox) lock() (held bool, err error) {
	if m.dotLock, held, err = m.takeDotLock(); held || err != nil {
		return false, err
	}
	err = retry(func() error { return unix.Flock(m.fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return true, m.measure()
	}
	// Whoever has the one may be waiting for the other.
	m.dropDotLock()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return false, os.NewSyscallError("flock", err)
}

// takeDotLock makes path.lock. It reports whether it is ours, or somebody
// else's; neither where the directory is not ours to write.
func (m *mbox) takeDotLock() (ours, others bool, err error) {
	name := m.path + ".lock"
	fd, err := m.sys.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0)
	switch {
	case err == nil:
		m.sys.Close(fd)
		return true, false, nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS), errors.Is(err, unix.ENAMETOOLONG):
		return false, false, nil
	case !errors.Is(err, unix.EEXIST):
		return false, false, err
	}
	var st unix.Stat_t
	if unix.Lstat(name, &st) == nil && time.Since(time.Unix(st.Mtim.Unix())) > lockStale {
		m.sys.Remove(name) // its owner is gone; the next look takes it
	}
	return false, true, nil
}

func (m *mbox) dropDotLock() {
	if m.dotLock {
		m.sys.Remove(m.path + ".lock")
		m.dotLock = false
	}
}

// release gives the locks back; flock goes with the descriptor.
func (m *mbox) release() {
	if m.fd >= 0 {
		m.sys.Close(m.fd)
		m.fd = -1
	}
	m.dropDotLock()
}

// measure notes where the message will begin.
func (m *mbox) measure() error {
	var st unix.Stat_t
	if err := unix.Fstat(m.fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	m.size = st.Size
	if m.size < 2 {
		m.cut = m.size != 0
		return nil
	}
	var end [2]byte
	if _, err := unix.Pread(m.fd, end[:], m.size-2); err != nil {
		return os.NewSyscallError("pread", err)
	}
	m.cut = string(end[:]) != "\n\n" // a crash, or another program's habit
	return nil
}

// writeMbox appends the message to the locked file and makes it durable. What
// was written of a message that fails is cut off again.
func (a *Agent) writeMbox(t *attempt, m *mbox) error {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	out := (*buf)[:0]
	if m.cut {
		out = append(out, "\n\n"...)
	}
	out = append(out, "From "...)
	out = appendHeaderText(out, mboxSender(t.job.Message.Sender))
	out = append(out, ' ')
	out = a.now().AppendFormat(out, time.ANSIC)
	out = append(out, '\n')
	out = append(out, deliveryHeader(t.job.Message, t.env)...)
	var q fromQuoter
	for {
		chunk, last, err := t.body.next()
		if err == nil {
			out = q.append(out, chunk, last)
			if last && t.body.open {
				out = append(out, '\n')
			}
			if last {
				out = append(out, '\n')
			}
		}
		err = a.asUser(&t.run, func() error {
			if err == nil {
				err = m.sys.Write(m.fd, [2][]byte{out})
			}
			if err == nil && last {
				err = m.sys.Sync(m.fd)
			}
			if err != nil {
				err = errors.Join(err, os.NewSyscallError("ftruncate", unix.Ftruncate(m.fd, m.size)))
			}
			return err
		})
		if err != nil || last {
			return err
		}
		out = out[:0]
	}
}

// fromQuoter puts ">" before the lines of a message that would look like the
// start of the next one. Lines that have been quoted before are quoted once
// more ("mboxrd"), so that readers can take exactly one ">" off again.
type fromQuoter struct {
	mid  bool   // the next byte is not the first of a line
	held []byte // start of a line that the last piece left undecided
}

const (
	fromLine  = "From "
	maxQuotes = 64 // ">" that are looked at; a line with more is text
)

// append appends the quoted form of p; at the last piece nothing is held back.
func (q *fromQuoter) append(dst, p []byte, last bool) []byte {
	if len(q.held) > 0 {
		p = append(q.held, p...)
		q.held = nil
	}
	for len(p) > 0 {
		if !q.mid && (p[0] == '>' || p[0] == fromLine[0]) {
			quote, decided := looksLikeFrom(p)
			if !decided && !last {
				q.held = append([]byte(nil), p...)
				return dst
			}
			if quote {
				dst = append(dst, '>')
			}
		}
		n := bytes.IndexByte(p, '\n') + 1
		q.mid = n == 0
		if q.mid {
			n = len(p)
		}
		dst = append(dst, p[:n]...)
		p = p[n:]
	}
	return dst
}

// looksLikeFrom reports whether a line begins with any number of ">" and
// "From ", and whether p is long enough to say so.
func looksLikeFrom(p []byte) (yes, decided bool) {
	i := 0
	for i < len(p) && p[i] == '>' {
		if i++; i > maxQuotes {
			return false, true
		}
	}
	n := min(len(p)-i, len(fromLine))
	if string(p[i:i+n]) != fromLine[:n] {
		return false, true
	}
	return n == len(fromLine), n == len(fromLine)
}
