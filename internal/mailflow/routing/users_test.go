package routing

import (
	"errors"
	"fmt"
	"os/user"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSystemUsers(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	var s SystemUsers
	u, err := s.Lookup(me.Username)
	if err != nil || fmt.Sprint(u.UID) != me.Uid || fmt.Sprint(u.GID) != me.Gid || u.Home != me.HomeDir || u.Name != me.Username {
		t.Errorf("%+v, %v; want %+v", u, err, me)
	}
	if _, err := s.Lookup("no-such-user-here"); !errors.Is(err, ErrNoUser) {
		t.Errorf("nobody: %v", err)
	}
}

// database is a user database that counts.
type database struct {
	mu    sync.Mutex
	asked map[string]int
	err   error
}

func (d *database) lookup(name string) (*user.User, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked[name]++
	switch {
	case d.err != nil:
		return nil, d.err
	case name == "alice":
		return &user.User{Username: name, Uid: "1000", Gid: "100", HomeDir: "/home/alice"}, nil
	case name == "odd":
		return &user.User{Username: name, Uid: "S-1-5", Gid: "100"}, nil
	}
	return nil, user.UnknownUserError(name)
}

func TestSystemUsersCache(t *testing.T) {
	db := &database{asked: map[string]int{}}
	now := time.Unix(1000, 0)
	s := &SystemUsers{lookup: db.lookup, now: func() time.Time { return now }}
	check := func(name string, wantErr error, asked int) {
		t.Helper()
		if _, err := s.Lookup(name); !errors.Is(err, wantErr) || db.asked[name] != asked {
			t.Errorf("%s: error %v, asked %d times; want %v, %d", name, err, db.asked[name], wantErr, asked)
		}
	}
	check("alice", nil, 1)
	check("nosuch", ErrNoUser, 1)
	now = now.Add(UsersTTL - 1)
	check("alice", nil, 1)
	check("nosuch", ErrNoUser, 1)
	now = now.Add(1)
	check("alice", nil, 2)
	check("nosuch", ErrNoUser, 2)

	now = now.Add(UsersTTL)
	db.err = errors.New("down")
	check("alice", db.err, 3)
	check("alice", db.err, 4) // a failure is not kept
	db.err = nil
	check("alice", nil, 5)
	if _, err := s.Lookup("odd"); err == nil || errors.Is(err, ErrNoUser) {
		t.Errorf("ids that are no numbers: %v", err)
	}
}

func TestSystemUsersBound(t *testing.T) {
	db := &database{asked: map[string]int{}}
	now := time.Unix(1000, 0)
	s := &SystemUsers{lookup: db.lookup, now: func() time.Time { return now }}
	for i := range 3 * UsersCache {
		s.Lookup(fmt.Sprintf("spam%d", i))
		if len(s.known) > UsersCache {
			t.Fatalf("%d names kept, the limit is %d", len(s.known), UsersCache)
		}
		if i == UsersCache-1 && len(s.known) != UsersCache {
			t.Fatalf("%d names kept of %d", len(s.known), UsersCache)
		}
	}
	// What is stale goes before what is not.
	now = now.Add(UsersTTL)
	for i := 0; len(s.known) < UsersCache; i++ {
		s.Lookup(fmt.Sprintf("fill%d", i))
	}
	now = now.Add(1)
	s.Lookup("alice")
	s.Lookup("fill0")
	if db.asked["fill0"] != 1 {
		t.Errorf("a fresh answer went with the stale ones")
	}
}

func TestPlausibleUser(t *testing.T) {
	db := &database{asked: map[string]int{}}
	s := &SystemUsers{lookup: db.lookup}
	long := strings.Repeat("a", maxUserName)
	for _, name := range []string{"", "+", "-x", "alice:x", "a/b", "a b", "a\x00", "a\n", "a,b", "a\x7f", long + "a"} {
		if _, err := s.Lookup(name); !errors.Is(err, ErrNoUser) || db.asked[name] != 0 {
			t.Errorf("%q: %v, asked %d times", name, err, db.asked[name])
		}
	}
	if s.Lookup(long); db.asked[long] != 1 {
		t.Errorf("a name of %d bytes was not asked for", maxUserName)
	}
}
