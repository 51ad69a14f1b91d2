package server

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/privsep"
	"github.com/weirmail/weir/internal/table"
)

// lookUp finds a user that the engine names. Names come from the network: the
// database of users, which may be anybody's program, gets none that cannot be.
func lookUp(name string) (delivery.Account, error) {
	if !routing.PlausibleUser(name) {
		return delivery.Account{}, delivery.ErrNoUser
	}
	return delivery.LookUp(name)
}

// forward opens the .forward of a user, with the rights of that user.
func (p *Parent) forward(a delivery.Account) (privsep.Reply, error) {
	u, err := p.granted(a, false)
	if err != nil {
		return privsep.Reply{}, err
	}
	var f *os.File
	err = delivery.AsUser(u, func() (err error) {
		f, err = routing.OpenForward(routing.User{Name: u.Name, UID: int(u.UID), GID: int(u.GID), Home: u.Home})
		return err
	})
	if err != nil {
		return privsep.Reply{}, err
	}
	if f == nil {
		return privsep.Reply{Value: found{}}, nil
	}
	return privsep.Reply{Value: found{true}, Files: []*os.File{f}}, nil
}

// worker starts a process that delivers with the rights of a user.
func (p *Parent) worker(a delivery.Account) (privsep.Reply, error) {
	id := p.id // the zero account: with no rights worth mentioning
	if a.Name != "" {
		u, err := p.granted(a, true)
		if err != nil {
			return privsep.Reply{}, err
		}
		id = privsep.Identity{UID: u.UID, GID: u.GID, Groups: u.Groups}
	}
	end, child, err := privsep.StreamPair()
	if err != nil {
		return privsep.Reply{}, err
	}
	if err := p.connect(id, a.Name, child); err != nil {
		end.Close()
		return privsep.Reply{}, err
	}
	return privsep.Reply{Files: []*os.File{end}}, nil
}

// workers is a process that delivers as one user, on several connections.
type workers struct {
	*privsep.Running
	ch *privsep.Channel
}

// connect hands one end of a connection to the process that delivers as id,
// and starts that if there is none, or it is about to end.
func (p *Parent) connect(id privsep.Identity, name string, child *os.File) error {
	defer child.Close()
	p.starting.Lock()
	defer p.starting.Unlock()
	key := fmt.Sprint(name, id)
	p.mu.Lock()
	w, n := p.workers[key], len(p.workers)
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if w != nil {
		if _, err := w.ch.Call(ctx, callConnection, nil, nil, child); err == nil {
			return nil
		}
	}
	if n >= maxWorkers {
		return fmt.Errorf("deliveries are under way for %d users", n)
	}
	end, far, err := privsep.SocketPair()
	if err != nil {
		return err
	}
	c := privsep.Child{Role: workerRole, Args: []string{name}, Files: []*os.File{far}, Identity: id, Confined: name == ""}
	r, err := c.Start()
	far.Close()
	if err != nil {
		end.Close()
		return err
	}
	ch, err := privsep.NewChannel(end, nil)
	if err != nil {
		return err
	}
	w = &workers{r, ch}
	p.mu.Lock()
	p.workers[key] = w
	p.mu.Unlock()
	go func() {
		<-r.Done
		ch.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.workers[key] == w {
			delete(p.workers, key)
		}
	}()
	_, err = ch.Call(ctx, callConnection, nil, nil, child)
	return err
}

// maxWorkers is for how many users processes deliver at once, each on up to
// maxConnections.
const (
	maxWorkers     = 256
	maxConnections = 256
)

// granted gives the account whose rights the engine may use under a's name: a
// user of the machine, or one of a userbase table, with what is known here of
// that user. Root is granted to deliver if the configuration names it.
func (p *Parent) granted(a delivery.Account, deliver bool) (delivery.Account, error) {
	u, err := lookUp(a.Name)
	if err != nil && !errors.Is(err, delivery.ErrNoUser) {
		return u, err
	}
	configs := p.configs()
	if err != nil || u.UID != a.UID || u.GID != a.GID || u.Home != a.Home {
		if u, err = userOf(configs, a); err != nil {
			return u, err
		}
	} else if u.UID == 0 && deliver && !runsAsRoot(configs, a.Name) {
		return u, fmt.Errorf("nothing is delivered with the rights of %s: no action has: user %s", a.Name, a.Name)
	}
	if u.UID == p.id.UID {
		return u, fmt.Errorf("user %s is the server's own", a.Name)
	}
	return u, nil
}

// userOf finds a in the userbase tables.
func userOf(configs []*config.Config, a delivery.Account) (delivery.Account, error) {
	for _, cfg := range configs {
		for _, act := range cfg.Actions {
			if act.Userbase == nil {
				continue
			}
			v, ok := act.Userbase.Lookup(a.Name)
			if !ok {
				continue
			}
			info, err := table.ParseUserinfo(v)
			if err == nil && info.UID == a.UID && info.GID == a.GID && info.Home == a.Home {
				return delivery.Account{Name: a.Name, UID: info.UID, GID: info.GID, Home: info.Home, Groups: []uint32{info.GID}, Given: true}, nil
			}
		}
	}
	return delivery.Account{}, fmt.Errorf("neither the machine nor a userbase has user %q with id %d and group %d", a.Name, a.UID, a.GID)
}

// runsAsRoot reports whether an action says that it delivers as root.
func runsAsRoot(configs []*config.Config, name string) bool {
	for _, cfg := range configs {
		for _, act := range cfg.Actions {
			if act.User == name {
				return true
			}
		}
	}
	return false
}

// mailbox opens a system mailbox. It stays the parent's to lock and unlock.
func (p *Parent) mailbox(a delivery.Account) (privsep.Reply, error) {
	if err := p.ownsMailbox(a); err != nil {
		return privsep.Reply{}, err
	}
	p.mu.Lock()
	n := len(p.boxes)
	p.mu.Unlock()
	if n >= maxWorkers {
		return privsep.Reply{}, fmt.Errorf("%d mailboxes are open", n)
	}
	b, err := delivery.OpenMailbox(a)
	if err != nil {
		return privsep.Reply{Value: openMailbox{Outcome: delivery.OutcomeOf(err)}}, nil
	}
	f, err := duplicate(b.File())
	if err != nil {
		b.Close()
		return privsep.Reply{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastID++
	p.boxes[p.lastID] = b
	return privsep.Reply{Value: openMailbox{ID: p.lastID}, Files: []*os.File{f}}, nil
}

// ownsMailbox refuses a mailbox of somebody who is neither a user nor
// somebody's for whom an action delivers.
func (p *Parent) ownsMailbox(a delivery.Account) error {
	configs := p.configs()
	if u, err := lookUp(a.Name); err == nil && u.UID == a.UID {
		return nil
	}
	if _, err := userOf(configs, a); err == nil {
		return nil
	}
	for _, cfg := range configs {
		for _, act := range cfg.Actions {
			if act.Method != config.Mbox || act.User == "" {
				continue
			}
			if u, err := delivery.LookUp(act.User); err == nil && u.UID == a.UID {
				return nil
			}
		}
	}
	return fmt.Errorf("no action delivers into a mailbox of %q with user id %d", a.Name, a.UID)
}

// duplicate gives another descriptor of the same open file.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func (p *Parent) box(id uint64) (*delivery.SystemMailbox, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.boxes[id]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("mailbox %d is not open", id)
}

func (p *Parent) lock(a boxArgs) (privsep.Reply, error) {
	b, err := p.box(a.ID)
	if err != nil {
		return privsep.Reply{}, err
	}
	ours, err := b.Lock()
	return privsep.Reply{Value: held{ours}}, err
}

func (p *Parent) release(a boxArgs) (privsep.Reply, error) {
	b, err := p.box(a.ID)
	if err != nil {
		return privsep.Reply{}, err
	}
	p.mu.Lock()
	delete(p.boxes, a.ID)
	p.mu.Unlock()
	return privsep.Reply{}, b.Close()
}
