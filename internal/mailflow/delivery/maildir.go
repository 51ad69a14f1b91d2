package delivery

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maildirPerm = 0o700 // of directories
	messagePerm = 0o600 // of messages
	maildirOpen = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY
)

// namer makes names that are unique on this host, in the form that maildir
// asks for: TIME.PID_COUNTER.HOST. The counter begins anywhere, because a
// container gives every run of the server the same pid.
type namer struct {
	suffix string
	pid    string
	count  *atomic.Uint64
}

func newNamer(host string) namer {
	if host == "" {
		host = "localhost"
	}
	n := namer{pid: strconv.Itoa(os.Getpid()), count: new(atomic.Uint64)}
	n.count.Store(rand.Uint64())
	n.suffix = strings.NewReplacer("/", `\057`, ":", `\072`).Replace(host)
	return n
}

func (n namer) next(now time.Time) string {
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, '.')
	b = append(b, n.pid...)
	b = append(b, '_')
	b = strconv.AppendUint(b, n.count.Add(1), 16)
	b = append(b, '.')
	b = append(b, n.suffix...)
	return string(b)
}

// maildirFile is a message on its way into a maildir. Its methods run with the
// rights of the user.
type maildirFile struct {
	sys  fileSystem
	root string // the maildir
	box  string // root, or the folder within it that gets the message
	name string
	fd   int
	tmp  string // path while it is in tmp, "" before and after
}

// toMaildir delivers into a maildir: written to tmp, made durable, renamed to
// new, the directory made durable. Whoever reads the maildir sees the whole
// message or nothing, and Delivered is said only of what survives a crash.
func (a *Agent) toMaildir(t *attempt) error {
	format := t.act.Path
	if format == "" {
		format = "~/Maildir"
	}
	root, err := a.expansion(t).path(format)
	if err != nil {
		return err
	}
	root = path.Clean(root)
	m := maildirFile{sys: a.fs, root: root, box: root, fd: -1, name: a.name.next(a.now())}
	junk := t.act.Junk && t.body.header.junk
	folder := a.folder(t)

	// One change of rights for each chunk: most messages have one.
	head := deliveryHeader(t.job.Message, t.env)
	for last := false; !last && err == nil; {
		var chunk []byte
		if chunk, last, err = t.body.next(); err != nil {
			break
		}
		err = a.asUser(&t.run, func() error {
			if m.fd < 0 {
				if err := m.begin(junk, folder); err != nil {
					return err
				}
			}
			if err := m.sys.Write(m.fd, [2][]byte{head, chunk}); err != nil || !last {
				return err
			}
			return m.finish(t.body.open)
		})
		head = nil
	}
	if err != nil && m.tmp != "" {
		// What is left in tmp would be removed by the readers of the
		// maildir after 36 hours only.
		a.asUser(&t.run, func() error { m.abandon(); return nil })
	}
	return maildirError(root, err)
}

// folder gives the folder for the recipient's sub-address, "" for none; it is
// used only if it exists.
func (a *Agent) folder(t *attempt) string {
	ext := sanitise(a.extension(t), false)
	if ext == "" || ext == "." {
		return ""
	}
	return "." + ext
}

// begin opens the file in tmp, after making the directories that are missing.
func (m *maildirFile) begin(junk bool, folder string) (err error) {
	switch {
	case junk:
		m.box = m.root + "/.Junk"
	case folder != "":
		// Opened rather than stat'ed: one call in the interface less.
		if fd, err := m.sys.Open(m.root+"/"+folder, unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
			m.sys.Close(fd)
			m.box = m.root + "/" + folder
		}
	}
	tmp := m.box + "/tmp/" + m.name
	m.fd, err = m.sys.Open(tmp, maildirOpen, messagePerm)
	if errors.Is(err, unix.ENOENT) {
		if err = m.makeDirs(); err != nil {
			return err
		}
		m.fd, err = m.sys.Open(tmp, maildirOpen, messagePerm)
	}
	if err == nil {
		m.tmp = tmp
	}
	return err
}

// makeDirs makes the maildir, and the folder if box is one.
func (m *maildirFile) makeDirs() error {
	if err := mkdirAll(m.sys, m.root); err != nil {
		return err
	}
	boxes := []string{m.root}
	if m.box != m.root {
		if err := mkdir(m.sys, m.box); err != nil {
			return err
		}
		boxes = append(boxes, m.box)
	}
	for _, box := range boxes {
		for _, sub := range []string{"/cur", "/tmp", "/new"} {
			if err := mkdir(m.sys, box+sub); err != nil {
				return err
			}
		}
		if err := syncDir(m.sys, box); err != nil {
			return err
		}
	}
	return nil
}

// finish makes the message durable and visible, in this order.
func (m *maildirFile) finish(open bool) error {
	if open {
		if err := m.sys.Write(m.fd, [2][]byte{[]byte("\n")}); err != nil {
			return err
		}
	}
	if err := m.sys.Sync(m.fd); err != nil {
		return err
	}
	fd := m.fd
	m.fd = -1
	if err := m.sys.Close(fd); err != nil {
		return err
	}
	if err := m.sys.Rename(m.tmp, m.box+"/new/"+m.name); err != nil {
		return err
	}
	m.tmp = ""
	return syncDir(m.sys, m.box+"/new")
}

// abandon removes what was begun and is not in new.
func (m *maildirFile) abandon() {
	if m.fd >= 0 {
		m.sys.Close(m.fd)
	}
	m.sys.Remove(m.tmp)
}

// mkdir makes a directory unless it exists.
func mkdir(sys fileSystem, dir string) error {
	if err := sys.Mkdir(dir, maildirPerm); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// mkdirAll makes dir and the directories above it that are missing, each
// durable in the one above.
func mkdirAll(sys fileSystem, dir string) error {
	err := sys.Mkdir(dir, maildirPerm)
	parent := path.Dir(dir)
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.ENOENT) && parent != dir:
		if err := mkdirAll(sys, parent); err != nil {
			return err
		}
		if err := mkdir(sys, dir); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	return syncDir(sys, parent)
}

// maildirError says where a delivery went wrong. A name that is too long stays
// so; all else may pass.
func maildirError(root string, err error) error {
	var p *problem
	switch {
	case err == nil, errors.As(err, &p):
		return err
	case errors.Is(err, unix.ENAMETOOLONG):
		return failed("5.1.3", "maildir %s: %w", root, err)
	}
	return fmt.Errorf("maildir %s: %w", root, err)
}
