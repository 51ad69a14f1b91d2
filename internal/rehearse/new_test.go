package rehearse

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// repository is the root of the sources, for the SDKs in it.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// tool runs a program of the language in dir; a language that is not
// installed leaves the test out.
func tool(t *testing.T, dir string, env []string, argv ...string) {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skipf("%s is not installed", argv[0])
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

// Each template is written, built and tested as its README says, and its
// filter passes the check.
func TestNewFilters(t *testing.T) {
	t.Parallel()
	root := repository(t)
	sdk := func(name string) string { return filepath.Join(root, "sdk", name) }
	for language, try := range map[string]func(t *testing.T, dir string) []string{
		"go": func(t *testing.T, dir string) []string {
			// What "go get" would write, with this checkout in the place of a version.
			mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "go.mod"), string(mod)+"\nrequire github.com/weirmail/weir v0.0.0\n\nreplace github.com/weirmail/weir => "+root+"\n")
			sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "go.sum"), string(sum))
			env := []string{"GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off"}
			tool(t, dir, env, "go", "test", "./...")
			tool(t, dir, env, "go", "build", "-o", "my-go", ".")
			return []string{"./my-go"}
		},
		"c": func(t *testing.T, dir string) []string {
			build := t.TempDir()
			tool(t, sdk("c"), nil, "make", "-s", "BUILD="+build)
			tool(t, dir, nil, "make", "-s", "test", "CFLAGS=-O1 -Wall -Wextra -Werror", "CPPFLAGS=-I"+sdk("c/include"), "LDLIBS=-L"+build+" -lweirfilter")
			return []string{"./my-c"}
		},
		"python": func(t *testing.T, dir string) []string {
			tool(t, dir, []string{"WEIR_LIBEXEC=" + sdk("python"), "PYTHONDONTWRITEBYTECODE=1"}, "python3", "-m", "unittest")
			return []string{python(t), sdk("python/filter-python"), "my_python.py"}
		},
		"perl": func(t *testing.T, dir string) []string {
			tool(t, dir, []string{"WEIR_LIBEXEC=" + sdk("perl")}, "prove", "t/")
			return []string{sdk("perl/filter-perl"), "my-perl.pl"}
		},
		"sh": func(t *testing.T, dir string) []string {
			tool(t, dir, nil, "sh", "test.sh")
			return []string{"./my-sh.sh"}
		},
	} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "my-"+language)
			made, err := NewFilter(dir, language)
			if err != nil {
				t.Fatal(err)
			}
			written(t, dir, made)
			argv := try(t, dir)
			if !filepath.IsAbs(argv[0]) {
				argv[0] = filepath.Join(dir, argv[0])
			}
			r, err := Check(t.Context(), Options{Argv: argv, Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			compareOutcome(t, r, "")
			if !slices.Contains(r.Registered, "filter|smtp-in|mail-from") && language != "go" {
				t.Errorf("registered %q", r.Registered)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// written wants the files that were told, with nothing left to fill in.
func written(t *testing.T, dir string, made *Made) {
	t.Helper()
	name := filepath.Base(dir)
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		found = append(found, rel)
		for _, left := range []string{"@NAME@", "@FILE@", "@DIR@", "@CONFIG@"} {
			if strings.Contains(string(text), left) {
				t.Errorf("%s has %s in it", rel, left)
			}
		}
		if rel == "README.md" && !strings.Contains(string(text), "\n    "+made.Config+"\n") {
			t.Errorf("README.md does not have %q", made.Config)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	slices.Sort(made.Files)
	if !slices.Equal(found, made.Files) || len(found) < 3 {
		t.Errorf("there are %q, told were %q", found, made.Files)
	}
	if !strings.HasPrefix(made.Config, "filter "+name+" ") || !strings.Contains(made.Config, `"`+dir+"/") {
		t.Errorf("configuration %q", made.Config)
	}
}

func TestNewFilterRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{
		"":                                 "name of a filter", // the folder's own name begins with a digit
		"Refuse":                           "name of a filter",
		"1st":                              "name of a filter",
		"a--b":                             "name of a filter",
		"a-":                               "name of a filter",
		"a_b":                              "name of a filter",
		strings.Repeat("a", maxName+1):     "name of a filter",
		`with"quote/refuse`:                "absolute path",
		filepath.Join("there", "is", "ok"): "",
		strings.Repeat("a", maxName):       "",
		"x":                                "",
	} {
		_, err := NewFilter(filepath.Join(dir, name), "sh")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := NewFilter(filepath.Join(dir, "x"), "sh"); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a folder that exists: %v", err)
	}
	if _, err := NewFilter(filepath.Join(dir, "y"), "cobol"); err == nil || !strings.Contains(err.Error(), "go, c, python, perl, sh") {
		t.Errorf("cobol: %v", err)
	}
	if _, err := NewFilter("relative", "sh"); err == nil {
		t.Error("a relative path was taken")
	}
}
