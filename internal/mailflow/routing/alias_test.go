package routing

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/config"
)

func (i item) String() string {
	name := map[itemKind]string{userItem: "user ", fileItem: "file ", commandItem: "command ", errorItem: "error ", includeItem: "include "}
	if i.kind == addressItem {
		return "address " + i.addr.String()
	}
	return name[i.kind] + i.text
}

func spell(items []item) string {
	var s []string
	for _, i := range items {
		s = append(s, i.String())
	}
	return strings.Join(s, "; ")
}

func TestParseItems(t *testing.T) {
	for _, row := range []struct {
		value string
		want  string
		err   error
	}{
		{"alice", "user alice", nil},
		{" Alice ,bob,, ", "user alice; user bob", nil},
		{"", "", nil},
		{" , ", "", nil},
		{`\alice`, "user alice", nil},
		{"a.b-c_d+e1", "user a.b-c_d+e1", nil},
		{"Friend@Example.org", "address Friend@Example.org", nil},
		{"o'neil@example.org", "", errQuote},
		{`o\'neil@example.org`, "address o'neil@example.org", nil},
		{"a!#$%*/?|^{}`~&+-=_.z@example.org", "address a!#$%*/?|^{}`~&+-=_.z@example.org", nil},
		{"jürgen@exämple.org", "address jürgen@exämple.org", nil},
		{"@example.org", "", errSyntax},
		{"alice@", "", errSyntax},
		{"a@b@c", "", errSyntax},
		{"a@[127.0.0.1]", "", errSyntax},
		{"a@b_c", "", errSyntax},
		{"/var/mail/x, /var/mail/with space", "file /var/mail/x; file /var/mail/with space", nil},
		{`"/var/mail/a, b"`, "file /var/mail/a, b", nil},
		{"|/bin/prog -x", "command /bin/prog -x", nil},
		{`"|/bin/prog a, b"`, "command /bin/prog a, b", nil},
		{`|"/bin/prog" 'a, b'`, `command "/bin/prog" 'a, b'`, nil},
		{`|prog a\, b`, "command prog a, b", nil},
		{"|", "", errSyntax},
		{`"|"`, "", errSyntax},
		{"| ", "", errSyntax},
		{":include:/etc/list", "include /etc/list", nil},
		{"Include:/etc/list", "include /etc/list", nil},
		{":include:list", "", errSyntax},
		{"error:550 5.1.1 gone", "error 550 5.1.1 gone", nil},
		{":ERROR:450 x", "error 450 x", nil},
		{"error:550", "", errSyntax},
		{"error:550 ", "", errSyntax},
		{"error:550-more", "", errSyntax},
		{"error:250 ok", "", errSyntax},
		{"error:5x0 ok", "", errSyntax},
		{"error:550 -", "", errSyntax},
		{`"alice`, "", errQuote},
		{`alice\`, "", errQuote},
		{"two words", "", errSyntax},
		{`"quoted"`, "", errSyntax},
		{"|a\x00b", "", errControl},
		{"/a\nb", "", errControl},
		{"error:550 a\rb", "", errControl},
	} {
		items, err := parseItems(row.value)
		if got := spell(items); got != row.want || !errors.Is(err, row.err) {
			t.Errorf("%q: %s (%v), want %s (%v)", row.value, got, err, row.want, row.err)
		}
	}
}

func TestCheck(t *testing.T) {
	good := &config.Action{Alias: mapping("a", "b, c@example.org", "d", "|prog")}
	cfg := &config.Config{Actions: map[string]*config.Action{"good": good, "none": {}}}
	if err := Check(cfg); err != nil {
		t.Error(err)
	}
	cfg.Actions["bad"] = &config.Action{Alias: mapping("a", "two words"), Virtual: mapping("x@y", "\"open", "z@y", "fine")}
	err := Check(cfg)
	if !errors.Is(err, errSyntax) || !errors.Is(err, errQuote) {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{`action "bad"`, `key "a"`, `key "x@y"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

func TestParseLines(t *testing.T) {
	for _, row := range []struct {
		text string
		want string
	}{
		{"alice\nbob\n", "user alice; user bob"},
		{"alice, bob\r\n# a comment, with \"\ncarol # more\n\n", "user alice; user bob; user carol"},
		{"alice, \\\n bob\ncarol", "user alice; user bob; user carol"},
		{"alice \\", "user alice"},
		{"|prog \\#1\n", "command prog #1"},
		{"|prog \\\\\nbob", "command prog \\; user bob"},
		{"# comment \\\nbob", "user bob"},
		{":include:/etc/shadow\nbob", "user bob"},
		{"", ""},
	} {
		items, err := parseLines(row.text)
		if got := spell(items); got != row.want || err != nil {
			t.Errorf("%q: %s (%v), want %s", row.text, got, err, row.want)
		}
	}
}

func TestInclude(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "list")
	r := newRouter(people{"alice": "/nonexistent"}, &config.Action{Alias: mapping("list", ":include:"+path+", friend@example.org")})
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		text string
		want string
	}{
		{"alice # ours\nx@example.org\n:include:/etc/passwd\n", "local list@example.test user=alice; out x@example.org; out friend@example.org"},
		{"", "out friend@example.org"},
		{"two words", "later"},
		{"alice" + strings.Repeat(" ", MaxIncludeSize-len("alice")), "local list@example.test user=alice; out friend@example.org"},
		{"alice" + strings.Repeat(" ", MaxIncludeSize-len("alice")+1), "later"},
	} {
		write(row.text)
		res := r.Route(t.Context(), stranger("list@example.test"))
		if got := show(res); got != row.want {
			t.Errorf("%.20q: got %s (%v), want %s", row.text, got, res.Cause, row.want)
		}
	}
	dirList := newRouter(people{}, &config.Action{Alias: mapping("list", ":include:"+dir)})
	if res := dirList.Route(t.Context(), stranger("list@example.test")); res.Verdict != TryLater || !errors.Is(res.Cause, errNotFile) {
		t.Errorf("a directory: %v %v", res.Verdict, res.Cause)
	}
}

func FuzzParseItems(f *testing.F) {
	for _, s := range []string{"alice, bob", `"|prog a, b"`, ":include:/x", "error:550 x", `\a\,b`, "a@b.c", "'", "/x y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		items, err := parseItems(value)
		if err != nil && items != nil {
			t.Fatal("items and an error")
		}
		for _, it := range items {
			checkItem(t, it)
		}
	})
}

// checkItem says what the rest of the server may rely on.
func checkItem(t *testing.T, it item) {
	t.Helper()
	if strings.ContainsAny(it.text+it.addr.String(), "\x00\r\n") {
		t.Fatalf("control byte in %q", it)
	}
	ok := false
	switch it.kind {
	case addressItem:
		ok = it.text == "" && it.addr.Local != "" && it.addr.Domain != "" && !strings.ContainsAny(it.addr.String(), " \t<>,;\"")
	case userItem:
		ok = it.text != "" && it.text == lower(it.text) && !strings.ContainsAny(it.text, "/@ |:")
	case fileItem, includeItem:
		ok = strings.HasPrefix(it.text, "/")
	case commandItem:
		ok = strings.TrimSpace(it.text) != ""
	case errorItem:
		ok = len(it.text) >= 5 && (it.text[0] == '4' || it.text[0] == '5') && it.text[3] == ' '
	}
	if !ok {
		t.Fatalf("bad item %d %q %v", it.kind, it.text, it.addr)
	}
}

func FuzzParseLines(f *testing.F) {
	for _, s := range []string{"alice\nbob", "a \\\nb # c", "# \\\n", "|x \\#\n", "\\\n\\\n", "a@b.c,\r\n/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		items, err := parseLines(text)
		if err != nil {
			return
		}
		for _, it := range items {
			checkItem(t, it)
			if it.kind == includeItem {
				t.Fatal("an include came through")
			}
		}
	})
}
