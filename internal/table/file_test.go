package table

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirmail/weir/internal/mail"
)

func TestParseFile(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		mapping    bool
		want       string
	}{
		{"empty", "", true, ""},
		{"only comments", "# nothing\n\n  # more\n", true, ""},
		{"list", "a\nb # comment\n\n#c\n", false, "a;b"},
		{"list of addresses", "::1\n192.0.2.0/24\n2001:db8::/32\nipv6:::2\n", false, "::1;192.0.2.0/24;2001:db8::/32;ipv6:::2"},
		{"forced list", "# @list\n^[[:alpha:]]+ x$\nb c\n", false, "^[[:alpha:]]+ x$;b c"},
		{"mapping", "a b\nc\td  e\n", true, "a=b;c=d  e"},
		{"aliases", "root: bob\nbob:carl\ndora :emil\n", true, "root=bob;bob=carl;dora=emil"},
		{"aliases continued", "root: a,\n\tb,\n  c\nstaff:\n\td\n\t, e\n", true, "root=a, b, c;staff=d , e"},
		{"indented entries", "  a: b\n  c: d\n", true, "a=b;c=d"},
		{"quoted hash", "a: \"|prog # x\" # comment\n", true, "a=\"|prog # x\""},
		{"hash in a word", "a b#c\n", true, "a=b#c"},
		{"addresses to names", "::1 localhost\n[::2]: six\n127.0.0.1\tlocalhost\n", true, "::1=localhost;[::2]=six;127.0.0.1=localhost"},
		{"crlf", "a b\r\nc d\r\n", true, "a=b;c=d"},
		{"other blanks", "a\vb\f\n\rc\r\rd\r\n", true, "a=b;c=d"},
		{"virtual", "@example.org bob\n@ carl\n", true, "@example.org=bob;@=carl"},
		{"no newline at the end", "a b", true, "a=b"},
	} {
		s, err := parseFile("f", tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, e := range s.entries {
			if e.Value != "" {
				e.Key += "=" + e.Value
			}
			got = append(got, e.Key)
		}
		if g := strings.Join(got, ";"); g != tt.want || s.mapping != tt.mapping {
			t.Errorf("%s: mapping %v: %s\nwant %v: %s", tt.name, s.mapping, g, tt.mapping, tt.want)
		}
	}
	for text, want := range map[string]string{
		"a b\nc\n":      `f:2: key "c" has no value`,
		"a b\n\nc:\n":   `f:3: key "c" has no value`,
		"a b\n: c\n":    `f:2: no key before "c"`,
		"a\nb\x00c\n":   `f:2: NUL byte in a table file`,
		"a:\n# end\n\n": `f:1: key "a" has no value`,
	} {
		if _, err := parseFile("f", text); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

func TestFileReread(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		write("a one\n")
		tab, err := OpenFile("t", path, nil)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(when, want string) {
			t.Helper()
			if got, _ := tab.Lookup("a"); got != want {
				t.Errorf("%s: a = %q, want %q", when, got, want)
			}
		}
		expect("opened", "one")
		write("a three\n")
		time.Sleep(checkInterval - 1)
		expect("within a second", "one")
		time.Sleep(time.Nanosecond)
		expect("after a second", "three")

		write("a b\nbroken\n")
		time.Sleep(checkInterval)
		expect("broken", "three")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval)
		expect("removed", "three")
		write("a two\n")
		time.Sleep(checkInterval)
		expect("there again", "two")

		// Same size, same time: only the inode differs.
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".new", []byte("a six\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path+".new", fi.ModTime(), fi.ModTime()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval)
		expect("replaced", "six")

		// Entries that came later and mean nothing are in the log.
		var log bytes.Buffer
		tab.SetLogger(slog.New(slog.NewTextHandler(&log, nil)))
		if err := tab.CheckUserinfo(); err == nil {
			t.Error("six is a user")
		}
		write("a 1:2:/h\nb seven\n")
		time.Sleep(checkInterval)
		expect("with a bad entry", "1:2:/h")
		if !strings.Contains(log.String(), `:2: \"seven\": not a user`) {
			t.Errorf("log %s", &log)
		}
	})
}

func TestOpenFileErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenFile("t", dir, nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("directory: %v", err)
	}
	if _, err := OpenFile("t", filepath.Join(dir, "none"), nil); !os.IsNotExist(err) {
		t.Errorf("missing: %v", err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, []byte("a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, MaxFileSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile("t", big, nil); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("too large: %v", err)
	}
}

func FuzzTableFile(f *testing.F) {
	f.Add("a b\nc: d,\n e\n")
	f.Add("# @list\n::1\n10/8\n@x\nu@*.y\n(a|b)+\n")
	f.Add("[::1]: x\nipv6:::2 y\n\"a # b\" c\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseFile("f", text)
		if err != nil {
			return
		}
		tab := newTable("t", s)
		for key := range tab.Keys() {
			if strings.Trim(key, blanks) != key || key == "" {
				t.Errorf("key %q", key)
			}
			if !tab.Has(key) {
				t.Errorf("key %q is not found", key)
			}
		}
		tab.MatchDomain("mail.example.org")
		tab.MatchNetAddr(netip.MustParseAddr("192.0.2.1"))
		tab.MatchNetAddr(netip.MustParseAddr("2001:db8::1"))
		tab.MatchMailAddr(mail.Address{Local: "bob+x", Domain: "example.org"})
		tab.MatchRegexp("bob@example.org")
		tab.CheckCredentials()
	})
}
