// Package separation runs the real weir as root and looks at what its
// processes may do. It creates no users: it borrows those that every Debian
// has. Without root it has nothing to test and says so.
package separation

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/smtp"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/test/weirtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	weirtest.Clean()
	os.Exit(code)
}

// The users that are borrowed.
const (
	engineUser    = "irc"
	filterUser    = "list"
	recipientUser = "games"
)

const limit = time.Minute

// house is a server in several processes.
type house struct {
	*weirtest.Server
	dir  string
	port int
	box  string // name of a user with a system mailbox
	uid  map[string]string
}

func newHouse(t testing.TB) *house { t.Helper(); return newHouseOf(t, engineUser) }

// newHouseOf is a house whose queue is a user's; as root's it is one process.
func newHouseOf(t testing.TB, engine string) *house {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a server gives up rights only if it has them: run the test as root")
	}
	h := &house{dir: t.TempDir(), port: weirtest.FreePort(t), box: fmt.Sprintf("weirtest%d", os.Getpid()), uid: map[string]string{}}
	gid := ""
	for _, name := range []string{engineUser, filterUser, recipientUser} {
		u, err := user.Lookup(name)
		if err != nil {
			t.Skipf("the test borrows user %s: %v", name, err)
		}
		h.uid[name], gid = u.Uid, u.Gid
	}
	// Users must get to their homes.
	for _, dir := range []string{filepath.Dir(h.dir), h.dir} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	uid, _ := strconv.Atoi(h.uid[recipientUser])
	var base []string
	for _, name := range []string{"alice", "bob", "carol", "dora", h.box} {
		home := filepath.Join(h.dir, name)
		err := errors.Join(os.Mkdir(home, 0o700), os.Chown(home, uid, -1))
		if err != nil {
			t.Fatal(err)
		}
		base = append(base, fmt.Sprintf("%q = \"%s:%s:%s\"", name, h.uid[recipientUser], gid, home))
	}
	forward := filepath.Join(h.dir, "carol", ".forward")
	write(t, forward, "\"|cat >~/forwarded\"\n", 0o600)
	if err := os.Chown(forward, uid, -1); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(h.dir, "members"), "alice\n", 0o600)
	write(t, filepath.Join(h.dir, "aliases"), "team: :include:"+h.dir+"/members\n", 0o600)
	weirtest.Certificate(t, h.dir, "mx.example.test")
	os.Chmod(h.dir, 0o755)
	if out, err := exec.Command("go", "build", "-o", h.dir+"/pass", "github.com/weirmail/weir/filters/passthrough").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { os.Remove("/var/mail/" + h.box) })
	h.Server = weirtest.Start(t, h.dir, strings.NewReplacer("@DIR@", h.dir, "@PORT@", strconv.Itoa(h.port), "@USERS@", strings.Join(base, ", ")).Replace(`
queue user "`+engine+`"
pki mx.example.test cert "@DIR@/cert.pem"
pki mx.example.test key "@DIR@/key.pem"
filter pass proc-exec "@DIR@/pass" user "`+filterUser+`"
table users { @USERS@ }
table aliases "file:@DIR@/aliases"
smtp limit max-mails 1000000
listen on 127.0.0.1 port @PORT@ tls pki mx.example.test hostname mx.example.test filter pass
action "maildir" maildir "~/Maildir" userbase <users> alias <aliases>
action "mda" mda "(id -u; cat) >~/mda" userbase <users>
action "mbox" mbox userbase <users>
action "system" maildir
match from any for domain "maildir.test" action "maildir"
match from any for domain "mda.test" action "mda"
match from any for domain "mbox.test" action "mbox"
match from any for domain "system.test" action "system"
`), h.port)
	return h
}

func write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// send sends a message by TLS.
func (h *house) send(t *testing.T, rcpt, text string) {
	t.Helper()
	c, err := smtp.Dial(fmt.Sprintf("127.0.0.1:%d", h.port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Fatalf("STARTTLS: %v", err)
	}
	if err := mail(c, rcpt, text, text); err != nil {
		t.Fatalf("mail to %s: %v", rcpt, err)
	}
}

func mail(c *smtp.Client, rcpt, subject, body string) error {
	if err := c.Mail("sender@example.net"); err != nil {
		return err
	}
	if err := c.Rcpt(rcpt); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte("Subject: " + subject + "\r\n\r\n" + body + "\r\n")); err != nil {
		return err
	}
	return w.Close()
}

// owned reads a file that must belong to the recipients' user.
func (h *house) owned(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return ""
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if uid := fmt.Sprint(fi.Sys().(*syscall.Stat_t).Uid); uid != h.uid[recipientUser] {
		t.Errorf("%s belongs to %s, not to its recipient %s", path, uid, h.uid[recipientUser])
	}
	return string(b)
}

// processes gives the server's children by their argv[0].
func (h *house) processes(t *testing.T) map[string]int {
	t.Helper()
	all := map[string]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(h.PID()) {
			continue
		}
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		argv0, _, _ := strings.Cut(string(cmdline), "\x00")
		all[argv0], _ = strconv.Atoi(filepath.Base(dir))
	}
	return all
}

// status gives the words of /proc/PID/status.
func status(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	st := map[string]string{}
	for line := range strings.Lines(string(text)) {
		word, value, _ := strings.Cut(line, ":")
		st[word] = strings.Join(strings.Fields(value), " ")
	}
	return st
}

// libraryOwn are the signals that the C library keeps for itself, 32 and 33: its
// posix_spawn leaves them ignored, and who is started by make inherits that.
const libraryOwn = 1<<31 | 1<<32

// TestSeparation: mail goes all its ways, as its recipients, and the processes
// are what the design says.
func TestSeparation(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0)) // what the server is not to leave to its children
	h := newHouse(t)
	h.send(t, "alice@maildir.test", "one")
	h.send(t, "team@maildir.test", "two")
	h.send(t, "carol@maildir.test", "three")
	h.send(t, "bob@mda.test", "four")
	h.send(t, h.box+"@mbox.test", "five")
	h.Drained(t, limit)

	files, _ := filepath.Glob(h.dir + "/alice/Maildir/new/*")
	if len(files) != 2 {
		t.Errorf("alice has %d mails, want one of her own and one by the alias", len(files))
	}
	for _, f := range files {
		h.owned(t, f)
	}
	for path, want := range map[string]string{
		h.dir + "/carol/forwarded": "three\n", h.dir + "/bob/mda": "four\n", "/var/mail/" + h.box: "five\n",
	} {
		if text := h.owned(t, path); !strings.Contains(text, want) {
			t.Errorf("%s has %q, want %q in it", path, text, want)
		}
	}
	if text := h.owned(t, h.dir+"/bob/mda"); !strings.HasPrefix(text, h.uid[recipientUser]+"\n") {
		t.Errorf("the command ran as %.10q", text)
	}

	procs := h.processes(t)
	for name, uid := range map[string]string{"weir: engine": h.uid[engineUser], "weir: signer": h.uid[engineUser], h.dir + "/pass": h.uid[filterUser]} {
		pid := procs[name]
		if pid == 0 {
			t.Errorf("there is no process %q among %v", name, procs)
			continue
		}
		st := status(t, pid)
		for word, want := range map[string]string{
			"Uid": strings.Join([]string{uid, uid, uid, uid}, " "), "NoNewPrivs": "1", "Seccomp": "2",
			"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapBnd": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
		} {
			if st[word] != want {
				t.Errorf("%s: %s is %q, want %q", name, word, st[word], want)
			}
		}
		if strings.Contains(" "+st["Groups"]+" ", " 0 ") {
			t.Errorf("%s is in root's group: %q", name, st["Groups"])
		}
	}
	// The parent itself has given up nothing for them, nor what it makes to all.
	parent := status(t, h.PID())
	if parent["NoNewPrivs"] != "0" || strings.Trim(parent["CapBnd"], "0") == "" || parent["Uid"] != "0 0 0 0" {
		t.Errorf("the parent has no_new_privs %s, bounding set %s, uids %s", parent["NoNewPrivs"], parent["CapBnd"], parent["Uid"])
	}
	for name, pid := range procs {
		st := status(t, pid)
		ignored, err := strconv.ParseUint(st["SigIgn"], 16, 64)
		if ignored &^= libraryOwn; st["Umask"] != "0022" || (err != nil || ignored != 0) && name != "weir: reaper" {
			t.Errorf("%s has umask %s and ignores %s", name, st["Umask"], st["SigIgn"])
		}
	}
	const kill = "0000000000000020" // CAP_KILL
	if st := status(t, procs["weir: reaper"]); st["NoNewPrivs"] != "1" || st["Seccomp"] != "2" || st["CapEff"] != kill || st["CapBnd"] != kill {
		t.Errorf("the reaper has no_new_privs %s, seccomp %s, capabilities %s of %s", st["NoNewPrivs"], st["Seccomp"], st["CapEff"], st["CapBnd"])
	}
	if st := status(t, procs["weir: delivery"]); !strings.HasPrefix(st["Uid"], h.uid[recipientUser]+" ") {
		t.Errorf("a delivery has uids %s", st["Uid"])
	}
	h.descriptors(t, procs)
	h.key(t, procs)
}

// descriptors: the engine has its queue, sockets and pipes, and nothing else.
func (h *house) descriptors(t *testing.T, procs map[string]int) {
	t.Helper()
	for _, name := range []string{"weir: engine", "weir: signer", "weir: reaper"} {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", procs[name]))
		if len(links) == 0 {
			t.Errorf("%s has no descriptors", name)
		}
		for _, link := range links {
			to, err := os.Readlink(link)
			if err != nil {
				continue
			}
			ours := name == "weir: engine" && strings.HasPrefix(to, h.Spool+"/")
			for _, kind := range []string{"socket:", "pipe:", "anon_inode:", "/dev/null"} {
				ours = ours || strings.HasPrefix(to, kind)
			}
			if !ours && !strings.Contains(to, "/cgroup/") {
				t.Errorf("%s has %s open", name, to)
			}
		}
	}
}

// key: the bytes of the TLS key are in the signer's memory and not in the
// engine's, after handshakes.
func (h *house) key(t *testing.T, procs map[string]int) {
	t.Helper()
	text, err := os.ReadFile(h.dir + "/key.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := key.(interface{ Bytes() ([]byte, error) }).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"weir: signer": true, "weir: engine": false} {
		if got := inMemory(t, procs[name], secret) || inMemory(t, procs[name], text[60:120]); got != want {
			t.Errorf("%s has the key: %v, want %v", name, got, want)
		}
	}
}

// inMemory looks for b in the memory of a process.
func inMemory(t *testing.T, pid int, b []byte) bool {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	seen := 0
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		chunk := make([]byte, 1<<20)
		for at := from; at < to; at += int64(len(chunk) - len(b)) {
			n, _ := mem.ReadAt(chunk[:min(int64(len(chunk)), to-at)], at)
			if n == 0 {
				break
			}
			seen += n
			if bytes.Contains(chunk[:n], b) {
				return true
			}
		}
	}
	if seen < 1<<20 {
		t.Errorf("of process %d only %d bytes could be read", pid, seen)
	}
	return false
}

// TestEngineKilled: an engine that is killed under load is followed by another;
// no connection is refused and no accepted mail lost.
func TestEngineKilled(t *testing.T) {
	h := newHouse(t)
	const clients, kills, load = 10, 5, 40
	var accepted sync.Map
	var count, ids atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := smtp.Dial(fmt.Sprintf("127.0.0.1:%d", h.port))
				if errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("a connection was refused: %v", err)
					return
				}
				for err == nil {
					id := fmt.Sprintf("id%d.", ids.Add(1))
					if err = mail(c, "alice@maildir.test", id, id); err == nil {
						accepted.Store(id, true)
						count.Add(1)
					}
					select {
					case <-stop:
						err = errors.New("enough")
					default:
					}
				}
				if c != nil {
					c.Close()
				}
			}
		})
	}
	await := func(n int64) {
		t.Helper()
		for end := time.Now().Add(limit); count.Load() < n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d of %d mails accepted", count.Load(), n)
			}
		}
	}
	for range kills {
		await(count.Load() + load)
		engine := h.processes(t)["weir: engine"]
		if err := syscall.Kill(engine, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	await(count.Load() + load)
	close(stop)
	wg.Wait()
	h.Drained(t, limit)
	there := map[string]int{}
	for _, path := range weirtest.Mails(t, h.dir+"/alice/Maildir") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, id, _ := strings.Cut(string(b), "Subject: ")
		id, _, _ = strings.Cut(id, "\n")
		there[id]++
	}
	accepted.Range(func(id, _ any) bool {
		if there[id.(string)] == 0 {
			t.Errorf("%s was accepted and is lost", id)
		}
		return true
	})
	t.Logf("%d accepted, %d kills, %d different mails there", count.Load(), kills, len(there))
}

// TestHangupWithoutEngine: a server that is told to read its configuration while
// it has no engine, or one that does not serve yet, does so when it has one.
func TestHangupWithoutEngine(t *testing.T) {
	h := newHouse(t)
	const reloaded = "configuration reloaded"
	for n := 1; n <= 3; n++ {
		h.kill(t, "weir: engine")
		if err := syscall.Kill(h.PID(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(limit); strings.Count(h.Log(), reloaded) < n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the log says %d times that the %s, want %d\n%s", strings.Count(h.Log(), reloaded), reloaded, n, h.Log())
			}
		}
	}
	h.send(t, "alice@maildir.test", "one")
}

// TestOwnUser: nobody delivers to the server's own user, who has no mailbox.
func TestOwnUser(t *testing.T) {
	h := newHouse(t)
	c, err := smtp.Dial(fmt.Sprintf("127.0.0.1:%d", h.port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("sender@example.net"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt(engineUser + "@system.test"); err == nil || !strings.HasPrefix(err.Error(), "550 ") {
		t.Errorf("mail for the server's user: %v", err)
	}
	if err := c.Rcpt(recipientUser + "@system.test"); err != nil {
		t.Errorf("mail for another user of the system: %v", err)
	}
}

// TestParentKilled: nothing of a server outlives its parent.
func TestParentKilled(t *testing.T) {
	h := newHouse(t)
	h.send(t, "alice@maildir.test", "one")
	h.Drained(t, limit)
	procs := h.processes(t)
	if len(procs) < 3 {
		t.Fatalf("processes %v", procs)
	}
	h.Kill() // the parent alone: the others lead sessions of their own
	for name, pid := range procs {
		for end := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
			st, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(st), ") Z ") {
				break
			}
			if time.Now().After(end) {
				t.Errorf("%s lives on", name)
				break
			}
		}
	}
	h.Run(t, h.port) // at once
	h.send(t, "alice@maildir.test", "two")
	h.Drained(t, limit)
}

// kill kills one of the server's processes, when it is there.
func (h *house) kill(t *testing.T, name string) {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		pid := h.processes(t)[name]
		if pid == 0 && time.Now().Before(end) {
			continue
		}
		if pid == 0 {
			t.Fatalf("there is no process %q", name)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
}

// TestKeysKept: TLS goes on when a signer is killed, and with the keys that
// were checked when the engine is, whatever has become of their files.
func TestKeysKept(t *testing.T) {
	h := newHouse(t)
	h.send(t, "alice@maildir.test", "one")
	kill := func(name string) { t.Helper(); h.kill(t, name) }
	kill("weir: signer")
	h.send(t, "alice@maildir.test", "two")
	weirtest.Certificate(t, h.dir, "other.example.test")
	kill("weir: engine")
	h.send(t, "alice@maildir.test", "three")
	if err := os.Remove(h.dir + "/key.pem"); err != nil {
		t.Fatal(err)
	}
	kill("weir: engine")
	h.send(t, "alice@maildir.test", "four")
	kill("weir: signer")
	h.send(t, "alice@maildir.test", "five")
	h.Drained(t, limit)
}

// TestStopWithoutControl: who asks a server that is stopping hears that it is
// not there, and does not wait for its end.
func TestStopWithoutControl(t *testing.T) {
	h := newHouse(t)
	c, err := smtp.Dial(fmt.Sprintf("127.0.0.1:%d", h.port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("sender@example.net"); err != nil { // the server waits for it
		t.Fatal(err)
	}
	if err := syscall.Kill(h.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		_, err := admin.Dial(filepath.Join(h.Spool, admin.Socket))
		if errors.Is(err, admin.ErrNoServer) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the control socket: %v", err)
		}
	}
	if err := c.Rcpt("alice@maildir.test"); err != nil {
		t.Errorf("the session was cut: %v", err)
	}
	h.Kill()
}
