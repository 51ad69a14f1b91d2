package delivery

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/table"
	"golang.org/x/sys/unix"
)

// nobody is a real other user, and a home for it.
func nobody(t *testing.T) (u account, home string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can take the rights of another user")
	}
	u, err := systemUser("nobody")
	if err != nil {
		t.Skip("this machine has no user nobody:", err)
	}
	home = t.TempDir()
	for dir := home; dir != filepath.Dir(os.TempDir()) && dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, int(u.uid), int(u.gid)); err != nil {
		t.Fatal(err)
	}
	return u, home
}

func nobodyAgent(t *testing.T, act *config.Action) (a *Agent, u account, home string) {
	u, home = nobody(t)
	act.Userbase = table.NewMapping("users", []table.Pair{{Key: "alice", Value: itoa(int(u.uid)) + ":" + itoa(int(u.gid)) + ":" + home}})
	return testAgent(t, act), u, home
}

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Uid
}

func TestAsUser(t *testing.T) {
	u, home := nobody(t)
	u.groups = []uint32{u.gid, 54321}
	wantGroups := []int{int(u.gid), 54321}
	slices.Sort(wantGroups) // as the kernel does it
	a := testAgent(t, &config.Action{Method: config.Maildir})
	secret := home + "/secret"
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := unix.Getgroups()

	// Many at once: whatever threads they use, all come back as root's.
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			err := a.asUser(&u, func() error {
				groups, _ := unix.Getgroups()
				if unix.Geteuid() != int(u.uid) || unix.Getegid() != int(u.gid) || !slices.Equal(groups, wantGroups) {
					t.Errorf("euid %d, egid %d, groups %v", unix.Geteuid(), unix.Getegid(), groups)
				}
				if _, err := os.Open(secret); !errors.Is(err, fs.ErrPermission) {
					t.Errorf("root's file can be read: %v", err)
				}
				if err := os.Chown(home, 0, 0); !errors.Is(err, fs.ErrPermission) {
					t.Errorf("files can be given away: %v", err)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for range 50 {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			groups, _ := unix.Getgroups()
			if _, err := os.ReadFile(secret); err != nil || unix.Geteuid() != 0 || unix.Getegid() != 0 || !slices.Equal(groups, before) {
				t.Errorf("a thread is not root's any more: euid %d, egid %d, groups %v, %v", unix.Geteuid(), unix.Getegid(), groups, err)
			}
		})
	}
	wg.Wait()
}

func TestAsUserPanics(t *testing.T) {
	u, home := nobody(t)
	a := testAgent(t, &config.Action{Method: config.Maildir})
	for range 10 {
		if err := a.asUser(&u, func() error { panic("boom") }); err == nil || !strings.Contains(err.Error(), "boom") {
			t.Fatalf("after a panic: %v", err)
		}
		if unix.Geteuid() != 0 {
			t.Fatal("the caller is not root any more")
		}
	}
	if err := os.WriteFile(home+"/x", nil, 0o600); err != nil || owner(t, home+"/x") != 0 {
		t.Errorf("root's file: %v", err)
	}
}

func TestMaildirAsUser(t *testing.T) {
	act := &config.Action{Method: config.Maildir}
	a, u, home := nobodyAgent(t, act)
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Delivered, "", "")
	names, _ := filepath.Glob(home + "/Maildir/new/*")
	if len(names) != 1 || owner(t, names[0]) != u.uid || owner(t, home+"/Maildir") != u.uid {
		t.Errorf("%q is not the user's", names)
	}
	act.Path = "/root/mail/%{rcpt.user}"
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.2.1", "permission denied")
}

func TestMboxAsUser(t *testing.T) {
	a, u, home := nobodyAgent(t, &config.Action{Method: config.Mbox})
	a.mailDir = filepath.Dir(home) // root's: the user may make no file there
	file := a.mailDir + "/alice"
	for range 2 {
		want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Delivered, "", "")
	}
	if owner(t, file) != u.uid || strings.Count(read(t, file), "\nSubject: hello\n") != 2 {
		t.Errorf("mbox of user %d: %q", owner(t, file), read(t, file))
	}
	os.Chown(file, 12345, -1)
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.2.1", "belongs to user id 12345")
	os.Chown(file, int(u.uid), -1)
	os.Link(file, file+".link")
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.2.1", "2 links")
	os.Remove(file)
	os.Symlink(file+".link", file)
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Failed, "5.2.1", "not a regular file")

	// A file of an alias is opened with the user's rights.
	j := localJob(testMessage, "alice@example.org", "alice")
	j.Envelopes[0].Local.File = a.mailDir + "/archive"
	want(t, deliver(t, a, j)[0], Deferred, "4.2.1", "permission denied")
	j.Envelopes[0].Local.File = home + "/archive"
	want(t, deliver(t, a, j)[0], Delivered, "", "")
	if owner(t, home+"/archive") != u.uid {
		t.Error("the archive is not the user's")
	}
}

func TestMDAAsUser(t *testing.T) {
	a, u, home := nobodyAgent(t, &config.Action{Method: config.MDA, Command: "cat >/dev/null; echo $(id -u) $(id -g) $(id -G) $(pwd); exit 75"})
	wantIDs := itoa(int(u.uid)) + " " + itoa(int(u.gid)) + " " + itoa(int(u.gid)) + " " + home
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.3.0", wantIDs)

	// A home that the user cannot enter.
	locked := filepath.Dir(home) + "/locked"
	if err := os.Mkdir(locked, 0o700); err != nil {
		t.Fatal(err)
	}
	a.config().Actions["a"].Userbase = table.NewMapping("users", []table.Pair{{Key: "alice", Value: itoa(int(u.uid)) + ":" + itoa(int(u.gid)) + ":" + locked}})
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.3.0", itoa(int(u.gid))+" /")
}

// The action's user, and users whom the configuration does not name.
func TestUsersAsRoot(t *testing.T) {
	u, home := nobody(t)
	act := &config.Action{Method: config.MDA, Command: "cat >/dev/null; echo $(id -u) %{user.username}; exit 75", User: "nobody"}
	a := testAgent(t, act)
	want(t, deliver(t, a, localJob(testMessage, "v@example.org", "virtual"))[0], Deferred, "", itoa(int(u.uid))+" virtual")
	want(t, deliver(t, a, localJob(testMessage, "v@example.org", ""))[0], Deferred, "", itoa(int(u.uid))+" nobody")
	act.User = ""
	want(t, deliver(t, a, localJob(testMessage, "v@example.org", "root"))[0], Failed, "5.7.0", "not run as root")
	act.User = "root"
	want(t, deliver(t, a, localJob(testMessage, "v@example.org", "root"))[0], Deferred, "", "0 root")
	act.User = ""
	j := localJob(testMessage, "v@example.org", "")
	j.Envelopes[0].Local.Command = "cat > " + home + "/piped"
	want(t, deliver(t, a, j)[0], Delivered, "", "")
	if owner(t, home+"/piped") != u.uid {
		t.Error("a command of nobody in particular did not run as nobody")
	}
}

// As an ordinary user everything runs as the caller: the tests of this package
// that need no root are run again so.
func TestWithoutRoot(t *testing.T) {
	u, home := nobody(t)
	bin := home + "/test"
	exe, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bin, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-test.run", "TestMaildir$|TestMbox|TestMDA$|TestMDAExit|TestLocalCommand|TestDeliverOddJobs")
	cmd.Dir, cmd.Env = home, []string{"TMPDIR=" + home, "HOME=" + home, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.uid, Gid: u.gid}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "PASS\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
