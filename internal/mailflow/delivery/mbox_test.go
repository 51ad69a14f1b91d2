package delivery

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"golang.org/x/sys/unix"
)

// holdEnv makes the test binary a program that holds the flock of a file
// until its standard input ends.
const holdEnv = "DELIVERY_TEST_HOLD"

func TestMain(m *testing.M) {
	if file := os.Getenv(holdEnv); file != "" {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err == nil {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		bufio.NewReader(os.Stdin).ReadString('\n')
		f.WriteString("") // f is not collected before
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var testTime = time.Date(2026, 11, 3, 4, 5, 6, 0, time.UTC)

func mboxAgent(t *testing.T) *Agent {
	a := testAgent(t, &config.Action{Method: config.Mbox, Userbase: userbase("alice", "/nonexistent")})
	a.mailDir = t.TempDir()
	a.now = func() time.Time { return testTime }
	return a
}

const mboxHead = "From bob@example.net Tue Nov  3 04:05:06 2026\nReturn-Path: <bob@example.net>\nDelivered-To: alice@example.org\n"

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMbox(t *testing.T) {
	a := mboxAgent(t)
	file := a.mailDir + "/alice"
	wantFile := ""
	for _, m := range []struct{ body, want string }{
		{"Subject: x\n\nFrom here\n>From there\nFromage\n", "Subject: x\n\n>From here\n>>From there\nFromage\n"},
		{"Subject: x\n\nopen", "Subject: x\n\nopen\n"},
		{"Subject: x\n\nopen\nFrom", "Subject: x\n\nopen\nFrom\n"},
	} {
		want(t, deliver(t, a, localJob(m.body, "alice@example.org", "alice"))[0], Delivered, "", "")
		wantFile += mboxHead + m.want + "\n"
	}
	if got := read(t, file); got != wantFile {
		t.Errorf("mbox\n%q\nwant\n%q", got, wantFile)
	}
	if fi, _ := os.Stat(file); fi.Mode().Perm() != mboxPerm {
		t.Errorf("mode %v", fi.Mode())
	}
	if _, err := os.Stat(file + ".lock"); err == nil {
		t.Error("the dot lock was left behind")
	}

	// A file that another program, or a crash, left without an empty line.
	for _, left := range []string{"x", "From a\nx", "From a\nx\n"} {
		os.WriteFile(file, []byte(left), 0o600)
		j := localJob(testMessage, "alice@example.org", "alice")
		j.Message.Sender = mail.Address{}
		want(t, deliver(t, a, j)[0], Delivered, "", "")
		if got := read(t, file); !strings.HasPrefix(got, left+"\n\nFrom MAILER-DAEMON Tue Nov") {
			t.Errorf("after %q: %q", left, got)
		}
	}
}

func TestMboxFile(t *testing.T) {
	a := testAgent(t, &config.Action{Method: config.Maildir})
	a.now = func() time.Time { return testTime }
	file := t.TempDir() + "/archive"
	j := localJob(testMessage, "alice@example.org", "")
	j.Envelopes[0].Local.File = file
	if os.Geteuid() == 0 {
		j.Envelopes[0].Local.User = "root"
	}
	want(t, deliver(t, a, j)[0], Delivered, "", "")
	if got := read(t, file); got != mboxHead+testMessage+"\n" {
		t.Errorf("%q", got)
	}
	j.Envelopes[0].Local.File = os.DevNull
	want(t, deliver(t, a, j)[0], Delivered, "", "")
	j.Envelopes[0].Local.File = "relative"
	want(t, deliver(t, a, j)[0], Failed, "5.3.5", "absolute")
	j.Envelopes[0].Local.File = filepath.Dir(file)
	want(t, deliver(t, a, j)[0], Deferred, "", "directory")
	j.Envelopes[0].Local.File = file + "/x"
	want(t, deliver(t, a, j)[0], Deferred, "", "not a directory")
	os.Symlink(file, file+".link")
	j.Envelopes[0].Local.File = file + ".link"
	want(t, deliver(t, a, j)[0], Failed, "5.2.1", "not a regular file")
	unix.Mkfifo(file+".fifo", 0o600)
	j.Envelopes[0].Local.File = file + ".fifo"
	want(t, deliver(t, a, j)[0], Failed, "5.2.1", "not a regular file")
}

func TestMboxNames(t *testing.T) {
	for _, name := range []string{"", "..", ".x", "a/b", "a\x00", "alice.lock"} {
		a := mboxAgent(t)
		a.config().Actions["a"].Userbase = userbase(name, "/")
		tt := attempt{user: account{name: name}}
		want(t, outcomeOf(a.toSystemMailbox(t.Context(), &tt)), Failed, "5.1.3", "cannot have a mailbox")
	}
}

func TestMboxFlock(t *testing.T) {
	a := mboxAgent(t)
	file := a.mailDir + "/alice"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holdEnv+"="+file)
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "held\n" {
		t.Fatalf("holder says %q, %v", line, err)
	}

	// No patience: deferred, nothing written, our other lock given back.
	a.lockWait = 0
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.2.0", "holds the lock")
	if read(t, file) != "" {
		t.Error("written without the lock")
	}
	if _, err := os.Stat(file + ".lock"); err == nil {
		t.Error("the dot lock was left behind")
	}
	a.lockWait = lockPatience
	ctx, cancel := context.WithTimeout(t.Context(), 2*lockPause)
	want(t, a.Deliver(ctx, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.4.7", "deadline")
	cancel()

	// With patience: delivered once the holder is gone.
	done := make(chan Outcome)
	go func() { done <- deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0] }()
	stdin.Close()
	holder.Wait()
	want(t, <-done, Delivered, "", "")
	if got := read(t, file); got != mboxHead+testMessage+"\n" {
		t.Errorf("%q", got)
	}
}

func TestMboxDotLock(t *testing.T) {
	a := mboxAgent(t)
	lock := a.mailDir + "/alice.lock"
	if err := os.WriteFile(lock, nil, 0); err != nil {
		t.Fatal(err)
	}
	a.lockWait = 2 * lockPause
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.2.0", "holds the lock")
	if _, err := os.Stat(lock); err != nil {
		t.Error("somebody else's dot lock was removed")
	}
	young := time.Now().Add(-lockStale + time.Minute)
	os.Chtimes(lock, young, young)
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.2.0", "holds the lock")
	old := time.Now().Add(-lockStale - time.Minute)
	os.Chtimes(lock, old, old)
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Delivered, "", "")
}

func TestMboxConcurrent(t *testing.T) {
	a := mboxAgent(t)
	const n = 10
	body := "Subject: x\n\n" + strings.Repeat("line\n", chunkSize/2) // several chunks
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			want(t, deliver(t, a, localJob(body, "alice@example.org", "alice"))[0], Delivered, "", "")
		})
	}
	wg.Wait()
	if got := read(t, a.mailDir+"/alice"); got != strings.Repeat(mboxHead+body+"\n", n) {
		t.Errorf("messages of concurrent deliveries are mixed up")
	}
}

// What was written of a message that fails is cut off again.
func TestMboxFaults(t *testing.T) {
	a := mboxAgent(t)
	file := a.mailDir + "/alice"
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Delivered, "", "")
	before := read(t, file)
	big := "Subject: x\n\n" + strings.Repeat("line\n", chunkSize)
	for _, fail := range []string{"write ", "sync "} {
		for _, body := range []string{testMessage, big} {
			spy := &spyFS{fail: fail + file, err: unix.EDQUOT}
			a.fs = spy
			want(t, deliver(t, a, localJob(body, "alice@example.org", "alice"))[0], Deferred, "4.2.2", "mbox "+file+": ")
			if got := read(t, file); got != before {
				t.Errorf("%s failed: the file has changed: %d bytes instead of %d", fail, len(got), len(before))
			}
			if len(spy.open) != 0 {
				t.Errorf("left open: %v", spy.open)
			}
			if _, err := os.Stat(file + ".lock"); err == nil {
				t.Error("the dot lock was left behind")
			}
		}
	}
}
