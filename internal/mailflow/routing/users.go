package routing

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"sync"
	"time"
)

// User is somebody to whom mail is delivered on this machine.
type User struct {
	Name string
	UID  int
	GID  int
	Home string // absolute path; need not exist
}

// ErrNoUser is what Users.Lookup returns for a name that nobody has.
var ErrNoUser = errors.New("no such user")

// Users finds the users of the machine. Lookup is called with names as they
// come from the network, in lower case; it returns ErrNoUser (perhaps wrapped)
// if there is none and any other error if it could not find out, which makes
// the client try later. It is safe for concurrent use.
type Users interface {
	Lookup(name string) (User, error)
}

// How SystemUsers remembers answers.
const (
	UsersTTL   = 30 * time.Second // for how long an answer counts
	UsersCache = 1024             // answers kept at once; the rest are asked for again

	maxUserName = 255 // bytes; a longer name is nobody's
)

// SystemUsers is the user database of the machine, as getpwnam(3) sees it
// (without cgo: /etc/passwd alone). Answers, the negative ones too, are kept
// for UsersTTL, so that a new user has to wait that long at most. The zero
// value is ready; it must not be copied.
type SystemUsers struct {
	mu    sync.Mutex
	known map[string]userAnswer

	lookup func(string) (*user.User, error) // tests; nil: the system's
	now    func() time.Time
}

type userAnswer struct {
	user    User
	err     error
	expires time.Time
}

// Lookup implements Users.
func (s *SystemUsers) Lookup(name string) (User, error) {
	if !PlausibleUser(name) {
		return User{}, ErrNoUser
	}
	now := s.clock()
	s.mu.Lock()
	a, ok := s.known[name]
	s.mu.Unlock()
	if ok && now.Before(a.expires) {
		return a.user, a.err
	}
	u, err := s.ask(name)
	if err != nil && !errors.Is(err, ErrNoUser) {
		return User{}, err // a fault is not remembered: the next mail asks again
	}
	s.remember(name, userAnswer{user: u, err: err, expires: now.Add(UsersTTL)}, now)
	return u, err
}

func (s *SystemUsers) clock() time.Time {
	if s.now != nil {
		return s.now()
	}
	return time.Now()
}

// remember keeps a. Names come from strangers, so a full cache is emptied of
// what is stale and, if that is not enough, of everything.
func (s *SystemUsers) remember(name string, a userAnswer, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[string]userAnswer)
	}
	if len(s.known) >= UsersCache {
		for n, old := range s.known {
			if !now.Before(old.expires) {
				delete(s.known, n)
			}
		}
		if len(s.known) >= UsersCache {
			clear(s.known)
		}
	}
	s.known[name] = a
}

func (s *SystemUsers) ask(name string) (User, error) {
	lookup := s.lookup
	if lookup == nil {
		lookup = user.Lookup
	}
	u, err := lookup(name)
	if err != nil {
		var unknown user.UnknownUserError
		if errors.As(err, &unknown) {
			return User{}, ErrNoUser
		}
		return User{}, fmt.Errorf("looking up user %q: %w", name, err)
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if err := errors.Join(errUID, errGID); err != nil {
		return User{}, fmt.Errorf("user %q has no numeric ids: %w", name, err)
	}
	return User{Name: u.Username, UID: uid, GID: gid, Home: u.HomeDir}, nil
}

// PlausibleUser reports whether name can be a user: it keeps from the user database what cannot be a name there:
// separators of its files, control bytes, the + and - of NIS.
func PlausibleUser(name string) bool {
	if name == "" || len(name) > maxUserName || name[0] == '+' || name[0] == '-' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c == ':' || c == '/' || c == ',' || c == 0x7f {
			return false
		}
	}
	return true
}
