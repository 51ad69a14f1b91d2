package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/listener"
	"github.com/weirmail/weir/internal/mailflow/routing"
	"github.com/weirmail/weir/internal/privsep"
)

// The processes of a server that was started as root, as ps shows them.
const (
	engineRole = "weir: engine"
	workerRole = "weir: delivery"
)

// Roles gives what processes of this program can be started as by a server;
// privsep.Main plays them.
func Roles() []privsep.Role {
	return []privsep.Role{{Name: engineRole, Run: runEngine}, {Name: workerRole, Run: runWorker}}
}

// runEngine is the server without rights. It does not return before the
// server's end.
func runEngine() error {
	if err := privsep.Seal(false); err != nil {
		return err
	}
	var args engineArgs
	if len(os.Args) != 2 {
		return errors.New("this is started by: weir run")
	}
	if err := json.Unmarshal([]byte(os.Args[1]), &args); err != nil {
		return err
	}
	ch, err := privsep.NewChannel(os.NewFile(privsep.ChannelFD, "channel"), nil)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)

	e := &engine{ch: ch, gens: make(map[*config.Config]*engineGeneration)}
	e.users.ask = e.askUser
	cfg, err := e.load(false)
	if err != nil {
		return err
	}
	s, err := New(cfg, Options{
		Log: NewLog(args.Debug), Version: args.Version, Grace: time.Duration(args.Grace), Strict: args.Strict,
		Load: func() (*config.Config, error) { return e.load(true) }, parent: e,
	})
	if err != nil {
		return err
	}
	go s.ReloadOn(ctx, hangup)
	return s.Run(ctx)
}

// NewLog gives the log of a server: on standard error one line for each event,
// key=value; with debug for each of them all.
func NewLog(debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// engine is what a Server without rights has its parent do. It is safe for
// concurrent use.
type engine struct {
	ch    *privsep.Channel
	users accounts

	mu   sync.Mutex
	gens map[*config.Config]*engineGeneration // of which something may still be wanted
}

// engineGeneration is what belongs to one configuration.
type engineGeneration struct {
	n      int
	snap   *config.Snapshot
	signer *signer // nil without keys
}

// callTimeout bounds what a parent does at once; it starts processes at most.
const callTimeout = time.Minute

// call asks the parent for something that takes no time.
func (e *engine) call(name string, args, reply any, files ...*os.File) ([]*os.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	got, err := e.ch.Call(ctx, name, args, reply, files...)
	return got, inItsWords(err)
}

// callFile is a call that is answered with one descriptor.
func (e *engine) callFile(name string, args, reply any) (*os.File, error) {
	files, err := e.call(name, args, reply)
	switch {
	case err != nil:
		return nil, err
	case len(files) != 1:
		for _, f := range files {
			f.Close()
		}
		return nil, fmt.Errorf("%s: %d descriptors instead of one", name, len(files))
	}
	return files[0], nil
}

// maxSnapshot bounds a configuration that is handed over, in bytes.
const maxSnapshot = 512 << 20

// snapshotFile gives s as an open file of memory.
func snapshotFile(s *config.Snapshot) (*os.File, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return privsep.MemoryFile("weir.conf", text)
}

// load gets a configuration, with a signer for its keys.
func (e *engine) load(fresh bool) (cfg *config.Config, err error) {
	var l loaded
	files, err := e.call(callLoad, loadArgs{fresh}, &l)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	g := &engineGeneration{n: l.Generation}
	defer func() {
		if err != nil {
			e.forget(g)
		}
	}()
	if len(files) != 1 && !l.Signer || len(files) != 2 && l.Signer {
		return nil, fmt.Errorf("%s: %d descriptors", callLoad, len(files))
	}
	if err := json.NewDecoder(io.LimitReader(files[0], maxSnapshot)).Decode(&g.snap); err != nil {
		return nil, err
	}
	if cfg, err = g.snap.Load(e.open); err != nil {
		return nil, err
	}
	if l.Signer {
		ch, err := privsep.NewChannel(files[1], nil)
		if err != nil {
			return nil, err
		}
		g.signer = &signer{e: e, generation: g.n, ch: ch}
	}
	e.mu.Lock()
	e.gens[cfg] = g
	e.mu.Unlock()
	return cfg, nil
}

// inItsWords gives what the parent says without the name of the call, which
// means nothing to those who read it.
func inItsWords(err error) error {
	var told privsep.RemoteError
	if errors.As(err, &told) {
		return told
	}
	return err
}

// of gives what belongs to cfg, which load has given.
func (e *engine) of(cfg *config.Config) *engineGeneration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.gens[cfg]
}

// inForce tells the parent which configuration counts.
func (e *engine) inForce(cfg *config.Config) error {
	_, err := e.call(callUse, useArgs{e.of(cfg).n}, nil)
	return err
}

// drop forgets a configuration that nobody needs any more.
func (e *engine) drop(cfg *config.Config) {
	e.mu.Lock()
	g := e.gens[cfg]
	delete(e.gens, cfg)
	e.mu.Unlock()
	if g != nil {
		e.forget(g)
	}
}

// forget frees what we and the parent have for a configuration.
func (e *engine) forget(g *engineGeneration) {
	if g.signer != nil {
		g.signer.close()
	}
	e.call(callDrop, useArgs{g.n}, nil) // a parent that is gone has nothing of it
}

// ready tells the parent that the engine serves.
func (e *engine) ready() error {
	_, err := e.call(callReady, nil, nil)
	return err
}

// open opens a file of a table.
func (e *engine) open(path string) (*os.File, error) {
	return e.callFile(callOpen, openArgs{path}, nil)
}

// bind gets the sockets of l, a listener of cfg. Those of have that are bound
// to the same are given as they are.
func (e *engine) bind(cfg *config.Config, l *config.Listener, have []*listener.Socket) (socks []*listener.Socket, err error) {
	var b bound
	files, err := e.call(callBind, bindArgs{e.of(cfg).n, slices.Index(cfg.Listeners, l)}, &b)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if len(files) != len(b.Sockets) {
		return nil, fmt.Errorf("%s: %d descriptors for %d sockets", callBind, len(files), len(b.Sockets))
	}
	for i, s := range b.Sockets {
		if at := slices.IndexFunc(have, func(h *listener.Socket) bool { return h.Place() == s.Place }); at >= 0 {
			socks = append(socks, have[at])
			continue
		}
		ln, err := net.FileListener(files[i])
		if err != nil {
			return nil, err
		}
		socks = append(socks, listener.Received(ln, l, s.Place, s.Loopback))
	}
	return socks, nil
}

// control gets the control socket.
func (e *engine) control() (net.Listener, error) {
	f, err := e.callFile(callControl, nil, nil)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// User implements delivery.Rights.
func (e *engine) User(name string) (delivery.Account, error) { return e.users.lookUp(name) }

// askUser asks the parent for a user.
func (e *engine) askUser(name string) (delivery.Account, error) {
	var u foundUser
	if _, err := e.call(callUser, nameArgs{name}, &u); err != nil {
		return delivery.Account{}, err
	}
	if !u.Found {
		return delivery.Account{}, delivery.ErrNoUser
	}
	return u.User, nil
}

// Lookup implements routing.Users. Our own user has no mailbox: the parent lets
// us do nothing with rights that we have, and mail that is taken would wait in
// vain.
func (e *engine) Lookup(name string) (routing.User, error) {
	u, err := e.User(name)
	switch {
	case errors.Is(err, delivery.ErrNoUser), err == nil && int(u.UID) == os.Geteuid():
		return routing.User{}, routing.ErrNoUser
	case err != nil:
		return routing.User{}, fmt.Errorf("looking up user %q: %w", name, err)
	}
	return routing.User{Name: u.Name, UID: int(u.UID), GID: int(u.GID), Home: u.Home}, nil
}

// Forward implements routing.Files.
func (e *engine) Forward(u routing.User) (*os.File, error) {
	var f found
	a := delivery.Account{Name: u.Name, Home: u.Home, UID: uint32(u.UID), GID: uint32(u.GID)}
	files, err := e.call(callForward, a, &f)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	return files[0], nil
}

// Include implements routing.Files.
func (e *engine) Include(path string) (*os.File, error) { return e.open(path) }

// Worker implements delivery.Rights.
func (e *engine) Worker(ctx context.Context, u delivery.Account) (*net.UnixConn, error) {
	files, err := e.ch.Call(ctx, callWorker, u, nil)
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		return nil, fmt.Errorf("%s: %d descriptors", callWorker, len(files))
	}
	defer files[0].Close()
	c, err := net.FileConn(files[0])
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// Mailbox implements delivery.Rights.
func (e *engine) Mailbox(ctx context.Context, u delivery.Account) (delivery.Mailbox, error) {
	var m openMailbox
	files, err := e.ch.Call(ctx, callMailbox, u, &m)
	switch {
	case err != nil:
		return nil, err
	case m.ID == 0:
		return nil, delivery.OutcomeError(m.Outcome)
	case len(files) != 1:
		return nil, fmt.Errorf("%s: %d descriptors", callMailbox, len(files))
	}
	return &engineMailbox{e, m.ID, files[0]}, nil
}

// engineMailbox is a mailbox that the parent has opened.
type engineMailbox struct {
	e  *engine
	id uint64
	f  *os.File
}

func (m *engineMailbox) File() *os.File { return m.f }

func (m *engineMailbox) Lock() (bool, error) {
	var h held
	_, err := m.e.call(callLock, boxArgs{m.id}, &h)
	return h.Held, err
}

func (m *engineMailbox) Close() error {
	_, err := m.e.call(callRelease, boxArgs{m.id}, nil)
	return errors.Join(err, m.f.Close())
}
