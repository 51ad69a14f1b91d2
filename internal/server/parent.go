package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/mailflow/listener"
	"github.com/weirmail/weir/internal/privsep"
)

// DefaultUser runs the engine and owns the queue, if there is such a user.
const DefaultUser = "_weir"

// ParentOptions is what a Parent needs besides its configuration.
type ParentOptions struct {
	Log     *slog.Logger
	Debug   bool // the engine logs every event
	Version string
	Grace   time.Duration // 0: DefaultGrace
	Strict  bool          // as in Options; an engine that follows a crash is not held to it

	// Load reads the configuration again.
	Load func() (*config.Config, *config.Snapshot, error)
}

// Parent is the process that keeps root's rights. It binds sockets, opens
// files and starts processes for the engine, which has none and does all else.
// It reads no mail.
type Parent struct {
	opt      ParentOptions
	log      *slog.Logger
	id       privsep.Identity // the engine's
	dir      string           // of the queue
	launcher *privsep.Launcher
	programs filter.Programs
	users    accounts
	engine   *privsep.Running // guarded by mu

	mu      sync.Mutex
	gens    map[int]*parentGeneration
	last    int // generation
	inForce int // generation
	sockets []*listener.Socket
	control net.Listener
	ready   bool        // the engine serves
	served  atomic.Bool // an engine has served
	hungUp  bool        // no engine has read the configuration again as it was told
	filters map[uint64]*filterRun
	boxes   map[uint64]*delivery.SystemMailbox
	lastID  uint64 // of filters and boxes

	beginning map[string]int // filters' processes that are being started
	workers   map[string]*workers

	starting sync.Mutex // a worker is being started

	signing sync.Mutex // a signer is being started
	signers int        // that run; guarded by signing
}

// Separate says whether a server of cfg can give up its rights, and to whom.
// The note is for the log, if it cannot and should. The error is that of a
// configuration that names a user who does not exist.
func Separate(cfg *config.Config) (id privsep.Identity, ok bool, note string, err error) {
	name := cfg.Queue.User
	if os.Geteuid() != 0 || name == "root" {
		return id, false, "", nil
	}
	if name == "" {
		name = DefaultUser
	}
	u, err := delivery.LookUp(name)
	switch {
	case errors.Is(err, delivery.ErrNoUser) && cfg.Queue.User == "":
		return id, false, fmt.Sprintf("there is no user %s, so all of the server runs as root; create it (see weir(8)), or name another with: queue user NAME", name), nil
	case err != nil:
		return id, false, "", fmt.Errorf("%squeue user %q: %w", queueUserPlace(cfg), name, err)
	case u.UID == 0:
		return id, false, "", fmt.Errorf("%squeue user %q has root's id; name it root if that is meant", queueUserPlace(cfg), name)
	}
	return privsep.Identity{UID: u.UID, GID: u.GID, Groups: []uint32{u.GID}}, true, "", nil
}

// queueUserPlace begins an error about the queue user with its place in the configuration,
// if it stands there.
func queueUserPlace(cfg *config.Config) string {
	if cfg.Queue.User == "" {
		return ""
	}
	return cfg.Queue.UserPos.String() + ": "
}

// NewParent makes a Parent whose engine is to be id. It binds what cfg listens
// on and makes the queue's directory the engine's.
func NewParent(cfg *config.Config, snap *config.Snapshot, id privsep.Identity, opt ParentOptions) (*Parent, error) {
	if opt.Grace == 0 {
		opt.Grace = DefaultGrace
	}
	dir := cfg.Queue.Path
	p := &Parent{
		opt: opt, log: opt.Log, id: id, dir: dir, launcher: privsep.New(cfg, opt.Log, filepath.Join(dir, SMTPSocket)),
		users:    accounts{ask: delivery.LookUp},
		programs: filter.Programs{PythonBridge: findBridge("python"), PerlBridge: findBridge("perl")},
		gens:     make(map[int]*parentGeneration), filters: make(map[uint64]*filterRun),
		boxes: make(map[uint64]*delivery.SystemMailbox), workers: make(map[string]*workers),
	}
	var err error
	if p.inForce, err = p.add(cfg, snap); err == nil {
		err = p.open(cfg)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// open prepares the queue's directory and binds the sockets.
func (p *Parent) open(cfg *config.Config) error {
	if err := os.MkdirAll(p.dir, queueMode); err != nil {
		return fmt.Errorf("queue path: %w", err)
	}
	if err := syncDir(filepath.Dir(p.dir)); err != nil {
		return fmt.Errorf("queue path: %w", err)
	}
	if err := awaitLock(p.dir); err != nil {
		return err
	}
	if err := p.own(); err != nil {
		return fmt.Errorf("queue path: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	for i := range cfg.Listeners {
		if _, err := p.bind(ctx, p.gens[p.inForce], i); err != nil {
			return err
		}
	}
	var err error
	p.control, err = admin.Listen(filepath.Join(p.dir, admin.Socket))
	return err
}

// syncDir makes the entries of a directory durable, where there is something
// to do for that.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// lockPatience is how long a start waits for a server that is ending.
const lockPatience = 3 * time.Second

// awaitLock waits until no process has the queue. An engine that was killed
// with its parent may take a moment to be gone.
func awaitLock(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for end := time.Now().Add(lockPatience); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err // the lock goes with the descriptor
		}
		if time.Now().After(end) {
			return fmt.Errorf("queue in %s: another server uses it; stop that one, or give this one another queue path", dir)
		}
	}
}

// own gives the engine the directory, and what is in it if a server that was
// root has made it. The directory comes last: as long as it is root's, only
// root has put anything there, so that no link leads elsewhere.
func (p *Parent) own() error {
	var st unix.Stat_t
	if err := unix.Lstat(p.dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: p.dir, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a directory", p.dir)
	case st.Uid == p.id.UID:
		return nil
	case st.Uid != 0:
		return fmt.Errorf("%s belongs to user id %d; it must belong to the queue user (%d) or root", p.dir, st.Uid, p.id.UID)
	}
	return filepath.WalkDir(p.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == p.dir {
			return err
		}
		return os.Lchown(path, int(p.id.UID), int(p.id.GID))
	})
}

// How an engine that has crashed is started again.
const (
	firstEnginePause   = 100 * time.Millisecond // doubled each time
	longestEnginePause = time.Minute
	healthyEngine      = time.Minute // one that served for so long begins anew with the first pause
)

// Run starts the engine, and starts it again when it crashes, until ctx ends
// and the engine with it. An engine that never served is an error.
func (p *Parent) Run(ctx context.Context) error {
	defer p.close()
	if err := os.Chown(p.dir, int(p.id.UID), int(p.id.GID)); err != nil {
		return err
	}
	for pause := firstEnginePause; ; pause = min(2*pause, longestEnginePause) {
		began := time.Now()
		how, err := p.live(ctx)
		if err != nil {
			how = err.Error()
		}
		switch {
		case ctx.Err() != nil:
			return err
		case !p.served.Load():
			return fmt.Errorf("the server did not start: %s", how)
		}
		if time.Since(began) >= healthyEngine {
			pause = firstEnginePause
		}
		p.log.Error("the engine has ended and is started again", "status", how, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// live is the life of one engine and of what was started for it.
func (p *Parent) live(ctx context.Context) (how string, err error) {
	end, child, err := privsep.SocketPair()
	if err != nil {
		return "", err
	}
	ch, err := privsep.NewChannel(end, p.answer)
	if err != nil {
		child.Close()
		return "", err
	}
	defer ch.Close()
	args, err := json.Marshal(engineArgs{Debug: p.opt.Debug, Version: p.opt.Version, Grace: int64(p.opt.Grace), Strict: p.opt.Strict && !p.served.Load()})
	if err != nil {
		child.Close()
		return "", err
	}
	c := privsep.Child{
		Role: engineRole, Args: []string{string(args)}, Files: []*os.File{child}, Identity: p.id, Confined: true,
		Env:  []string{"TMPDIR=" + p.dir, "SQLITE_TMPDIR=" + p.dir, "LANG=C.UTF-8"},
		Read: privsep.EngineFiles(), Write: []string{p.dir},
	}
	r, err := c.Start() // it may be ready before we know of it
	child.Close()
	if err != nil {
		return "", err
	}
	for _, n := range r.Notes {
		p.log.Warn("the server is isolated less than it could be: " + n)
	}
	p.mu.Lock()
	p.engine = r
	p.hangup()
	p.mu.Unlock()
	defer p.bury()
	stop := context.AfterFunc(ctx, func() {
		r.Signal(syscall.SIGTERM)
		p.closeSockets(nil)
		p.control.Close() // who calls now is told that there is no server, and waits for none
	})
	<-r.Done
	if !stop() && r.State != "exit status 0" {
		err = fmt.Errorf("the engine ended: %s", r.State)
	}
	return r.State, err
}

// Hangup has the engine read its configuration again. If there is none, or it
// is still starting, or ends before it has done so, it is the next that does.
func (p *Parent) Hangup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hungUp = true
	p.hangup()
}

// hangup does that when there is an engine that serves; the caller has mu.
func (p *Parent) hangup() {
	if p.hungUp && p.engine != nil && p.ready {
		p.engine.Signal(syscall.SIGHUP)
	}
}

// serves notes that the engine serves, and hears signals.
func (p *Parent) serves() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = true
	p.served.Store(true)
	p.hangup()
}

// burialTime bounds the wait for what an engine has left behind.
const burialTime = 3 * time.Second

// bury ends what was started for an engine that has ended, so that the next
// finds nothing of it: filters, and deliveries, which end by themselves.
func (p *Parent) bury() {
	p.mu.Lock()
	p.engine, p.ready = nil, false
	for n := range p.gens {
		if n != p.inForce {
			delete(p.gens, n)
		}
	}
	for id, b := range p.boxes {
		b.Close()
		delete(p.boxes, id)
	}
	limit := time.NewTimer(burialTime)
	defer limit.Stop()
	left := make([]<-chan struct{}, 0, len(p.filters)+len(p.workers))
	for id, f := range p.filters {
		f.Signal(syscall.SIGKILL)
		left = append(left, f.done)
		delete(p.filters, id)
	}
	for _, w := range p.workers {
		left = append(left, w.Done)
	}
	p.mu.Unlock()
	for _, done := range left {
		select {
		case <-done:
		case <-limit.C:
			return
		}
	}
}

// closeSockets closes those sockets that keep has not.
func (p *Parent) closeSockets(keep func(*listener.Socket) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var kept []*listener.Socket
	for _, s := range p.sockets {
		if keep != nil && keep(s) {
			kept = append(kept, s)
		} else {
			s.Close()
		}
	}
	p.sockets = kept
}

// close frees what open made.
func (p *Parent) close() {
	p.closeSockets(nil)
	if p.control != nil {
		p.control.Close()
	}
	p.launcher.Close()
}
