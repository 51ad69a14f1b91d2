package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// Rights does for an Agent what needs rights that its own process does not
// have. Whoever implements it decides what is granted. It is safe for
// concurrent use.
type Rights interface {
	// User finds a user of the machine; the error wraps ErrNoUser if there is
	// none.
	User(name string) (Account, error)

	// Worker starts a process that has the rights of u, or none for the zero
	// Account, and runs Work on the other end of the connection. It ends when
	// that is closed.
	Worker(ctx context.Context, u Account) (*net.UnixConn, error)

	// Mailbox opens the mailbox of u in the system's mail directory, which is
	// not the users'. An error that OutcomeError made says how the attempt ends.
	Mailbox(ctx context.Context, u Account) (Mailbox, error)
}

// Mailbox is an open system mailbox. Its locks go with Close.
type Mailbox interface {
	Lock() (held bool, err error) // does not wait
	File() *os.File               // to append to; good until Close
	Close() error
}

// Account is a user as delivery needs it.
type Account struct {
	Name   string
	Home   string
	UID    uint32
	GID    uint32
	Groups []uint32
	Given  bool // named in the configuration: "user" or userbase
}

// ErrNoUser is what Rights.User wraps for a name that nobody has.
var ErrNoUser = errNoUser

// OutcomeError gives an error that ends an attempt with o, and nil for
// Delivered.
func OutcomeError(o Outcome) error {
	if o.Status == Delivered {
		return nil
	}
	return &problem{status: o.Status, enhanced: o.Enhanced, text: o.Text}
}

// OutcomeOf is how an attempt ends with err.
func OutcomeOf(err error) Outcome { return outcomeOf(err) }

func (u *account) export() Account {
	return Account{Name: u.name, Home: u.home, UID: u.uid, GID: u.gid, Groups: u.groups, Given: u.given}
}

// LookUp finds a user in the system's database, groups included; the error is
// ErrNoUser if there is none.
func LookUp(name string) (Account, error) {
	u, err := systemUser(name)
	return u.export(), err
}

// systemUser finds a user of the machine.
func (a *Agent) systemUser(name string) (account, error) {
	if a.rights == nil {
		return systemUser(name)
	}
	u, err := a.rights.User(name)
	return account{name: u.Name, home: u.Home, uid: u.UID, gid: u.GID, groups: u.Groups}, err
}

// AsUser calls f with the effective rights of u, which needs root, and gives its
// error. f must not start processes, nor have others do its work.
func AsUser(u Account, f func() error) error {
	a := &Agent{root: true, log: slog.New(slog.DiscardHandler)}
	return a.asUser(&account{name: u.Name, home: u.Home, uid: u.UID, gid: u.GID, groups: u.Groups}, f)
}

// entrust has the attempt made by a worker with the rights of t.run.
func (a *Agent) entrust(ctx context.Context, t *attempt) error {
	if t.env.Local.File == os.DevNull {
		return nil
	}
	k := a.taskOf(t)
	if k.method != taskMbox {
		if t.run.uid == 0 && !t.run.given {
			// "user root" or a userbase says that it is meant.
			return failed("5.7.0", "mail for user %q is not delivered with root's rights; make an alias for it", t.user.name)
		}
		return a.crew.deliver(ctx, &t.run, k, nil, t.body)
	}
	if err := checkMailbox(t.user.name, a.mailDir); err != nil {
		return err
	}
	owner := t.run.export()
	owner.Name = t.user.name
	box, err := a.rights.Mailbox(ctx, owner)
	if err != nil {
		return err
	}
	defer box.Close()
	if err := a.awaitLock(ctx, a.mailDir+"/"+owner.Name, box.Lock); err != nil {
		return err
	}
	writer := &t.run
	if writer.uid == 0 && !writer.given {
		writer = &account{} // the file is open: nobody's rights will do
	}
	return a.crew.deliver(ctx, writer, k, box.File(), t.body)
}

// awaitLock tries lock until it holds, patience ends or ctx does.
func (a *Agent) awaitLock(ctx context.Context, file string, lock func() (bool, error)) error {
	for deadline := time.Now().Add(a.lockWait); ; {
		if held, err := lock(); err != nil || held {
			return err
		}
		if !time.Now().Before(deadline) {
			return deferred("4.2.0", "mbox %s: another program holds the lock", file)
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// SystemMailbox is a Mailbox that was opened by a process that may.
type SystemMailbox struct {
	mu sync.Mutex
	m  mbox
	f  *os.File
}

// OpenMailbox opens the mailbox of u in the system's mail directory, made if it
// is missing. Needs root.
func OpenMailbox(u Account) (*SystemMailbox, error) {
	if err := checkMailbox(u.Name, systemMailDir); err != nil {
		return nil, err
	}
	b := &SystemMailbox{m: mbox{sys: unixFS{}, path: systemMailDir + "/" + u.Name, fd: -1}}
	owner := account{name: u.Name, uid: u.UID}
	if err := b.m.open(&owner); err != nil {
		b.m.release()
		var p *problem
		if !errors.As(err, &p) {
			err = fmt.Errorf("mbox %s: %w", b.m.path, err)
		}
		return nil, err
	}
	b.f = os.NewFile(uintptr(b.m.fd), b.m.path)
	return b, nil
}

// Lock takes the locks of the mailbox if nobody has them.
func (b *SystemMailbox) Lock() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m.fd < 0 {
		return false, os.ErrClosed
	}
	return b.m.lock()
}

// File gives the open mailbox.
func (b *SystemMailbox) File() *os.File { return b.f }

// Close gives the locks back and closes the file.
func (b *SystemMailbox) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.m.dropDotLock()
	b.m.fd = -1
	return b.f.Close()
}
