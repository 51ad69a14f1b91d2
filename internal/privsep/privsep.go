// Package privsep gives the processes that the server starts their rights, and
// takes all others away.
//
// A filter is not started as it is but by way of the server's own program in
// another role: between fork and the filter's first instruction there is a
// process of ours, which enters namespaces, hides what is the server's, sets
// limits, changes user and root, and restricts itself with no_new_privs,
// Landlock and seccomp; then it becomes the filter. That process does nothing
// else. It gets what to do as one message in a pipe (spec), and says in
// another what it could not do. A program that starts filters calls Main
// before anything else, so that it can be that process.
//
// What the configuration asks for is done or the filter does not start. What
// weir does by itself is done as far as the kernel and the server's rights
// allow: the rest is told in the log, once, by Launcher.Check, and in what
// Launcher.Show gives. docs/decisions/filter-sandbox.md says what hides what.
//
// A server that root starts is itself several processes. Child starts those
// that have fewer rights, Seal is what they do first, and a Channel carries
// calls between them: typed, bounded, checked, with descriptors where something
// is handed over. The signer, which has the keys of TLS, is here; what is asked
// of the parent, and what it looks at before it does it, is package server's.
// docs/decisions/privilege-separation.md has the picture.
//
// Other systems than Linux are not supported.
package privsep

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/weirmail/weir/internal/config"
)

// DefaultUser is the user of filters that have none of their own, if the
// server is root and there is such a user.
const DefaultUser = "_weirfilter"

// Launcher starts filters. It is safe for concurrent use.
type Launcher struct {
	log   *slog.Logger
	procs []*config.Proc
	hide  []string // the server's own: the queue and the keys
	keep  []string // within hide, what everybody may use
	near  []string // beside what filters may have theirs
	*state
}

// state is what the Launchers of configurations that follow each other share.
type state struct {
	mu       sync.Mutex
	told     map[string]bool   // notes that are in the log
	running  map[int]*launched // by process id, which is also the session's
	noUserNS bool              // the system refuses user namespaces
	reaper   *reaper           // nil while there is none
	closed   bool              // there is to be none any more
	sweep    sync.Once         // of what killed servers have left
}

// launched is what was done for one process.
type launched struct {
	name  string
	spec  *spec
	start uint64 // its stat's
	scope int    // the thread that can end all of it with killScope, 0: none
	notes []string
	abi   int      // of Landlock
	tmp   *os.File // to be removed after its end, nil if nothing is
}

// New makes a Launcher for the filters of cfg. Sockets are paths within the
// queue's directory that filters may connect to, as every user may.
func New(cfg *config.Config, log *slog.Logger, sockets ...string) *Launcher {
	l := &Launcher{log: log, keep: sockets, state: &state{told: make(map[string]bool), running: make(map[int]*launched)}}
	return l.For(cfg)
}

// For makes a Launcher for the filters of another configuration. Both know of
// the processes that either has started.
func (l *Launcher) For(cfg *config.Config) *Launcher {
	next := &Launcher{log: l.log, procs: cfg.Procs, keep: l.keep, state: l.state}
	next.hide = append(next.hide, cfg.Queue.Path)
	for _, k := range cfg.PKI {
		next.hide = append(next.hide, k.Key)
	}
	slices.Sort(next.hide[1:])
	// Whoever tries the server out in /tmp has there what filters use.
	if exe, err := os.Executable(); err == nil {
		next.near = append(next.near, exe)
	}
	for _, c := range cfg.Procs {
		if conf, err := filepath.Abs(c.Pos.File); err == nil && !slices.Contains(next.near, conf) {
			next.near = append(next.near, conf)
		}
	}
	next.near = append(next.near, cfg.Queue.Path)
	return next
}

// Hidden gives what a process of c does not get to see of what is the server's
// and other filters', sorted.
func (l *Launcher) Hidden(c *config.Proc) []string { return l.hidden(c) }

// note logs what cannot be done, each once.
func (l *Launcher) note(name string, notes []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range notes {
		if !l.told[n] {
			l.told[n] = true
			l.log.Warn("filters are isolated less than they could be: "+n, "filter", name)
		}
	}
}

// spec makes what the process of c has to know. The notes say what of the
// configuration, and of what weir does by itself, the server cannot honour.
func (l *Launcher) spec(c *config.Proc, argv []string) (sp *spec, notes []string, err error) {
	s := &c.Sandbox
	sp = &spec{
		Name: c.Name, Argv: argv, Parent: os.Getpid(), Chroot: c.Chroot,
		NetworkOff: s.NetworkOff,
		Memory:     s.Memory, CPU: int64(s.CPU.Seconds()), Files: s.Files, Processes: s.Processes,
		Hide: l.hidden(c), Keep: l.keep,
	}
	home, notes, err := sp.identity(c, os.Geteuid())
	if err != nil {
		return nil, nil, err
	}
	own := slices.DeleteFunc(programs(c, argv), func(path string) bool {
		return slices.ContainsFunc(sp.Hide, func(hide string) bool { return within(filepath.Join("/", c.Chroot, path), hide) })
	})
	switch {
	case len(s.Read)+len(s.Write) > 0:
		sp.View = &view{Read: s.Read, Write: s.Write, Own: own}
	case sp.ChangeIDs && sp.UID == 0 && !sp.KeepCaps:
		sp.demote(own)
	}
	sp.Env = append(sp.Env, environment...)
	if !slices.ContainsFunc(s.Env, func(v string) bool { return len(v) > 5 && v[:5] == "HOME=" }) {
		sp.Env = append(sp.Env, "HOME="+home)
	}
	sp.Env = append(sp.Env, s.Env...) // of two, the last counts
	return sp, notes, sp.validate()
}

// environment is all that a filter inherits, besides HOME.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"LANG=C.UTF-8",
}

// shared are directories of everybody: that one filter writes there does not
// make them its own.
var shared = []string{"/", "/dev", "/dev/shm", "/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/var",
	"/var/cache", "/var/lib", "/var/log", "/var/run", "/var/spool", "/var/tmp"}

// hidden gives what c does not get to see: what is the server's, and what other
// filters write, unless c may use it too.
func (l *Launcher) hidden(c *config.Proc) []string {
	hide := slices.Clone(l.hide)
	for _, other := range l.procs {
		if other.Name == c.Name {
			continue
		}
		for _, path := range other.Sandbox.Write {
			path = filepath.Join("/", other.Chroot, path)
			if !slices.Contains(shared, path) && !slices.ContainsFunc(slices.Concat(c.Sandbox.Read, c.Sandbox.Write), func(p string) bool {
				p = filepath.Join("/", c.Chroot, p)
				return within(p, path) || within(path, p)
			}) {
				hide = append(hide, path)
			}
		}
	}
	slices.Sort(hide)
	return slices.Compact(hide)
}

// programs gives what c's own program needs to be seen: the program or script,
// files that its command names, and the directory of the first.
func programs(c *config.Proc, argv []string) []string {
	own, script := argv, 1 // our bridge, and the script that it runs
	if c.Command != "" {
		own, script = shellWords(argv[len(argv)-1]), 0
	}
	var paths, dirs []string
	for i, path := range own {
		if fi, err := os.Stat(filepath.Join("/", c.Chroot, path)); err != nil || !filepath.IsAbs(path) || !fi.Mode().IsRegular() {
			continue
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil || c.Chroot != "" {
			real = path
		}
		for _, p := range []string{filepath.Clean(path), real} {
			// A script's modules are beside it; what else the command names is
			// a file alone.
			paths = append(paths, p)
			if dir := filepath.Dir(p); i <= script && !slices.Contains(shared, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(paths)
	slices.Sort(dirs)
	return append(slices.Compact(paths), slices.Compact(dirs)...)
}

// shellWords takes the words of a command apart as far as their quotes go.
func shellWords(command string) []string {
	var words []string
	var word strings.Builder
	quote := rune(0)
	for _, c := range command + " " {
		switch {
		case c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if w := word.String(); w != "" && (w != "exec" || len(words) > 0) {
				words = append(words, w)
			}
			word.Reset()
		default:
			word.WriteRune(c)
		}
	}
	return words
}

// identity sets whose rights the process has. Only root can change them.
func (sp *spec) identity(c *config.Proc, euid int) (home string, notes []string, err error) {
	sp.UID, sp.GID = euid, os.Getegid()
	if euid != 0 {
		if me, err := user.LookupId(strconv.Itoa(euid)); c.Group != "" || c.Chroot != "" || c.User != "" && (err != nil || me.Username != c.User) {
			notes = append(notes, "not started as root, so user, group and chroot of filters are not honoured")
		}
		sp.Chroot = ""
		return "/", notes, nil
	}
	home, name := "/", c.User
	if name == "" {
		name = DefaultUser
	}
	switch u, err := user.Lookup(name); {
	case err == nil:
		home = u.HomeDir
		if err := sp.setUser(u); err != nil {
			return "", nil, fmt.Errorf("user %s: %w", name, err)
		}
	case c.User != "":
		return "", nil, err
	case errors.As(err, new(user.UnknownUserError)):
		notes = append(notes, fmt.Sprintf("there is no user %s, so filters without a user of their own are root without capabilities, "+
			"whose files are many; create it", DefaultUser))
	default:
		return "", nil, err
	}
	if c.Group != "" {
		g, err := user.LookupGroup(c.Group)
		if err != nil {
			return "", nil, err
		}
		if sp.GID, err = strconv.Atoi(g.Gid); err != nil {
			return "", nil, fmt.Errorf("group %s: %w", c.Group, err)
		}
		sp.Groups = nil
	}
	sp.ChangeIDs, sp.KeepCaps = true, c.User != "" && sp.UID == 0
	return home, notes, nil
}

// setUser makes the ids those of u.
func (sp *spec) setUser(u *user.User) error {
	var err error
	if sp.UID, err = strconv.Atoi(u.Uid); err != nil {
		return err
	}
	if sp.GID, err = strconv.Atoi(u.Gid); err != nil {
		return err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return err
	}
	for _, g := range groups {
		id, err := strconv.Atoi(g)
		if err != nil {
			return err
		}
		sp.Groups = append(sp.Groups, id)
	}
	return nil
}
