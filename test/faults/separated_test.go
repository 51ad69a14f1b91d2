package faults

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// newSeparatedHouse is newHouse with a server that is started as root and gives
// its rights up. It borrows users that Debian has.
func newSeparatedHouse(t *testing.T, config string, filters ...string) *house {
	t.Helper()
	const engine, recipient = "irc", "games"
	if os.Getuid() != 0 {
		t.Skip("a server gives up rights only if it has them: run the test as root")
	}
	u, err := user.Lookup(recipient)
	if _, err2 := user.Lookup(engine); err != nil || err2 != nil {
		t.Skipf("the test borrows users: %v", errors.Join(err, err2))
	}
	uid, _ := strconv.Atoi(u.Uid)
	dir := t.TempDir()
	h := &house{mail: filepath.Join(dir, "mail"), separated: true}
	err = errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.Mkdir(h.mail, 0o700), os.Chown(h.mail, uid, -1))
	if err != nil {
		t.Fatal(err)
	}
	return startHouse(t, h, dir, config+"queue user "+engine+"\n", fmt.Sprintf("alice = \"%s:%s:%s\"", u.Uid, u.Gid, h.mail), filters...)
}

// engine gives the process that has the sessions.
func (h *house) engine(t *testing.T) int {
	t.Helper()
	if !h.separated {
		return h.PID()
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		stat, _ := os.ReadFile(dir + "/stat")
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(h.PID()) && strings.HasPrefix(string(cmdline), "weir: engine") {
			n, _ := strconv.Atoi(filepath.Base(dir))
			return n
		}
	}
	t.Fatal("there is no engine")
	return 0
}
