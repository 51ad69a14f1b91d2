package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/test/weirtest"
)

// reloadable is a server whose configuration can be changed.
type reloadable struct {
	*running
	dir string

	mu   sync.Mutex
	text string
}

func startReloadable(t *testing.T, dir, text string) *reloadable {
	t.Helper()
	r := &reloadable{dir: dir, text: text}
	r.running = start(t, dir, text, Options{Load: func() (*config.Config, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return load(dir, r.text)
	}})
	eventually(t, "it serves", func() error {
		if !strings.Contains(r.log.String(), "msg=listening") {
			return errors.New("not yet")
		}
		return nil
	})
	return r
}

// reload has the server read text.
func (r *reloadable) reload(t *testing.T, text string) (admin.Reloaded, error) {
	t.Helper()
	r.mu.Lock()
	r.text = text
	r.mu.Unlock()
	var done admin.Reloaded
	err := r.control(t).Call(t.Context(), admin.MethodReload, nil, &done)
	done.Config = ""
	return done, err
}

// must is reload that has to succeed with these changes.
func (r *reloadable) must(t *testing.T, text string, want admin.Reloaded) {
	t.Helper()
	if done, err := r.reload(t, text); err != nil || !reflect.DeepEqual(done, want) {
		t.Fatalf("reload: %+v, %v; want %+v", done, err, want)
	}
}

// pid gives the process of a filter.
func (r *reloadable) pid(t *testing.T, name string) int {
	t.Helper()
	for _, st := range r.filters.List() {
		if st.Name == name && st.Workers[0].PID != 0 {
			return st.Workers[0].PID
		}
	}
	t.Fatalf("filter %s has no process: %+v", name, r.filters.List())
	return 0
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func gone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d has ended", pid), func() error {
		if alive(pid) {
			return errors.New("it has not")
		}
		return nil
	})
}

// namer refuses each MAIL with its name.
func namer(t *testing.T, dir, name string) string {
	return script(t, dir, name+".sh", `echo "filter-result|$id|$tok|reject|550 5.7.1 `+name+`"`, "mail-from")
}

// TestReloadSessions: a session keeps its filters, rules and limits; the next
// has the new ones. A filter that did not change keeps its process, one that
// is gone keeps it for the sessions that have it.
func TestReloadSessions(t *testing.T) {
	dir := t.TempDir()
	old, next, steady := namer(t, dir, "old"), namer(t, dir, "next"), script(t, dir, "steady.sh", echo, "mail-from")
	const one = "listen on 127.0.0.1 port 0 tag in filter both\n"
	first := fmt.Sprintf("filter steady proc-exec %q\nfilter f proc-exec %q\nfilter both chain { steady, f }\nsmtp limit max-rcpt 2\n", steady, old) + one + boxes(dir)
	second := fmt.Sprintf("\n# another place\nfilter f proc-exec %q\nfilter steady proc-exec %q\nfilter both chain { f, steady }\nsmtp limit max-errors 3\n", next, steady) + one + boxes(dir)
	r := startReloadable(t, dir, first)
	addr := r.addr(t, "in")
	a := dial(t, addr)
	a.do("EHLO client.example.net", "250")
	pidF, pidSteady := r.pid(t, "f"), r.pid(t, "steady")

	r.must(t, second, admin.Reloaded{FiltersKept: 1, FiltersStarted: 1, FiltersEnding: 1, ListenersKept: 2})
	if r.addr(t, "in") != addr {
		t.Errorf("the listener is at %s, was at %s", r.addr(t, "in"), addr)
	}
	b := dial(t, addr)
	b.do("EHLO client.example.net", "250")
	for range 3 { // a has no max-errors of 3
		a.do("MAIL FROM:<s@example.net>", "550 5.7.1 old")
	}
	a.do("NOOP", "250")
	b.do("MAIL FROM:<s@example.net>", "550 5.7.1 next")
	b.do("MAIL FROM:<s@example.net>", "550 5.7.1 next")
	b.do("MAIL FROM:<s@example.net>", "550 5.7.1 next")
	b.do("MAIL FROM:<s@example.net>", "421")
	if p := r.pid(t, "steady"); p != pidSteady {
		t.Errorf("steady has process %d, had %d", p, pidSteady)
	}
	if !alive(pidF) || r.pid(t, "f") == pidF {
		t.Error("the old process of f has ended, or is the new one")
	}

	// Back: the process that a still has is not that of this configuration.
	r.must(t, first, admin.Reloaded{FiltersKept: 1, FiltersStarted: 1, FiltersEnding: 1, ListenersKept: 2})
	if p := r.pid(t, "f"); p == pidF {
		t.Errorf("f has process %d again", p)
	}
	a.do("MAIL FROM:<s@example.net>", "550 5.7.1 old")
	a.do("QUIT", "221")
	gone(t, pidF)
	r.must(t, boxes(dir)+"listen on 127.0.0.1 port 0 tag in\n", admin.Reloaded{FiltersEnding: 2, ListenersKept: 2})
	gone(t, pidSteady)
	send(t, r.addr(t, "in"), "s@example.net", "alice@example.test", "no filter")
}

// TestReloadListeners: one that is new is served, one that is gone refuses, and
// the sessions on it go on.
func TestReloadListeners(t *testing.T) {
	dir := t.TempDir()
	ports := [3]int{weirtest.FreePort(t), weirtest.FreePort(t), weirtest.FreePort(t)}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	on := func(i int, options string) string {
		return fmt.Sprintf("listen on 127.0.0.1 port %d %s\n", ports[i], options)
	}
	r := startReloadable(t, dir, on(0, "")+on(1, "hostname old.example.test")+boxes(dir))
	a := dial(t, addr(0))
	r.must(t, on(1, "hostname new.example.test")+on(2, "")+boxes(dir), admin.Reloaded{ListenersKept: 2, ListenersOpened: 1, ListenersClosed: 1})
	if c, err := net.Dial("tcp", addr(0)); err == nil {
		c.Close()
		t.Error("the listener that is gone takes a connection")
	}
	dial(t, addr(2)).do("QUIT", "221")
	if reply := connect(t, addr(1)).want("220"); !strings.Contains(reply, "new.example.test") {
		t.Errorf("banner %q", reply)
	}
	a.do("EHLO client.example.net", "250")
	a.mail("s@example.net", "alice@example.test", "on the old listener")
	a.do("QUIT", "221")
	r.must(t, on(0, "")+boxes(dir), admin.Reloaded{ListenersKept: 1, ListenersOpened: 1, ListenersClosed: 2})
	dial(t, addr(0)).do("QUIT", "221")
}

// TestReloadErrors: what cannot be taken in says why and changes nothing.
func TestReloadErrors(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := weirtest.FreePort(t)
	started := filepath.Join(dir, "started")
	never := filepath.Join(dir, "never.sh")
	if err := os.WriteFile(never, []byte("#!/bin/sh\ntouch "+started+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	good := fmt.Sprintf("filter f proc-exec %q\nlisten on 127.0.0.1 port 0 tag in filter f\n", namer(t, dir, "f")) + boxes(dir)
	r := startReloadable(t, dir, good)
	before, cfg := r.pids(), r.config()
	for i, tt := range []struct {
		name, text, want string
	}{
		{"grammar", "listen on 127.0.0.1 port 0\nfliter x\n" + boxes(dir), "weir.conf:3:1: "},
		{"port taken", fmt.Sprintf("listen on 127.0.0.1 port %d\nlisten on 127.0.0.1 port %d\nfilter n proc-exec %q\n", free, taken.Addr().(*net.TCPAddr).Port, never) + boxes(dir), "weir.conf:3:1: "},
		{"twice the same", fmt.Sprintf("listen on 127.0.0.1 port %d\nlisten on 127.0.0.1 port %[1]d\n", free) + boxes(dir), "weir.conf:3:1: "},
		{"queue path", good + "queue path \"" + dir + "/other\"\n", "the queue cannot move while the server runs"},
	} {
		if done, err := r.reload(t, tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v; want %q", tt.name, done, err, tt.want)
		}
		if failed := strings.Split(r.log.String(), `msg="reload failed, nothing has changed"`); len(failed) != i+2 || !strings.Contains(failed[i+1], tt.want) {
			t.Errorf("%s: the log does not tell it", tt.name)
		}
		if r.config() != cfg || !slices.Equal(r.pids(), before) {
			t.Errorf("%s: something has changed", tt.name)
		}
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", free)); err == nil {
			c.Close()
			t.Errorf("%s: a listener of it is open", tt.name)
		}
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("a filter of a configuration without its sockets was started")
	}
	c := dial(t, r.addr(t, "in"))
	c.do("EHLO client.example.net", "250")
	c.do("MAIL FROM:<s@example.net>", "550 5.7.1 f")
}

// TestReloadFailing: a filter that is not ready is no error, and is named.
func TestReloadFailing(t *testing.T) {
	dir := t.TempDir()
	rest := "listen on 127.0.0.1 port 0 tag in filter f\n" + boxes(dir)
	r := startReloadable(t, dir, fmt.Sprintf("filter f proc-exec %q\n", namer(t, dir, "f"))+rest)
	done, err := r.reload(t, "filter f proc-exec \"/nonexistent/filter\"\n"+rest)
	if err != nil || len(done.FiltersFailing) != 1 || !strings.Contains(done.FiltersFailing[0], "filter f: ") {
		t.Errorf("%+v, %v", done, err)
	}
	if !strings.Contains(r.log.String(), "filters_failing=1") {
		t.Error("the log does not tell it")
	}
}

// TestReloadWithout: a server that was not told how to load says so.
func TestReloadWithout(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, boxes(dir), Options{})
	if err := s.control(t).Call(t.Context(), admin.MethodReload, nil, nil); err == nil || !strings.Contains(err.Error(), "without a way to read") {
		t.Errorf("reload: %v", err)
	}
}

// TestReloadTLS: certificates that were renewed are shown to new sessions.
func TestReloadTLS(t *testing.T) {
	dir := t.TempDir()
	weirtest.Certificate(t, dir, "old.example.test")
	conf := `
pki x cert "@DIR@/cert.pem"
pki x key "@DIR@/key.pem"
listen on 127.0.0.1 port 0 tag in smtps pki x
` + boxes(dir)
	r := startReloadable(t, dir, conf)
	shown := func() string {
		t.Helper()
		c := connect(t, r.addr(t, "in"))
		c.secure()
		return c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if name := shown(); name != "old.example.test" {
		t.Fatalf("certificate of %s", name)
	}
	weirtest.Certificate(t, dir, "new.example.test")
	r.must(t, conf, admin.Reloaded{ListenersKept: 2})
	if name := shown(); name != "new.example.test" {
		t.Errorf("certificate of %s", name)
	}
	if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.reload(t, conf); err == nil || !strings.Contains(err.Error(), "weir.conf:3:5: pki \"x\": ") {
		t.Errorf("reload without the key: %v", err)
	}
	if name := shown(); name != "new.example.test" {
		t.Errorf("certificate of %s", name)
	}
}

// TestReloadQueue: mail that waits is delivered by the new action of that name,
// and total limits are the new ones.
func TestReloadQueue(t *testing.T) {
	dir := t.TempDir()
	const in = "listen on 127.0.0.1 port 0 tag in\n"
	r := startReloadable(t, dir, in+boxes(dir)+`
action "later" mda "exit 75" userbase <users>
match from any for domain "later.test" action "later"
`)
	send(t, r.addr(t, "in"), "s@example.net", "alice@later.test", "one")
	c := r.control(t)
	waiting := func(text string) {
		t.Helper()
		eventually(t, "the envelope waits because of "+text, func() error {
			all := list[admin.Envelope](t, c, admin.MethodQueueList, nil)
			if len(all) != 1 || all[0].State != "waiting" || !strings.Contains(all[0].LastErr, text) {
				return fmt.Errorf("%+v", all)
			}
			return nil
		})
	}
	waiting("75")
	r.must(t, in+"smtp limit max-sessions 1\n"+boxes(dir), admin.Reloaded{ListenersKept: 2})
	call[admin.Changed](t, c, admin.MethodQueueRetry, admin.Selection{All: true})
	waiting("not in the configuration any more")

	a := dial(t, r.addr(t, "in"))
	connect(t, r.addr(t, "in")).want("421")
	a.do("QUIT", "221")
	r.must(t, in+boxes(dir)+"action \"later\" maildir \"@DIR@/late\" userbase <users>\n", admin.Reloaded{ListenersKept: 2})
	call[admin.Changed](t, c, admin.MethodQueueRetry, admin.Selection{All: true})
	mails(t, filepath.Join(dir, "late"), 1)
}

// TestReloadStop: a server that is told to end does not wait for a filter that
// a reload is starting, and nothing is left of it.
func TestReloadStop(t *testing.T) {
	dir := t.TempDir()
	never := filepath.Join(dir, "never.sh")
	if err := os.WriteFile(never, []byte("#!/bin/sh\necho $$ >"+dir+"/pid\ncat >/dev/null\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := startReloadable(t, dir, "listen on 127.0.0.1 port 0 tag in\n"+boxes(dir))
	os.Chmod(dir, 0o777) // the filter's user writes there
	result := make(chan error, 1)
	c := r.control(t)
	r.mu.Lock()
	r.text = fmt.Sprintf("filter never proc-exec %q\nlisten on 127.0.0.1 port 0 tag in filter never\n", never) + boxes(dir)
	r.mu.Unlock()
	go func() { result <- c.Call(t.Context(), admin.MethodReload, nil, nil) }()
	var pid int
	eventually(t, "the filter is being started", func() error {
		b, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err == nil {
			_, err = fmt.Sscan(string(b), &pid)
		}
		return err
	})
	dial(t, r.addr(t, "in")).do("QUIT", "221") // the old configuration serves meanwhile
	r.end(t)
	if err := <-result; err == nil || !strings.Contains(err.Error(), errNotServing.Error()) {
		t.Errorf("the reload: %v", err)
	}
	nothingLeft(t, []int{pid})
}

// TestReloadLeaks: however often the configuration changes, there are no more
// goroutines and descriptors than before.
func TestReloadLeaks(t *testing.T) {
	dir := t.TempDir()
	var confs [2]string
	var ports [2]int
	for i, name := range []string{"even", "odd"} {
		ports[i] = weirtest.FreePort(t)
		confs[i] = fmt.Sprintf("filter f proc-exec %q\nlisten on 127.0.0.1 port 0 tag in filter f\nlisten on 127.0.0.1 port %d\n",
			namer(t, dir, name), ports[i]) + boxes(dir)
	}
	r := startReloadable(t, dir, confs[0])
	c := r.control(t)
	// round reloads as often, with a session that stays over each reload.
	round := func(n int) {
		var stays *client
		for i := range 2 * n {
			r.mu.Lock()
			r.text = confs[(i+1)%2]
			r.mu.Unlock()
			call[admin.Reloaded](t, c, admin.MethodReload, nil)
			if stays != nil {
				stays.do("QUIT", "221")
				stays.over()
				stays.Close()
			}
			stays = dial(t, r.addr(t, "in"))
			stays.do("EHLO client.example.net", "250")
		}
		stays.do("QUIT", "221")
		stays.over()
		stays.Close()
	}
	count := func() (goroutines, files int) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(fds)
	}
	round(1)
	goroutines, files := count()
	round(10)
	// Those that are about to end are waited for.
	eventually(t, "no more goroutines and files are there", func() error {
		if g, f := count(); g > goroutines || f > files {
			return fmt.Errorf("%d goroutines and %d files, there were %d and %d", g, f, goroutines, files)
		}
		return nil
	})
	if n := len(r.pids()); n != 1 {
		t.Errorf("%d processes of filters", n)
	}
}
