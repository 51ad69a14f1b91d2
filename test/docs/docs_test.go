package docs

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/test/weirtest"
)

// pagesDir is where the pages are.
const pagesDir = "../../docs/"

func TestMain(m *testing.M) {
	code := m.Run()
	weirtest.Clean()
	os.Exit(code)
}

// block is one fenced block of a page: ```kind file.
type block struct {
	section    string // the heading above
	kind, file string
	text       string
}

var fence = regexp.MustCompile("^```([a-z]*) ?(.*)$")

// blocks gives the fenced blocks of a page.
func blocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	var b *block
	section := ""
	for line := range strings.Lines(string(text)) {
		m := fence.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case m != nil && b == nil:
			b = &block{section: section, kind: m[1], file: m[2]}
		case m != nil:
			all = append(all, *b)
			b = nil
		case b != nil:
			b.text += line
		case strings.HasPrefix(line, "#"):
			section = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	return all
}

// checkout makes what "git clone" and "make build" make, as far as pages use
// it, so that nothing is built in the real one.
func checkout(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "weir")
	if err := os.CopyFS(filepath.Join(dir, "sdk"), os.DirFS("../../sdk")); err != nil {
		t.Fatal(err)
	}
	os.RemoveAll(filepath.Join(dir, "sdk/c/build"))
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile("../../" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(weirtest.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "weir"), binary, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lab is the folder that a reader works in.
type lab struct {
	t    *testing.T
	weir string // the checkout
	dir  string
	port int
}

func newLab(t *testing.T, weir string) *lab {
	l := &lab{t: t, weir: weir, dir: t.TempDir(), port: weirtest.FreePort(t)}
	weirtest.Open(t, l.dir)
	weirtest.Open(t, weir)
	return l
}

func (l *lab) write(name, text string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o755); err != nil {
		l.t.Fatal(err)
	}
}

// run runs a block of sh.
func (l *lab) run(script string) string {
	l.t.Helper()
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Dir = l.dir
	cmd.Env = append(os.Environ(), "WEIR="+l.weir, "GOPROXY=off", "GOFLAGS=-mod=mod")
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	return string(out)
}

// serve starts the server of a configuration as the pages start it.
func (l *lab) serve(conf string) *weirtest.Server {
	l.t.Helper()
	me, err := user.Current()
	if err != nil {
		l.t.Fatal(err)
	}
	conf = strings.Replace(conf, "port 2525", fmt.Sprintf("port %d", l.port), 1)
	conf = fmt.Sprintf("dir = %q\nuser = %q\n", l.dir, me.Username) + conf
	l.t.Setenv("WEIR_BIN", filepath.Join(l.weir, "bin/weir")) // the bridges are found beside it
	s := &weirtest.Server{Config: filepath.Join(l.dir, "first.conf"), Spool: filepath.Join(l.dir, "queue")}
	l.write("first.conf", conf)
	s.Run(l.t, l.port)
	l.t.Cleanup(func() { s.Stop(l.t) })
	return s
}

var reply = regexp.MustCompile(`^[2-5][0-9][0-9] `)

// talk types a dialog: lines that begin with a code are what the server says
// to the line above them.
func (l *lab) talk(dialog string) {
	l.t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", l.port), 10*time.Second)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	answer := func() string {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				l.t.Fatalf("the server: %v", err)
			}
			if len(line) > 3 && line[3] == ' ' {
				return strings.TrimRight(line, "\r\n")
			}
		}
	}
	last, message := answer(), false
	for line := range strings.Lines(dialog) {
		line = strings.TrimSuffix(line, "\n")
		if reply.MatchString(line) && !message || line == last {
			if line != last {
				l.t.Errorf("the server says %q, the page %q", last, line)
			}
			continue
		}
		fmt.Fprintf(c, "%s\n", line)
		if message && line != "." {
			continue
		}
		last = answer()
		message = strings.HasPrefix(last, "354 ")
		if !message && strings.HasPrefix(last, "5") && !strings.Contains(dialog, "\n"+last+"\n") {
			l.t.Errorf("%s: the server says %q, the page nothing", line, last)
		}
	}
}

// The tutorial, word by word, in each of its languages.
func TestTutorial(t *testing.T) {
	if _, err := user.Lookup("_weir"); err == nil && os.Geteuid() == 0 {
		t.Skip("its reader is an ordinary user; there is a user _weir, so root gets no mail without an alias")
	}
	needs := map[string]string{"Python": "python3", "Perl": "perl", "Go": "go", "C": "cc", "sh and awk": "awk"}
	all := blocks(t, pagesDir+"tutorial-first-filter.md")
	weir := checkout(t)
	for language, program := range needs {
		t.Run(language, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				t.Skipf("no %s on this machine", program)
			}
			l := newLab(t, weir)
			var conf, line, dialog string
			for _, b := range all {
				switch {
				case b.file == "first.conf":
					conf = b.text
				case b.kind == "smtp":
					dialog = b.text
				case b.section != language:
				case b.file != "":
					l.write(b.file, b.text)
				case b.kind == "sh":
					l.run(b.text)
				case b.kind == "conf":
					line = b.text
				}
			}
			if conf == "" || line == "" || dialog == "" {
				t.Fatalf("the page lacks a configuration, a line for %s or a dialog", language)
			}
			conf = regexp.MustCompile(`(?m)^filter first .*\n`).ReplaceAllLiteralString(conf, line)
			s := l.serve(conf)
			l.talk(dialog)
			s.Drained(t, time.Minute)
			mails := weirtest.Mails(t, filepath.Join(l.dir, "mail/me"))
			if len(mails) != 1 {
				t.Fatalf("%d mails arrived, want 1", len(mails))
			}
			text, err := os.ReadFile(mails[0])
			if err != nil {
				t.Fatal(err)
			}
			if header, _, _ := strings.Cut(string(text), "\n\n"); !strings.Contains(header, "\nX-First: yes\n") || !strings.Contains(header, "Subject: hello") {
				t.Errorf("delivered:\n%s", text)
			}
		})
	}
}

// The coming-from pages: their programs run, and the lines of configuration
// are some.
func TestComingFrom(t *testing.T) {
	pages, err := filepath.Glob(pagesDir + "coming-from-*.md")
	if err != nil || len(pages) < 3 {
		t.Fatalf("pages: %v, %v", pages, err)
	}
	weir := checkout(t)
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			if _, err := exec.LookPath("python3"); err != nil {
				t.Skip("no python3 on this machine: the examples are in Python")
			}
			l := newLab(t, weir)
			all := blocks(t, page)
			if len(all) == 0 {
				t.Error("no blocks: nothing was tried")
			}
			for _, b := range all {
				switch {
				case b.file != "":
					l.write(b.file, b.text)
				case b.kind == "sh":
					l.run(b.text)
				case b.kind == "conf":
					if !strings.Contains(b.text, "match ") || !strings.Contains(b.text, "action ") { // a part: make it whole
						b.text += "action \"a\" maildir \"/tmp/%{rcpt.user}\"\nmatch for local action \"a\"\n"
					}
					l.write("some.conf", b.text)
					l.run(`"$WEIR/bin/weir" check -c some.conf`)
				default:
					t.Errorf("a block of %q is not tried", b.kind)
				}
			}
		})
	}
}

// Links between the pages lead somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	pages, _ := filepath.Glob(pagesDir + "*.md")
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(pagesDir, m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
