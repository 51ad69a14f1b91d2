package delivery

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
)

// ownRights are those of the test: workers are goroutines.
type ownRights struct {
	t       testing.TB
	started atomic.Int32
	box     string // file that is everybody's mailbox
	last    atomic.Pointer[net.UnixConn]
}

func (r *ownRights) User(name string) (Account, error) { return LookUp(name) }

func (r *ownRights) Worker(context.Context, Account) (*net.UnixConn, error) {
	r.started.Add(1)
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		conns[i] = c.(*net.UnixConn)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer conns[1].Close()
		Work(conns[1])
	}()
	r.t.Cleanup(func() {
		conns[0].Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			r.t.Error("a worker does not end")
		}
	})
	r.last.Store(conns[1])
	return conns[0], nil
}

type testBox struct{ f *os.File }

func (b testBox) Lock() (bool, error) { return true, nil }
func (b testBox) File() *os.File      { return b.f }
func (b testBox) Close() error        { return b.f.Close() }

func (r *ownRights) Mailbox(context.Context, Account) (Mailbox, error) {
	f, err := os.OpenFile(r.box, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	return testBox{f}, err
}

// workedAgent is an Agent whose local deliveries are a worker's.
func workedAgent(t testing.TB, act *config.Action) (*Agent, *ownRights) {
	t.Helper()
	a := testAgent(t, act)
	r := &ownRights{t: t, box: filepath.Join(t.TempDir(), "box")}
	a.rights, a.crew = r, newCrew(r)
	return a, r
}

// TestWorkers: every local method by way of a worker does what it does by
// itself, and one worker does for several attempts.
func TestWorkers(t *testing.T) {
	home := t.TempDir()
	big := "Subject: big\n\n" + strings.Repeat("0123456789abcde\n", 20<<10)
	tests := []struct {
		name  string
		act   config.Action
		local func(*Job)
		file  string // that has the message then; a pattern
	}{
		{"maildir", config.Action{Method: config.Maildir}, nil, home + "/Maildir/new/*"},
		{"junk", config.Action{Method: config.Maildir, Path: "~/J", Junk: true}, nil, home + "/J/.Junk/new/*"},
		{"format", config.Action{Method: config.Maildir, Path: home + "/%{rcpt.domain}-%{user.username}-%{sender.user}"}, nil, home + "/example.org-alice-bob/new/*"},
		{"mbox", config.Action{Method: config.Mbox}, nil, "box"},
		{"mda", config.Action{Method: config.MDA, Command: "cat >" + home + "/%{dest.user}.mda"}, nil, home + "/alice.mda"},
		{"file", config.Action{Method: config.Maildir}, func(j *Job) { j.Envelopes[0].Local.File = home + "/file" }, home + "/file"},
		{"command", config.Action{Method: config.Maildir}, func(j *Job) { j.Envelopes[0].Local.Command = "cat >" + home + "/command" }, home + "/command"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.act.Userbase = userbase("alice", home)
			a, r := workedAgent(t, &tt.act)
			if tt.act.Userbase != nil && os.Getuid() == 0 {
				// Root is not to deliver for itself unless that is said, as here.
				t.Log("as root, by its userbase")
			}
			for range 3 {
				text := big
				if tt.act.Junk {
					text = "X-Spam: yes\n" + big
				}
				j := localJob(text, "alice@example.org", "alice")
				if tt.local != nil {
					tt.local(&j)
				}
				want(t, deliver(t, a, j)[0], Delivered, "2.0.0", "delivered")
			}
			if n := r.started.Load(); n != 1 {
				t.Errorf("%d workers for three attempts, one after the other", n)
			}
			pattern := tt.file
			if pattern == "box" {
				pattern = r.box
			}
			files, _ := filepath.Glob(pattern)
			if len(files) == 0 {
				t.Fatalf("nothing in %s", pattern)
			}
			b, err := os.ReadFile(files[0])
			if err != nil || !bytes.Contains(b, []byte(big)) || !bytes.Contains(b, []byte("Delivered-To: alice@example.org\n")) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
}

// TestWorkerFailures: a fault of a worker, of a message, or of the way between
// them, delivers nothing and is tried again.
func TestWorkerFailures(t *testing.T) {
	home := t.TempDir()
	newMails := func() int {
		files, _ := filepath.Glob(home + "/Maildir/*/*")
		return len(files)
	}
	a, r := workedAgent(t, &config.Action{Method: config.Maildir, Userbase: userbase("alice", home)})
	good := localJob(testMessage, "alice@example.org", "alice")
	want(t, deliver(t, a, good)[0], Delivered, "2.0.0", "")

	broken := localJob(testMessage, "alice@example.org", "alice")
	broken.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("Subject: x\n\n"+strings.Repeat("x", 200<<10)), burning{})), nil
	}
	want(t, deliver(t, a, broken)[0], Deferred, "4.3.0", "cannot read the message")
	if newMails() != 1 {
		t.Errorf("%d files after half a message", newMails())
	}
	r.last.Load().Close() // it has ended while it waited
	want(t, deliver(t, a, good)[0], Delivered, "2.0.0", "")
	if n := r.started.Load(); n != 2 {
		t.Errorf("%d workers, want the first and the one after its end", n)
	}
	want(t, outcomeOf(a.toSystemMailbox(t.Context(), &attempt{user: account{name: "../x"}})), Failed, "5.1.3", "")
}

type burning struct{}

func (burning) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

// TestWorkerCancelled: what a context ends is ended in the worker too.
func TestWorkerCancelled(t *testing.T) {
	home := t.TempDir()
	a, _ := workedAgent(t, &config.Action{Method: config.MDA, Command: "cat >/dev/null; echo $$ >" + home + "/pid; sleep 60", Userbase: userbase("alice", home)})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if b, _ := os.ReadFile(home + "/pid"); len(b) > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	out := a.Deliver(ctx, localJob(testMessage, "alice@example.org", "alice"))
	want(t, out[0], Deferred, "4.4.7", "ended")
}

// TestWorkForStrangers: what is no task ends the worker, and half a message is
// none.
func TestWorkForStrangers(t *testing.T) {
	home := t.TempDir()
	k := &task{method: taskMaildir, user: "alice", userHome: home, action: "a"}
	text := k.append(nil)
	begin := append(appendHead(nil, frameTask, len(text)), text...)
	for name, bytes := range map[string][]byte{
		"garbage":        []byte("GET / HTTP/1.0\r\n\r\n"),
		"no task":        appendHead(nil, frameEnd, 0),
		"too long":       appendHead(nil, frameTask, maxFrame+1),
		"empty task":     appendHead(nil, frameTask, 0),
		"half a task":    begin[:len(begin)-1],
		"no message":     begin,
		"half a message": append(append(append([]byte(nil), begin...), appendHead(nil, frameChunk, 100)...), "half"...),
		"strange frame":  append(append([]byte(nil), begin...), appendHead(nil, frameOutcome, 0)...),
	} {
		r := &ownRights{t: t}
		c, err := r.Worker(t.Context(), Account{})
		if err != nil {
			t.Fatal(err)
		}
		c.Write(bytes)
		c.CloseWrite()
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if files, _ := filepath.Glob(home + "/Maildir/*/*"); len(files) > 0 {
		t.Errorf("delivered: %v", files)
	}
}

func FuzzTask(f *testing.F) {
	k := &task{method: taskMDA, junk: true, delim: '+', sender: addr("a@b"), user: "alice", command: "cat", host: "h"}
	f.Add(k.append(nil))
	f.Add([]byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := decodeTask(b)
		if err != nil {
			return
		}
		again, err := decodeTask(k.append(nil))
		if err != nil || *again != *k {
			t.Errorf("%+v became %+v, %v", k, again, err)
		}
	})
}

func FuzzOutcome(f *testing.F) {
	f.Add(appendOutcome(nil, Outcome{Status: Deferred, Enhanced: "4.2.1", Text: "mailbox full"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeOutcome(b)
		if err != nil {
			return
		}
		if again, err := decodeOutcome(appendOutcome(nil, o)); err != nil || again != o || len(o.Text) > maxText {
			t.Errorf("%+v became %+v, %v", o, again, err)
		}
	})
}
