package table

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm/shacrypt"
	"golang.org/x/crypto/bcrypt"
)

// fallbackDummy is what passwords are compared with if a table has no usable
// hash at all: bcrypt at its usual cost, of a password nobody has.
const fallbackDummy = "$2b$10$hIJ4QfMcp.90nJwKqGbKM.7eWZJZkGq5cO5bC4xM5OQ0m7pQb3h1e"

var errNotHash = errors.New("not a password hash; expected one of bcrypt ($2b$), sha512crypt ($6$) or sha256crypt ($5$)")

// Authenticate reports whether password is the one of user, whose value in
// the table is a hash of bcrypt ($2a$, $2b$, $2y$) or of crypt(3) with SHA-512
// ($6$) or SHA-256 ($5$). A user that is not in the table takes as long as a
// wrong password. The error, which is never about a wrong password, says that
// the table's entry is no such hash: plain text authenticates nobody.
func (t *Table) Authenticate(user, password string) (bool, error) {
	s := t.current()
	i, known := s.index[fold(user)]
	if !known {
		// The answer is no; asking takes the time that a known user takes.
		_, _ = verify(s.dummy(), password)
		return false, nil
	}
	ok, err := verify(s.entries[i].Value, password)
	if err != nil {
		return false, fmt.Errorf("table %s: user %q: %w", t.name, user, err)
	}
	return ok, nil
}

// CheckCredentials reports the first entry whose value is not a hash that
// Authenticate knows. It does not repeat the value: it may be a password.
func (t *Table) CheckCredentials() error {
	return t.check("credentials", func(p Pair) (string, error) { return p.Key, checkHash(p.Value) })
}

func (s *snapshot) pickDummy() string {
	for _, e := range s.entries {
		if checkHash(e.Value) == nil {
			return e.Value
		}
	}
	return fallbackDummy
}

func isBcrypt(hash string) bool {
	return strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$")
}

func isSHACrypt(hash string) bool {
	return strings.HasPrefix(hash, "$5$") || strings.HasPrefix(hash, "$6$")
}

func checkHash(hash string) error {
	var err error
	switch {
	case isBcrypt(hash):
		_, err = bcrypt.Cost([]byte(hash))
	case isSHACrypt(hash):
		_, err = shacrypt.Decode(hash)
	default:
		return errNotHash
	}
	if err != nil {
		return errors.New("a password hash that is damaged")
	}
	return nil
}

func verify(hash, password string) (bool, error) {
	switch {
	case isBcrypt(hash):
		err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
		if err == nil || errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return err == nil, nil
		}
		return false, err
	case isSHACrypt(hash):
		d, err := shacrypt.Decode(hash)
		if err != nil {
			return false, err
		}
		return d.MatchAdvanced(password)
	}
	return false, errNotHash
}

// Userinfo is a user of a userbase table.
type Userinfo struct {
	UID  uint32
	GID  uint32
	Home string // absolute path
}

// ParseUserinfo reads the value of a userbase table, "uid:gid:home".
func ParseUserinfo(s string) (Userinfo, error) {
	parts := strings.SplitN(s, ":", 3)
	if len(parts) == 3 && strings.HasPrefix(parts[2], "/") {
		uid, err1 := strconv.ParseUint(parts[0], 10, 32)
		gid, err2 := strconv.ParseUint(parts[1], 10, 32)
		if err1 == nil && err2 == nil {
			return Userinfo{UID: uint32(uid), GID: uint32(gid), Home: parts[2]}, nil
		}
	}
	return Userinfo{}, errors.New("not a user; expected uid:gid:home, as in 1000:1000:/home/joe")
}

// CheckUserinfo reports the first entry whose value is not "uid:gid:home".
func (t *Table) CheckUserinfo() error {
	return t.check("userinfo", func(p Pair) (string, error) {
		_, err := ParseUserinfo(p.Value)
		return p.Value, err
	})
}
