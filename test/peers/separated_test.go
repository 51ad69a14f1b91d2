package peers

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/smtp"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/weirmail/weir/test/weirtest"
)

// separatedReloads is how many TestReloadSeparated makes: such a server differs
// in how it starts filters, opens files, binds and signs.
const separatedReloads = 9

// reloadUsers are the users of a server in several processes. The zero value is
// that of a server in one.
type reloadUsers struct{ engine, filter, recipient string }

func (u reloadUsers) separate() bool { return u.engine != "" }

// words gives what the configuration says because of the users: of the server,
// of filters, of the listener.
func (u reloadUsers) words(dir string) (server, filter, listener string) {
	if !u.separate() {
		return "", "", ""
	}
	return fmt.Sprintf("queue user %[2]s\npki mx.example.test cert \"%[1]s/cert.pem\"\npki mx.example.test key \"%[1]s/key.pem\"", dir, u.engine),
		"user " + u.filter, "tls pki mx.example.test"
}

// startTLS has the configuration's signer sign, if there is one.
func (u reloadUsers) startTLS(c *smtp.Client) error {
	if !u.separate() {
		return nil
	}
	return c.StartTLS(&tls.Config{InsecureSkipVerify: true})
}

// TestReloadSeparated is TestReload with a server that is started as root and
// gives its rights up.
func TestReloadSeparated(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a server gives up rights only if it has them: run the test as root")
	}
	users := reloadUsers{engine: "irc", filter: "list", recipient: "games"} // Debian has them
	for _, name := range []string{users.engine, users.filter, users.recipient} {
		if _, err := user.Lookup(name); err != nil {
			t.Skipf("the test borrows user %s: %v", name, err)
		}
	}
	b := newReloadBed(t, users)
	b.run(separatedReloads)
	eventually(t, "there are no more signers and engines than one each", func() error {
		for _, role := range []string{"weir: engine", "weir: signer", "weir: reaper"} {
			if n := len(b.roles()[role]); n != 1 {
				return fmt.Errorf("%d of %s", n, role)
			}
		}
		return nil
	})
}

// separate makes the place fit for several users.
func (b *reloadBed) separate() {
	b.t.Helper()
	weirtest.Certificate(b.t, b.dir, "mx.example.test")
	u, err := user.Lookup(b.users.recipient)
	if err != nil {
		b.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	mail, home := filepath.Join(b.dir, "mail"), filepath.Join(b.dir, "home")
	err = errors.Join(os.Chmod(filepath.Dir(b.dir), 0o755), os.Chmod(b.dir, 0o755),
		os.Mkdir(mail, 0o700), os.Chown(mail, uid, -1), os.Mkdir(home, 0o700), os.Chown(home, uid, -1))
	if err != nil {
		b.t.Fatal(err)
	}
	b.userbase = fmt.Sprintf("alice = \"%s:%s:%s\"", u.Uid, u.Gid, home)
}

// processes gives the processes of the server that keep sockets and files.
func (b *reloadBed) processes() []int {
	if !b.users.separate() {
		return []int{b.PID()}
	}
	return append(b.roles()["weir: engine"], b.PID())
}

// roles gives the children of the server by their names.
func (b *reloadBed) roles() map[string][]int {
	all := make(map[string][]int)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(b.PID()) {
			continue
		}
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		name, _, _ := strings.Cut(string(cmdline), "\x00")
		pid, _ := strconv.Atoi(filepath.Base(dir))
		all[name] = append(all[name], pid)
	}
	return all
}
