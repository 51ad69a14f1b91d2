package privsep

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
)

func TestTmpDirs(t *testing.T) {
	tmp := t.TempDir()
	for _, d := range []string{"a", "b.c"} {
		if err := os.Mkdir(filepath.Join(tmp, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(tmp, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"/bin/filter -v": "",
		"/tmp/a/filter -c /tmp/b.c/conf /tmp/a/x": "a b.c",
		"/tmp/a":                                     "a",
		"filter --tmp=/tmp/ TMPDIR=/tmp":             "",
		"filter --cache /var/tmp/x /mnt/tmp/y":       "",
		"filter unix:/tmp/a/sock,'/tmp/b.c/q'":       "a b.c",
		"filter /tmp/file":                           "everybody's",
		"filter unix:/tmp/clamd.sock":                "everybody's",
		"filter /tmp/a/x --log /tmp/not-there/x.log": "everybody's",
		"filter /tmp/../etc":                         "everybody's",
	} {
		names, ok := tmpDirs(tmp, strings.Fields(words))
		got := strings.Join(names, " ")
		if !ok {
			got = "everybody's"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", words, got, want)
		}
	}
}

// TestHostileTmpWithoutWords: filters that name nothing in /tmp have one each,
// which is gone with them; others find there what their command names.
func TestHostileTmpWithoutWords(t *testing.T) {
	h := hostileHouse(t)
	run := func(command string) string {
		c := h.proc(config.Sandbox{})
		c.Command = command
		return h.begin(t, c, "/bin/sh", "-c", command).text(t)
	}
	file := filepath.Join(os.TempDir(), "privsep-private")
	t.Cleanup(func() { os.Remove(file) })
	// The path is put together, as the command would name it otherwise.
	const script = "f=$(echo tmp/privsep-private); cat /$f; echo mine > /$f && cat /$f"
	if h.noUserNS {
		want(t, run(script), "cat: /tmp/privsep-private: No such", "mine")
		if _, err := os.Stat(file); err != nil {
			t.Error("without mounts it is in the /tmp of all")
		}
		return
	}
	for range 2 {
		want(t, run(script), "cat: /tmp/privsep-private: No such", "mine")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it is in the /tmp of all")
	}
	h.mu.Lock()
	for _, p := range h.running {
		t.Errorf("%s is still there, with %v", p.name, p.tmp)
	}
	h.mu.Unlock()
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), tmpPrefix+"*", "tmp", "privsep-private")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if !strings.HasPrefix(h.dir, "/tmp/") {
		t.Skip("temporary directories are not in /tmp")
	}
	os.Chmod(h.dir, 0o777)
	want(t, run("echo seen > "+h.dir+"/out; cat "+h.dir+"/out; cat "+h.secret), "seen", "cat: "+h.secret+": No such")
	if b, _ := os.ReadFile(h.dir + "/out"); string(b) != "seen\n" {
		t.Errorf("in the directory that the command names there is %q", b)
	}
}

func TestSweepTmp(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	old := time.Now().Add(-2 * tmpYoung)
	want := []string{tmpPrefix + "link"}
	for name, stays := range map[string]bool{tmpPrefix + "left": false, tmpPrefix + "used": true, tmpPrefix + "young": true, "other": true} {
		dir := filepath.Join(os.TempDir(), name)
		if err := os.MkdirAll(filepath.Join(dir, "tmp", "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "young") {
			os.Chtimes(dir, old, old)
		}
		if stays {
			want = append(want, name)
		}
	}
	f, err := lockDir(filepath.Join(os.TempDir(), tmpPrefix+"used"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Symlink("/", filepath.Join(os.TempDir(), tmpPrefix+"link")); err != nil {
		t.Fatal(err)
	}
	sweepTmp()
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
}
