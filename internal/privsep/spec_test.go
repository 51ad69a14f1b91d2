package privsep

import (
	"encoding/json"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirmail/weir/internal/config"
)

func goodSpec() *spec {
	return &spec{
		Name: "a", Argv: []string{"/bin/sh", "-c", "exec true"}, Env: []string{"A=b", "C="}, Parent: 1,
		ChangeIDs: true, UID: maxID, Groups: []int{0}, Chroot: "/c",
		Hide: []string{"/q"}, Keep: []string{"/q/s"}, View: &view{Read: []string{"/r"}},
	}
}

func TestSpec(t *testing.T) {
	text, err := json.Marshal(goodSpec())
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeSpec(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goodSpec(), got); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{
		"nothing":       "",
		"unknown field": `{"Argv":["/x"],"Nmae":1}`,
		"two":           string(text) + string(text),
		"too long":      string(text) + strings.Repeat(" ", maxSpec),
		"null":          "null",
	} {
		if _, err := decodeSpec(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, change := range map[string]func(*spec){
		"no program":       func(s *spec) { s.Argv = nil },
		"relative program": func(s *spec) { s.Argv[0] = "sh" },
		"null byte":        func(s *spec) { s.Argv[2] = "a\x00b" },
		"null in path":     func(s *spec) { s.View.Read[0] = "/\x00" },
		"relative path":    func(s *spec) { s.Hide[0] = "q" },
		"relative view":    func(s *spec) { s.View.Write = []string{"w"} },
		"relative chroot":  func(s *spec) { s.Chroot = "c" },
		"variable":         func(s *spec) { s.Env[1] = "C" },
		"nameless":         func(s *spec) { s.Env[1] = "=C" },
		"uid":              func(s *spec) { s.UID = maxID + 1 },
		"gid":              func(s *spec) { s.GID = -1 },
		"group":            func(s *spec) { s.Groups[0] = maxID + 1 },
		"limit":            func(s *spec) { s.Memory = -1 },
	} {
		s := goodSpec()
		change(s)
		if s.validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzSpec(f *testing.F) {
	text, err := json.Marshal(goodSpec())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"Argv":["/x"]}`)
	f.Add(`{"Argv":["/x"],"View":{"Read":["/"]},"UID":4294967295}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := decodeSpec(strings.NewReader(text))
		if err != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeSpec(strings.NewReader(string(again))); err != nil {
			t.Errorf("%s: %v", again, err)
		}
		for _, p := range s.paths() {
			if !filepath.IsAbs(p) {
				t.Errorf("path %q", p)
			}
		}
	})
}

// rest is what follows the session in /proc/PID/stat, up to behind the start time.
const rest = " 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 1234"

func FuzzStat(f *testing.F) {
	f.Add([]byte("12 (sh) S 1 12 12" + rest))
	f.Add([]byte("12 (a) b) (S) Z 1 12 13" + rest))
	f.Add([]byte("12 (x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		st, err := parseStat(12, text)
		if err == nil && (st.pid != 12 || st.state == 0) {
			t.Errorf("%q: %+v", text, st)
		}
		parseFields(string(text)).uid()
	})
}

func TestStat(t *testing.T) {
	st, err := parseStat(12, []byte("12 (a) Z 9 9 9 (S) S 1 13 14"+rest))
	if err != nil || st != (stat{12, 1, 13, 14, 'S', 1, 4711}) {
		t.Errorf("%+v, %v", st, err)
	}
	for _, text := range []string{"", "12", "12 (sh) S 1 2 3 0 -1", "12 (sh) S 1 2 x" + rest, "12 (sh) SS 1 2 3" + rest, "12 (sh) \x00 1 2 3" + rest} {
		if _, err := parseStat(12, []byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestHidden(t *testing.T) {
	procs := []*config.Proc{
		{Name: "a", Sandbox: config.Sandbox{Write: []string{"/var/a", "/tmp", "/var/shared"}}},
		{Name: "b", Sandbox: config.Sandbox{Read: []string{"/var/shared/x", "/usr"}}},
		{Name: "c", Chroot: "/jail", Sandbox: config.Sandbox{Write: []string{"/data"}}},
		{Name: "d"},
	}
	l := New(&config.Config{
		Queue: config.Queue{Path: "/q"}, Procs: procs,
		PKI: map[string]*config.PKI{"x": {Key: "/k1"}, "y": {Key: "/k0"}, "z": {Key: "/k1"}},
	}, discard)
	for name, want := range map[string][]string{
		"a": {"/jail/data", "/k0", "/k1", "/q"},
		"b": {"/jail/data", "/k0", "/k1", "/q", "/var/a"},
		"c": {"/k0", "/k1", "/q", "/var/a", "/var/shared"},
		"d": {"/jail/data", "/k0", "/k1", "/q", "/var/a", "/var/shared"},
	} {
		i := slices.IndexFunc(procs, func(c *config.Proc) bool { return c.Name == name })
		if got := l.hidden(procs[i]); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"bin/prog", "etc/prog.conf", "jail/bin/prog", "my dir/x y"} {
		path := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("bin/prog", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	sh := func(command string) (*config.Proc, []string) {
		command = strings.ReplaceAll(command, "@", dir)
		return &config.Proc{Command: command}, []string{"/bin/sh", "-c", "exec " + command}
	}
	check := func(name string, c *config.Proc, argv []string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = strings.ReplaceAll(want[i], "@", dir)
		}
		if got := programs(c, argv); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	c, argv := sh("@/bin/prog -c @/etc/prog.conf /nonexistent relative /tmp")
	check("program and file", c, argv, "@/bin/prog", "@/etc/prog.conf", "@/bin")
	c, argv = sh(`'@/my dir/x y' "-c"`)
	check("quotes", c, argv, "@/my dir/x y", "@/my dir")
	c, argv = sh("@/link")
	check("link", c, argv, "@/bin/prog", "@/link", "@", "@/bin")
	c, argv = sh("/bin/prog")
	c.Chroot = filepath.Join(dir, "jail")
	check("chroot", c, argv, "/bin/prog", "/bin")
	check("script", &config.Proc{Python: "x"}, []string{dir + "/bin/prog", dir + "/etc/prog.conf"}, "@/bin/prog", "@/etc/prog.conf", "@/bin", "@/etc")
}

func TestIdentity(t *testing.T) {
	sp := &spec{}
	_, notes, err := sp.identity(&config.Proc{User: "nobody", Chroot: "/x"}, 1234)
	if err != nil || len(notes) != 1 || sp.ChangeIDs || sp.Chroot != "" || sp.UID != 1234 {
		t.Errorf("as an ordinary user: %+v %v %v", sp, notes, err)
	}
	if me, err := user.LookupId("1"); err == nil {
		if _, notes, err := (&spec{}).identity(&config.Proc{User: me.Username}, 1); err != nil || len(notes) != 0 {
			t.Errorf("as oneself: %v %v", notes, err)
		}
	}
	sp = &spec{}
	home, notes, err := sp.identity(&config.Proc{User: "nobody", Group: "root"}, 0)
	if err != nil || len(notes) != 0 || !sp.ChangeIDs || sp.UID == 0 || sp.GID != 0 || len(sp.Groups) != 0 || sp.KeepCaps || home == "" {
		t.Errorf("user and group: %+v %v %v", sp, notes, err)
	}
	sp = &spec{}
	if _, _, err := sp.identity(&config.Proc{User: "root"}, 0); err != nil || !sp.KeepCaps {
		t.Errorf("root on purpose: %+v %v", sp, err)
	}
	sp = &spec{}
	_, notes, err = sp.identity(&config.Proc{}, 0)
	if _, missing := user.Lookup(DefaultUser); err != nil || sp.KeepCaps || (missing == nil) != (sp.UID != 0) || (missing != nil) != (len(notes) == 1) {
		t.Errorf("default: %+v %v %v", sp, notes, err)
	}
	for _, c := range []*config.Proc{{User: "no-such-user"}, {Group: "no-such-group"}} {
		if _, _, err := (&spec{}).identity(c, 0); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}
