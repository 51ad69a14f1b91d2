package delivery

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestMaildir(t *testing.T) {
	home := t.TempDir()
	big := "Subject: big\n\n" + strings.Repeat(strings.Repeat("x", 99)+"\n", 3*chunkSize/100)
	tests := []struct {
		name   string
		act    config.Action
		body   string
		sender string
		rcpt   string
		made   []string // directories that exist before
		dir    string   // where the message goes
		head   string
	}{
		{name: "default", dir: "Maildir"},
		{name: "path", act: config.Action{Path: "~/mail/%{rcpt.domain}/%{rcpt.user:strip}"}, rcpt: "alice+x@example.org", dir: "mail/example.org/alice"},
		{name: "big", body: big, dir: "Maildir"},
		{name: "exactly one chunk", body: big[:chunkSize-1] + "\n", dir: "Maildir"},
		{name: "open end", body: "Subject: x\n\nno line end", dir: "Maildir"},
		{name: "null sender", sender: "-", dir: "Maildir", head: "Delivered-To: alice@example.org\n"},
		{name: "junk", act: config.Action{Junk: true}, body: "a: b\nx-spam: YES\n\nx\n", dir: "Maildir/.Junk"},
		{name: "junk flag", act: config.Action{Junk: true}, body: "X-Spam-Flag: Yes\n\nx\n", dir: "Maildir/.Junk"},
		{name: "junk not wanted", body: "X-Spam: yes\n\nx\n", dir: "Maildir"},
		{name: "junk in body only", act: config.Action{Junk: true}, body: "a: b\n\nX-Spam: yes\n", dir: "Maildir"},
		{name: "junk late in a long header", act: config.Action{Junk: true}, dir: "Maildir/.Junk",
			body: "a: " + strings.Repeat("x", chunkSize) + "\nX-Spam: yes\n\nx\n"},
		{name: "junk line across chunks", act: config.Action{Junk: true}, dir: "Maildir/.Junk",
			body: "a: " + strings.Repeat("x", chunkSize-8) + "\nX-Spam: yes\n\nx\n"},
		{name: "folder that exists", rcpt: "alice+list@example.org", made: []string{"Maildir/.list"}, dir: "Maildir/.list"},
		{name: "folder that does not", rcpt: "alice+list@example.org", dir: "Maildir"},
		{name: "folder that is the parent", rcpt: "alice+.@example.org", dir: "Maildir"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			home := filepath.Join(home, strings.ReplaceAll(tt.name, " ", "-"))
			for _, d := range tt.made {
				if err := os.MkdirAll(filepath.Join(home, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			tt.act.Method = config.Maildir
			tt.act.Userbase = userbase("alice", home)
			if tt.body == "" {
				tt.body = testMessage
			}
			if tt.rcpt == "" {
				tt.rcpt = "alice@example.org"
			}
			j := localJob(tt.body, tt.rcpt, "alice")
			if tt.head == "" {
				tt.head = "Return-Path: <bob@example.net>\nDelivered-To: " + tt.rcpt + "\n"
			}
			if tt.sender == "-" {
				j.Message.Sender = mail.Address{}
			}
			want(t, deliver(t, testAgent(t, &tt.act), j)[0], Delivered, "2.0.0", "delivered")

			body := tt.body
			if !strings.HasSuffix(body, "\n") {
				body += "\n"
			}
			got := files(t, filepath.Join(home, tt.dir, "new"))
			if len(got) != 1 || got[0] != tt.head+body {
				t.Errorf("in %s: %d messages, %.200q, want %.200q", tt.dir, len(got), got, tt.head+body)
			}
			if left := files(t, filepath.Join(home, tt.dir, "tmp")); len(left) != 0 {
				t.Errorf("%d files left in tmp", len(left))
			}
			for _, sub := range []string{"", "/cur", "/new", "/tmp"} {
				if sub == "" && tt.made != nil {
					continue
				}
				fi, err := os.Stat(filepath.Join(home, tt.dir) + sub)
				if err != nil || fi.Mode().Perm() != maildirPerm {
					t.Errorf("%s%s: %v, %v; want mode 0700", tt.dir, sub, fi, err)
				}
			}
		})
	}
}

func TestMaildirName(t *testing.T) {
	home := t.TempDir()
	a := testAgent(t, &config.Action{Method: config.Maildir, Userbase: userbase("alice", home)})
	a.name = newNamer("host/with:odd")
	deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))
	names, _ := filepath.Glob(home + "/Maildir/new/*")
	form := regexp.MustCompile(`^\d{10}\.\d+_[0-9a-f]+\.host\\057with\\072odd$`)
	if len(names) != 1 || !form.MatchString(filepath.Base(names[0])) {
		t.Errorf("names %q, want TIME.PID_COUNTER.HOST", names)
	}
}

func TestMaildirConcurrent(t *testing.T) {
	home := t.TempDir()
	a := testAgent(t, &config.Action{Method: config.Maildir, Userbase: userbase("alice", home)})
	const n = 50
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Delivered, "", "")
		})
	}
	wg.Wait()
	if got := files(t, home+"/Maildir/new"); len(got) != n {
		t.Errorf("%d messages, want %d", len(got), n)
	}
}

// spyFS records what is asked of the file system and fails one call.
type spyFS struct {
	unixFS
	log  []string
	fail string // operation and end of path
	err  error
	open map[int]string
}

func (s *spyFS) note(op, path string) error {
	s.log = append(s.log, op+" "+regexp.MustCompile(`\d+\.\d+_[^/]*`).ReplaceAllString(path, "MSG"))
	if s.fail == s.log[len(s.log)-1] {
		return s.err
	}
	return nil
}

func (s *spyFS) Open(path string, flags int, perm uint32) (int, error) {
	if err := s.note("open", path); err != nil {
		return -1, err
	}
	fd, err := s.unixFS.Open(path, flags, perm)
	if s.open == nil {
		s.open = map[int]string{}
	}
	if err == nil {
		s.open[fd] = path
	}
	return fd, err
}

func (s *spyFS) Write(fd int, parts [2][]byte) error {
	if err := s.note("write", s.open[fd]); err != nil {
		// As a disk does that fills up: a part of it is there.
		s.unixFS.Write(fd, [2][]byte{parts[0], parts[1][:len(parts[1])/2]})
		return err
	}
	return s.unixFS.Write(fd, parts)
}

func (s *spyFS) Sync(fd int) error {
	if err := s.note("sync", s.open[fd]); err != nil {
		return err
	}
	return s.unixFS.Sync(fd)
}

func (s *spyFS) Close(fd int) error {
	err := s.note("close", s.open[fd])
	delete(s.open, fd)
	return errors.Join(s.unixFS.Close(fd), err)
}

func (s *spyFS) Rename(from, to string) error {
	if err := s.note("rename", to); err != nil {
		return err
	}
	return s.unixFS.Rename(from, to)
}

func (s *spyFS) Remove(path string) error {
	if err := s.note("remove", path); err != nil {
		return err
	}
	return s.unixFS.Remove(path)
}

func (s *spyFS) Mkdir(path string, perm uint32) error {
	if err := s.note("mkdir", path); err != nil {
		return err
	}
	return s.unixFS.Mkdir(path, perm)
}

// The order is what makes the message survive a crash at any point: durable
// before it is visible, its name durable before Delivered is said.
func TestMaildirOrder(t *testing.T) {
	home := t.TempDir()
	a := testAgent(t, &config.Action{Method: config.Maildir, Userbase: userbase("alice", home)})
	j := localJob(testMessage, "alice@example.org", "alice")
	spy := &spyFS{}
	a.fs = spy
	for _, wantLog := range []string{
		// The first finds no maildir.
		"open M/tmp/MSG,mkdir M,open H,sync H,close H,mkdir M/cur,mkdir M/tmp,mkdir M/new,open M,sync M,close M," +
			"open M/tmp/MSG,write M/tmp/MSG,sync M/tmp/MSG,close M/tmp/MSG,rename M/new/MSG,open M/new,sync M/new,close M/new",
		"open M/tmp/MSG,write M/tmp/MSG,sync M/tmp/MSG,close M/tmp/MSG,rename M/new/MSG,open M/new,sync M/new,close M/new",
	} {
		spy.log = nil
		want(t, deliver(t, a, j)[0], Delivered, "", "")
		got := strings.NewReplacer(home+"/Maildir", "M", home, "H").Replace(strings.Join(spy.log, ","))
		if got != wantLog {
			t.Errorf("order\n%s\nwant\n%s", got, wantLog)
		}
		if len(spy.open) != 0 {
			t.Errorf("left open: %v", spy.open)
		}
	}
}

// Whichever call fails: no message is left half-way, nothing in tmp, no open
// descriptor, and the outcome says Deferred.
func TestMaildirFaults(t *testing.T) {
	steps := []string{"mkdir M", "mkdir M/new", "open M/tmp/MSG", "write M/tmp/MSG", "sync M/tmp/MSG", "close M/tmp/MSG", "rename M/new/MSG", "open M/new", "sync M/new"}
	faults := []struct {
		err      error
		enhanced string
	}{{unix.ENOSPC, "4.3.1"}, {unix.EDQUOT, "4.2.2"}, {unix.EIO, "4.3.0"}, {unix.EACCES, "4.2.1"}}
	for _, step := range steps {
		for _, f := range faults {
			t.Run(fmt.Sprint(step, " ", f.err), func(t *testing.T) {
				home := t.TempDir()
				a := testAgent(t, &config.Action{Method: config.Maildir, Userbase: userbase("alice", home)})
				if !strings.HasPrefix(step, "mkdir") {
					deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))
				}
				before := len(files(t, home+"/Maildir/new"))
				spy := &spyFS{fail: strings.Replace(step, "M", home+"/Maildir", 1), err: f.err}
				a.fs = spy
				out := deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0]
				if step == "open M/new" && f.err == unix.EACCES {
					want(t, out, Delivered, "", "") // a directory that cannot be read is not synced
				} else {
					want(t, out, Deferred, f.enhanced, "maildir "+home+"/Maildir: ")
				}
				wantNew := before
				if strings.HasSuffix(step, "M/new") && !strings.HasPrefix(step, "mkdir") {
					wantNew++ // visible, but not known to be durable: tried again
				}
				if n := len(files(t, home+"/Maildir/new")); n != wantNew {
					t.Errorf("%d messages in new, want %d; calls %q", n, wantNew, spy.log)
				}
				if n := len(files(t, home+"/Maildir/tmp")); n != 0 {
					t.Errorf("%d files left in tmp; calls %q", n, spy.log)
				}
				if len(spy.open) != 0 {
					t.Errorf("left open: %v", spy.open)
				}
			})
		}
	}
}
