package peers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/test/weirtest"
)

const (
	reloads       = 30 // of TestReload; $WEIR_RELOADS is another number
	reloadClients = 4
	exitConfig    = 78
)

// stamper is a filter in sh that puts its first argument and its process id in
// place of the value of the header field X-Stamp-$1.
const stamper = `#!/bin/sh
while read -r l; do case $l in 'config|ready') break;; esac; done
echo 'register|filter|smtp-in|data-line'
echo 'register|ready'
while IFS='|' read -r kind ver ts sub phase id tok rest; do
  case $rest in "X-Stamp-$1: "*) rest="X-Stamp-$1: $2 $$";; esac
  printf 'filter-dataline|%s|%s|%s\n' "$id" "$tok" "$rest"
done
`

// reloadBed is a server whose configuration changes while clients send mail.
type reloadBed struct {
	*weirtest.Server
	t       *testing.T
	dir     string
	port    int    // is listened on in all configurations
	other   [2]int // in one each
	taken   int    // is somebody else's
	changes atomic.Int64

	mu     sync.Mutex
	states []string       // names of the generations that new sessions may get, one after the other
	want   map[string]int // of each accepted message, its session
	may    [][2]int       // of each session, the first and last of states that it may have
	errs   []error
	faulty int

	users    reloadUsers
	userbase string // entry of the recipient
}

// config is configuration "a" or "b"; extra is put at its end.
func (b *reloadBed) config(name, extra string) string {
	n := 0
	if name == "b" {
		n = 1
	}
	server, rights, tls := b.users.words(b.dir)
	return fmt.Sprintf(`queue path "%[1]s/spool"
%[7]s
filter gen proc-exec "%[1]s/stamper gen %[2]s" %[8]s
filter steady proc-exec "%[1]s/stamper steady x" %[8]s
filter both chain { gen, steady }
filter only-%[2]s proc-exec "%[1]s/stamper only %[2]s" %[8]s
listen on 127.0.0.1 port %[3]d %[9]s filter both
listen on 127.0.0.1 port %[4]d filter only-%[2]s
table users { %[5]s }
action "local" maildir "%[1]s/mail" userbase <users>
match from any for domain "example.test" action "local"
%[6]s`, b.dir, name, b.port, b.other[n], b.userbase, extra, server, rights, tls)
}

// TestReload reloads under load, two configurations and broken ones in turn. No
// connection is refused and no session cut; each message is filtered by the
// configuration that its session began with, and by it alone; a filter that is
// in both keeps its process, and the others' processes end.
func TestReload(t *testing.T) { newReloadBed(t, reloadUsers{}).run(reloads) }

// run makes n reloads, or as many as the environment says.
func (b *reloadBed) run(n int) {
	t := b.t
	if s := os.Getenv("WEIR_RELOADS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("WEIR_RELOADS: %v", err)
		}
	}
	quit := make(chan struct{})
	var clients sync.WaitGroup
	for i := range reloadClients {
		clients.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
					b.note(b.session(i))
				}
			}
		})
	}
	b.await(reloadClients)
	before := b.descriptors()
	for i := range n {
		if i%3 == 2 {
			b.refuse(i)
		} else {
			b.change(i)
		}
		b.await(4) // new sessions, which can have no other than this configuration
	}
	b.await(reloadClients)
	close(quit)
	clients.Wait()
	b.check(n)
	eventually(t, "no descriptor is left", func() error {
		if now := b.descriptors(); now > before {
			return fmt.Errorf("%d are open, %d were", now, before)
		}
		return nil
	})
}

func newReloadBed(t *testing.T, users reloadUsers) *reloadBed {
	t.Helper()
	b := &reloadBed{
		t: t, users: users, dir: t.TempDir(), port: weirtest.FreePort(t), other: [2]int{weirtest.FreePort(t), weirtest.FreePort(t)},
		states: []string{"a"}, want: make(map[string]int),
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	b.taken = ln.Addr().(*net.TCPAddr).Port
	if err := os.WriteFile(filepath.Join(b.dir, "stamper"), []byte(stamper), 0o755); err != nil {
		t.Fatal(err)
	}
	b.userbase = weirtest.Userbase(filepath.Join(b.dir, "home"), "alice")
	if users.separate() {
		b.separate()
	}
	_, text, _ := strings.Cut(b.config("a", ""), "\n") // Start has its own queue path, the same
	b.Server = weirtest.Start(t, b.dir, text, b.port)
	return b
}

// eventually waits until f gives no error.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("waited until %s: %v", what, err)
}

func (b *reloadBed) write(text string) {
	b.t.Helper()
	if err := os.WriteFile(b.Config, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// reload is the command.
func (b *reloadBed) reload() (out string, code int) {
	b.t.Helper()
	text, err := exec.Command(weirtest.Binary(b.t), "reload", "-q", b.Spool).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(text), exit.ExitCode()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text), 0
}

// change goes over to the other configuration, by command or signal. While it
// does, new sessions may get either.
func (b *reloadBed) change(i int) {
	b.t.Helper()
	b.mu.Lock()
	old := b.states[len(b.states)-1]
	next := map[string]string{"a": "b", "b": "a"}[old]
	b.states = append(b.states, old+next)
	b.mu.Unlock()
	b.write(b.config(next, ""))
	done := b.changes.Add(1)
	if i%2 == 0 {
		out, code := b.reload()
		if code != 0 || !strings.Contains(out, "filters: 1 kept, 2 started, 2 ending\nlisteners: 2 kept, 1 opened, 1 closed\n") {
			b.t.Errorf("reload %d: exit status %d, %s", i, code, out)
		}
	} else if err := syscall.Kill(b.PID(), syscall.SIGHUP); err != nil {
		b.t.Fatal(err)
	}
	eventually(b.t, "the log tells of the reload", func() error {
		if n := strings.Count(b.Log(), `msg="configuration reloaded"`); n < int(done) {
			return fmt.Errorf("%d of %d", n, done)
		}
		return nil
	})
	b.mu.Lock()
	b.states = append(b.states, next)
	b.mu.Unlock()
	for i, port := range b.other {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if (err == nil) != (next == "ab"[i:i+1]) {
			b.t.Errorf("in configuration %s, port of %c: %v", next, "ab"[i], err)
		}
		if err == nil {
			c.Close()
		}
	}
}

// refuse has the server look at a configuration that is of no use.
func (b *reloadBed) refuse(i int) {
	b.t.Helper()
	extra := "listen on 127.0.0.1 port 2525 fliter both\n"
	want := ": found \"fliter\", expected "
	switch b.faulty++; b.faulty % 3 {
	case 1:
		extra, want = fmt.Sprintf("listen on 127.0.0.1 port %d filter both\n", b.taken), "address already in use"
	case 2:
		extra, want = "queue path \"/elsewhere\"\n", "the queue cannot move while the server runs"
	}
	text := b.config(map[string]string{"a": "b", "b": "a"}[b.states[len(b.states)-1]], extra)
	if b.faulty%3 == 2 {
		_, text, _ = strings.Cut(text, "\n") // the first queue path
	} else {
		want = fmt.Sprintf("%s:%d:", b.Config, strings.Count(text, "\n")) + "*" + want
	}
	b.write(text)
	out, code := b.reload()
	place, why, _ := strings.Cut(want, "*")
	if code != exitConfig || !strings.Contains(out, "nothing has changed: ") || !strings.Contains(out, place) || !strings.Contains(out, why) {
		b.t.Errorf("reload %d: exit status %d, %q; want %q", i, code, out, want)
	}
}

// descriptors counts the open files of the server.
func (b *reloadBed) descriptors() (n int) {
	b.t.Helper()
	for _, pid := range b.processes() {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil && pid == b.PID() {
			b.t.Fatal(err)
		}
		n += len(fds)
	}
	return n
}

func (b *reloadBed) note(err error) {
	if err != nil {
		b.mu.Lock()
		b.errs = append(b.errs, err)
		b.mu.Unlock()
	}
}

// await waits until n more sessions have begun.
func (b *reloadBed) await(n int) {
	b.t.Helper()
	begun := func() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.may) }
	first := begun()
	eventually(b.t, "sessions begin", func() error {
		b.mu.Lock()
		errs := b.errs
		b.mu.Unlock()
		if len(errs) > 0 {
			b.t.Fatalf("%d sessions failed; the first: %v", len(errs), errs[0])
		}
		if now := begun(); now < first+n {
			return fmt.Errorf("%d more", now-first)
		}
		return nil
	})
}

var stamped = regexp.MustCompile(`(?m)^Subject: (m\d+-\d+)\nX-Stamp-gen: ([ab]) (\d+)\nX-Stamp-steady: x (\d+)$`)

// check looks at what was delivered, and at what runs.
func (b *reloadBed) check(n int) {
	t := b.t
	t.Helper()
	for _, err := range b.errs {
		t.Errorf("a session failed: %v", err)
	}
	b.Drained(t, programLimit)
	seen := make(map[string]bool)
	of := make(map[int]string) // the generation of each session
	steady, gens := make(map[string]int), make(map[string]bool)
	crossing := 0
	for _, path := range weirtest.Mails(t, filepath.Join(b.dir, "mail")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m := stamped.FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("wrongly filtered: %q", text)
		}
		id, ok := b.want[m[1]]
		switch gen := m[2] + " " + m[3]; {
		case !ok || seen[m[1]]:
			t.Errorf("%s is delivered and was not accepted, or is delivered twice", m[1])
		case of[id] == "":
			of[id] = gen
			may := strings.Join(b.states[b.may[id][0]:b.may[id][1]+1], "")
			if !strings.Contains(may, m[2]) {
				t.Errorf("session %d may have had %s and was filtered by %s", id, may, gen)
			}
			if len(may) > 1 {
				crossing++
			}
		case of[id] != gen:
			t.Errorf("session %d was filtered by %s and by %s", id, of[id], gen)
		}
		seen[m[1]] = true
		steady[m[4]]++
		gens[m[3]] = true
	}
	for msg := range b.want {
		if !seen[msg] {
			t.Errorf("%s was accepted and is not delivered", msg)
		}
	}
	if len(steady) != 1 {
		t.Errorf("the filter that did not change had the processes %v", steady)
	}
	alive := func() (alive []string) {
		for pid := range gens {
			if p, _ := strconv.Atoi(pid); !errors.Is(syscall.Kill(p, 0), syscall.ESRCH) {
				alive = append(alive, pid)
			}
		}
		return alive
	}
	eventually(t, "processes that nobody needs have ended", func() error {
		if a := alive(); len(a) > 1 {
			return fmt.Errorf("%v run", a)
		}
		return nil
	})
	t.Logf("%d reloads, %d sessions of which %d began during one, %d messages, %d processes of the filter that changes",
		n, len(b.may), crossing, len(seen), len(gens))
}
