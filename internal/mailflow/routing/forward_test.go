package routing

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/config"
	"golang.org/x/sys/unix"
)

// homes makes home directories with a .forward where there is text for one.
func homes(t *testing.T, forwards map[string]string) people {
	t.Helper()
	p := people{}
	for name, text := range forwards {
		p[name] = filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(p[name], 0o755); err != nil {
			t.Fatal(err)
		}
		if text != "-" {
			writeForward(t, p[name], text)
		}
	}
	return p
}

func writeForward(t *testing.T, home, text string) string {
	t.Helper()
	path := filepath.Join(home, ".forward")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHasForward(t *testing.T) {
	users := homes(t, map[string]string{"none": "-", "some": "x@example.org"})
	dangling := t.TempDir()
	if err := os.Symlink("nowhere", forwardOf(dangling)); err != nil {
		t.Fatal(err)
	}
	for home, want := range map[string]bool{
		users["none"]: false, users["none"] + "/missing": false, users["some"]: true, "": false, "relative": false,
		dangling:                       true, // a symbolic link is refused, not followed
		forwardOf(users["some"]):       true, // not a directory: for OpenForward to say
		"/" + strings.Repeat("x", 300): true,
	} {
		if got := HasForward(home); got != want {
			t.Errorf("%.40s: %v", home, got)
		}
	}
}

func TestForward(t *testing.T) {
	var many strings.Builder
	for i := range MaxForwardNodes {
		fmt.Fprintf(&many, "m%d@example.org\n", i)
	}
	users := homes(t, map[string]string{
		"none": "-", "empty": "", "comment": "# nothing\n", "away": "me@example.org\n", "keep": "\\keep, me@example.org\n",
		"keep2": "keep2\nme@example.org", "cmd": "|prog", "file": "/tmp/x", "bob": "none", "ping": "pong", "pong": "ping",
		"self": "self@example.test", "refuse": "error:550 5.7.1 no", "bad": "two words", "include": ":include:/etc/passwd",
		"tag": "none+tag", "many": many.String() + "one-more@example.org", "vmail": "vm@example.org",
		"big":  "x@example.org" + strings.Repeat("\n", MaxForwardSize-len("x@example.org")),
		"huge": "x@example.org" + strings.Repeat("\n", MaxForwardSize-len("x@example.org")+1),
	})
	plain := &config.Action{}
	for _, row := range []struct {
		action *config.Action
		user   string
		want   string
	}{
		{plain, "none", "local none@example.test user=none"},
		{plain, "empty", "local empty@example.test user=empty"},
		{plain, "comment", "local comment@example.test user=comment"},
		{plain, "away", "out me@example.org"},
		{plain, "away+tag", "out me@example.org"},
		{plain, "keep", "local keep@example.test user=keep; out me@example.org"},
		{plain, "keep2", "local keep2@example.test user=keep2; out me@example.org"},
		{plain, "cmd", "local cmd@example.test user=cmd command=prog"},
		{plain, "file", "local file@example.test user=file file=/tmp/x"},
		{plain, "bob", "local bob@example.test user=none"},
		{plain, "tag", "local tag@example.test user=none"},
		{plain, "ping", "local ping@example.test user=pong"}, // the one that closes the circle keeps the mail
		{plain, "self", "local self@example.test user=self"},
		{plain, "refuse", "refuse 550 5.7.1 no"},
		{plain, "bad", "later"},
		{plain, "include", "local include@example.test user=include"},
		{plain, "big", "out x@example.org"},
		{plain, "huge", "later"},
		{plain, "many", "later"},
		{&config.Action{Alias: mapping("staff", "away, keep")}, "staff", "out me@example.org; local staff@example.test user=keep"},
		{&config.Action{Alias: mapping("keep", "none")}, "keep", "local keep@example.test user=none"},
		{&config.Action{User: "vmail"}, "away", "local away@example.test user=away"},
		{&config.Action{User: "vmail"}, "vmail", "out vm@example.org"},
		{&config.Action{Method: config.ForwardOnly}, "away", "out me@example.org"},
		{&config.Action{Method: config.ForwardOnly}, "empty", "later"},
		{&config.Action{Method: config.ForwardOnly}, "cmd", "later"},
		{&config.Action{Method: config.ExpandOnly}, "cmd", "local cmd@example.test user=cmd command=prog"},
		{&config.Action{Method: config.ExpandOnly}, "empty", "refuse"},
	} {
		action := *row.action
		res := newRouter(users, &action).Route(t.Context(), stranger(row.user+"@example.test"))
		if got := show(res); got != row.want {
			t.Errorf("%s, method %d: got %s (%v), want %s", row.user, action.Method, got, res.Cause, row.want)
		}
	}
	writeForward(t, users["many"], many.String())
	res := newRouter(users, &config.Action{}).Route(t.Context(), stranger("many@example.test"))
	if len(res.Envelopes) != MaxForwardNodes {
		t.Errorf("%d envelopes of %d allowed (%v)", len(res.Envelopes), MaxForwardNodes, res.Cause)
	}
}

// TestForwardSafety makes a .forward of which one thing is wrong at a time.
func TestForwardSafety(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name  string
		spoil func(u *User, path string)
		want  error
	}{
		{"fine", func(*User, string) {}, nil},
		{"group may write", func(_ *User, p string) { must(os.Chmod(p, 0o664)) }, errUnsafe},
		{"others may write", func(_ *User, p string) { must(os.Chmod(p, 0o646)) }, errUnsafe},
		{"group may write to the home", func(u *User, _ string) { must(os.Chmod(u.Home, 0o775)) }, errUnsafe},
		{"others may write to the home", func(u *User, _ string) { must(os.Chmod(u.Home, os.ModeSticky|0o777)) }, errUnsafe},
		{"belongs to somebody else", func(u *User, p string) {
			if os.Getuid() == 0 { // root's would do, so it has to become another's
				must(os.Chown(p, 12345, 12345))
			}
			u.UID = 54321
		}, errUnsafe},
		{"symbolic link", func(_ *User, p string) {
			must(os.Rename(p, p+".real"))
			must(os.Symlink(p+".real", p))
		}, unix.ELOOP},
		{"directory", func(_ *User, p string) {
			must(os.Remove(p))
			must(os.Mkdir(p, 0o755))
		}, errNotFile},
		{"fifo", func(_ *User, p string) {
			must(os.Remove(p))
			must(unix.Mkfifo(p, 0o600))
		}, errNotFile},
	} {
		t.Run(row.name, func(t *testing.T) {
			u := User{Name: "alice", UID: os.Getuid(), Home: filepath.Join(t.TempDir(), "alice")}
			must(os.Mkdir(u.Home, 0o755))
			row.spoil(&u, writeForward(t, u.Home, "x@example.org"))
			r := newRouter(people{}, &config.Action{})
			items, err := r.readForward(u)
			if !errors.Is(err, row.want) || (row.want == nil) != (spell(items) == "address x@example.org") {
				t.Errorf("%s, %v; want error %v", spell(items), err, row.want)
			}
		})
	}
}

// TestForwardOfNobody: without root, a home that cannot be looked into has no
// .forward, and the log says so.
func TestForwardOfNobody(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root can look into every home")
	}
	home := filepath.Join(t.TempDir(), "alice")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	writeForward(t, home, "x@example.org")
	if err := os.Chmod(home, 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(home, 0o700)
	var out bytes.Buffer
	r := New(&config.Config{}, people{}, slog.New(slog.NewTextHandler(&out, nil)))
	items, err := r.readForward(User{Name: "alice", UID: os.Getuid(), Home: home})
	if items != nil || err != nil || !strings.Contains(out.String(), "alice") {
		t.Errorf("%v, %v, log %q", items, err, out.String())
	}
}

func TestForwardWithoutHome(t *testing.T) {
	r := newRouter(people{}, &config.Action{})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, home := range []string{"", "relative", "/nonexistent", file} {
		if items, err := r.readForward(User{Home: home}); items != nil || err != nil {
			t.Errorf("%q: %v, %v", home, items, err)
		}
	}
}
