package dialogs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/test/weirtest"
)

const (
	replyLimit   = 10 * time.Second // for one reply line to come
	deliverLimit = 20 * time.Second // for the queue to be empty after a dialog
)

// dialogConfig is the configuration of a server for dialogs; listeners come
// before it.
const dialogConfig = `
table users { %s }
action "local" maildir "%s/%%{user.username}" userbase <users>
match from any for domain "example.test" action "local"
`

// stage is the servers that dialogs are held with.
type stage struct {
	listeners map[string]*actor
}

// actor is one listener and what stands behind it.
type actor struct {
	port   int
	server *weirtest.Server
	mail   string // root of the maildirs
}

// builtinFilters has one filter of the server's own for each condition, at the
// phase at which what it looks at becomes known.
const builtinFilters = `
filter badhelo phase ehlo match helo { "bad.example" } reject "550 5.7.1 helo"
filter sender phase mail-from match mail-from regex { "^evil@" } reject "550 5.7.1 sender"
filter spam phase mail-from match mail-from { "@spam.example" } disconnect "421 4.7.0 domain"
filter mark phase mail-from match mail-from { "junk@example.net" } junk
filter rcpt phase rcpt-to match rcpt-to { "bob@example.test" } mail-from { "stranger@example.net" } reject "550 5.7.1 rcpt"
filter rename phase rcpt-to match rcpt-to { "alias@example.test" } rewrite "<alice@example.test>"
filter strangers phase connect match !src { "127.0.0.0/8" } disconnect "550 5.7.1 src"
filter free phase mail-from match mail-from { "free@example.net" } bypass
filter late phase commit match mail-from { "free@example.net", "late@example.net" } reject "550 5.7.1 late"
filter all chain { strangers, badhelo, sender, spam, mark, free, rcpt, rename, late }
`

// newStage starts a server for each kind of limits.
func newStage(t *testing.T) *stage {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	weirtest.Open(t, filepath.Dir(self)) // it is a filter, too
	st := &stage{listeners: make(map[string]*actor)}
	st.add(t, fmt.Sprintf("filter echo proc-exec \"%s %s\"\n", self, echoFilter),
		[2]string{"plain", ""}, [2]string{"echo", "filter echo"})
	st.add(t, "smtp max-message-size 4096\nsmtp limit max-rcpt 3 max-mails 2 max-errors 5\n",
		[2]string{"small", ""})
	st.add(t, "smtp timeout 1s\n", [2]string{"impatient", ""})
	st.add(t, builtinFilters, [2]string{"builtin", "filter all"})
	return st
}

// add starts a server with listeners, each a name and options.
func (st *stage) add(t *testing.T, config string, listeners ...[2]string) {
	t.Helper()
	dir := t.TempDir()
	mail := filepath.Join(dir, "mail")
	var ports []int
	for _, l := range listeners {
		port := weirtest.FreePort(t)
		ports = append(ports, port)
		config += fmt.Sprintf("listen on 127.0.0.1 port %d hostname mx.example.test %s\n", port, l[1])
	}
	config += fmt.Sprintf(dialogConfig, weirtest.Userbase(filepath.Join(dir, "home"), "alice", "bob"), mail)
	server := weirtest.Start(t, dir, config, ports...)
	for i, l := range listeners {
		st.listeners[l[0]] = &actor{port: ports[i], server: server, mail: mail}
	}
}

// TestDialogs holds the dialogs of this folder.
func TestDialogs(t *testing.T) {
	scripts := loadScripts(t)
	st := newStage(t)
	for _, s := range scripts {
		t.Run(strings.TrimSuffix(s.name, ".txt"), func(t *testing.T) { st.play(t, s) })
	}
}

// play holds one dialog, then looks at what was delivered.
func (st *stage) play(t *testing.T, s *script) {
	p := &player{script: s, stage: st}
	defer p.close()
	for _, step := range s.steps {
		if err := p.do(step); err != nil {
			t.Fatalf("%s:%d: %s %s\n%v\n\nthe dialog so far:\n%s", s.name, step.line, step.kind, step.text, err, p.said.String())
		}
	}
	p.close()
	p.checkMail(t)
}

// player is a dialog under way.
type player struct {
	script *script
	stage  *stage
	actors []*actor // those that were spoken to
	conn   net.Conn
	in     *bufio.Reader
	said   strings.Builder
	mail   []step // "D:" steps
}

func (p *player) close() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// do makes one step.
func (p *player) do(s step) error {
	switch s.kind {
	case "listener":
		return p.connect(s.text)
	case "D:":
		p.mail = append(p.mail, s)
		return nil
	}
	if p.conn == nil {
		return errors.New("there is no connection")
	}
	switch s.kind {
	case "S:":
		return p.expect(s.text)
	case "E:":
		return p.event(s.text)
	}
	b, err := unescape(s.text)
	if err != nil {
		return err
	}
	fmt.Fprintf(&p.said, "%s %.500s\n", s.kind, s.text)
	p.conn.SetWriteDeadline(time.Now().Add(replyLimit))
	switch s.kind {
	case "C:":
		_, err = p.conn.Write(append(b, "\r\n"...))
	case "C~":
		_, err = p.conn.Write(b)
	case "C1":
		for i := range b {
			if _, err = p.conn.Write(b[i : i+1]); err != nil {
				break
			}
		}
	}
	return err
}

func (p *player) connect(name string) error {
	p.close()
	a, ok := p.stage.listeners[name]
	if !ok {
		return errors.New("there is no such listener")
	}
	if !slices.Contains(p.actors, a) {
		p.actors = append(p.actors, a)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.port))
	if err != nil {
		return err
	}
	p.conn, p.in = conn, bufio.NewReader(conn)
	fmt.Fprintf(&p.said, "listener %s\n", name)
	return nil
}

// expect reads a reply line, or for a pattern of a code alone a whole reply.
func (p *player) expect(pattern string) error {
	whole := len(pattern) == 3 && strings.Trim(pattern, "0123456789") == ""
	for {
		line, err := p.readLine()
		if err != nil {
			return fmt.Errorf("no reply: %w", err)
		}
		switch {
		case !whole && !matches(pattern, line):
			return fmt.Errorf("the server said: %s", line)
		case whole && !strings.HasPrefix(line, pattern):
			return fmt.Errorf("the server said: %s", line)
		case whole && len(line) > 3 && line[3] == '-':
			continue
		}
		return nil
	}
}

// readLine reads one line of a reply, which must end in CR LF.
func (p *player) readLine() (string, error) {
	p.conn.SetReadDeadline(time.Now().Add(replyLimit))
	line, err := p.in.ReadString('\n')
	if line != "" {
		fmt.Fprintf(&p.said, "S: %q\n", line)
	}
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", fmt.Errorf("%q does not end in CR LF", line)
	}
	return text, nil
}

// event is the end of a connection, from either side.
func (p *player) event(what string) error {
	switch what {
	case "close":
		p.close()
		return nil
	case "closed":
		line, err := p.readLine()
		if err == nil {
			return fmt.Errorf("the server said: %s", line)
		}
		// A server that closes with something unread resets the connection.
		if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			return err
		}
		p.close()
		return nil
	}
	return errors.New("there are the events close and closed")
}

// checkMail compares what was delivered with the D: steps, and takes it away.
func (p *player) checkMail(t *testing.T) {
	t.Helper()
	var got []string // "user\nmessage"
	for _, a := range p.actors {
		a.server.Drained(t, deliverLimit)
		for _, path := range weirtest.Mails(t, a.mail) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rel, _ := filepath.Rel(a.mail, path)
			user, _, _ := strings.Cut(rel, string(filepath.Separator))
			got = append(got, user+"\n"+string(b))
			os.Remove(path)
		}
	}
	for _, want := range p.mail {
		expected, err := newExpectation(want.mail)
		if err != nil {
			t.Fatalf("%s:%d: %v", p.script.name, want.line, err)
		}
		i := slices.IndexFunc(got, func(m string) bool {
			user, message, _ := strings.Cut(m, "\n")
			return user == want.text && expected.fits(message)
		})
		if i < 0 {
			t.Errorf("%s:%d: not delivered to %s:\n%q\ndelivered was %q", p.script.name, want.line, want.text, expected, got)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	for _, m := range got {
		t.Errorf("%s: delivered and not expected: %q", p.script.name, m)
	}
	if t.Failed() {
		t.Logf("the dialog:\n%s", p.said.String())
	}
}

// expectation is a message as a D: step wants it: these lines in its header,
// in this order and others among them, and exactly this body.
type expectation struct {
	header []string
	body   string
}

func newExpectation(lines []string) (expectation, error) {
	var e expectation
	inBody := false
	for _, l := range lines {
		b, err := unescape(l)
		switch {
		case err != nil:
			return e, err
		case inBody:
			e.body += string(b) + "\n"
		case len(b) == 0:
			inBody = true
		default:
			e.header = append(e.header, string(b))
		}
	}
	return e, nil
}

// fits reports whether a delivered message is the expected one.
func (e expectation) fits(message string) bool {
	header, body, _ := strings.Cut(message, "\n\n")
	lines := strings.Split(header, "\n")
	for _, want := range e.header {
		i := slices.Index(lines, want)
		if i < 0 {
			return false
		}
		lines = lines[i+1:]
	}
	return body == e.body
}
