package delivery

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/weirmail/weir/internal/table"
)

// fallbackUser runs commands and opens files of aliases that name no user.
const fallbackUser = "nobody"

// account is a user as delivery needs it.
type account struct {
	name   string
	home   string
	uid    uint32
	gid    uint32
	groups []uint32
	given  bool // named in the configuration: "user" or userbase
}

// lookUpUsers fills in t.user and t.run. Lookups are made at each attempt, so
// that a user who was added, or whose database was away, is found later.
func (a *Agent) lookUpUsers(t *attempt) error {
	name := t.env.Local.User
	if t.act.User != "" {
		run, err := a.systemUser(t.act.User)
		if err != nil {
			return a.deliveryUserError(t, err)
		}
		run.given = true
		t.run = run
	}
	switch {
	case t.act.User != "" && (name == "" || name == t.act.User):
		t.user = t.run // smtpd.conf(5): userbase does not apply to user
		return nil
	case name == "" && !a.root:
		return a.asCaller(t, "")
	case name == "":
		name = fallbackUser
	}
	found, err := a.lookUpUser(name, t.act.Userbase)
	switch {
	case err == nil:
	case errors.Is(err, errNoUser) && t.act.User != "":
		// A virtual user, whom only the user of the action knows.
		found = account{name: name, home: t.run.home}
	case errors.Is(err, errNoUser) && !a.root && (t.env.Local.File != "" || t.env.Local.Command != ""):
		return a.asCaller(t, name)
	case errors.Is(err, errNoUser):
		return failed("5.1.1", "user %q does not exist", name)
	default:
		return deferred("4.3.0", "cannot look up user %q: %w", name, err)
	}
	t.user = found
	if t.act.User == "" {
		t.run = found
	}
	return nil
}

func (a *Agent) deliveryUserError(t *attempt, err error) error {
	if errors.Is(err, errNoUser) {
		// An error of the configuration, not of the recipient.
		return deferred("4.3.5", "action %q: user %q does not exist; create the user or change the action", t.act.Name, t.act.User)
	}
	return deferred("4.3.0", "action %q: cannot look up user %q: %w", t.act.Name, t.act.User, err)
}

// asCaller makes the caller of this process the one who receives.
func (a *Agent) asCaller(t *attempt, name string) error {
	u, err := user.Current()
	if err != nil {
		return deferred("4.3.0", "cannot look up the user that weir runs as: %w", err)
	}
	if name == "" {
		name = u.Username
	}
	t.user = account{name: name, home: u.HomeDir, uid: uint32(os.Getuid()), gid: uint32(os.Getgid())}
	t.run = t.user
	return nil
}

var errNoUser = errors.New("no such user")

// lookUpUser finds name in the userbase table, or in the system's database if
// there is none.
func (a *Agent) lookUpUser(name string, base *table.Table) (account, error) {
	if base == nil {
		return a.systemUser(name)
	}
	v, ok := base.Lookup(name)
	if !ok {
		return account{}, errNoUser
	}
	info, err := table.ParseUserinfo(v)
	if err != nil {
		return account{}, fmt.Errorf("userbase table %q: %w", base.Name(), err)
	}
	return account{name: name, home: info.Home, uid: info.UID, gid: info.GID, groups: []uint32{info.GID}, given: true}, nil
}

// systemUser finds name in the system's user database, groups included.
func systemUser(name string) (account, error) {
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	switch {
	case errors.As(err, &unknown):
		return account{}, errNoUser
	case err != nil:
		return account{}, err
	}
	acc := account{name: u.Username, home: u.HomeDir}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return account{}, fmt.Errorf("user database: %w", err)
	}
	acc.uid, acc.gid = uint32(uid), uint32(gid)
	ids, err := u.GroupIds()
	if err != nil {
		return account{}, fmt.Errorf("groups: %w", err)
	}
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("groups: %w", err)
		}
		acc.groups = append(acc.groups, uint32(n))
	}
	return acc, nil
}
