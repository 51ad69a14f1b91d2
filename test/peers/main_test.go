package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/test/weirtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	weirtest.Clean()
	os.Exit(code)
}

// programLimit is how long a peer may run.
const programLimit = 2 * time.Minute

// house is a server with a mailbox for alice.
type house struct {
	*weirtest.Server
	dir  string
	mail string // root of the maildirs
	port int
}

// newHouse starts a server. config comes first; listener is the options of the
// listener on the loopback address, socket of that on the socket.
func newHouse(t *testing.T, config, listener, socket string) *house {
	t.Helper()
	h := &house{dir: t.TempDir(), port: weirtest.FreePort(t)}
	h.mail = filepath.Join(h.dir, "mail")
	weirtest.Certificate(t, h.dir, "mx.example.test")
	h.Server = weirtest.Start(t, h.dir, strings.NewReplacer("@DIR@", h.dir).Replace(config)+fmt.Sprintf(`
pki mx.example.test cert "%[1]s/cert.pem"
pki mx.example.test key "%[1]s/key.pem"
table creds { %[2]s }
table users { %[3]s }
listen on socket %[4]s
listen on 127.0.0.1 port %[5]d hostname mx.example.test %[6]s
action "local" maildir "%[7]s/%%{rcpt.user}" userbase <users>
match from any for domain "example.test" action "local"
`, h.dir, weirtest.Credentials(t, "secret", "alice"), weirtest.Userbase(filepath.Join(h.dir, "home"), "alice"),
		socket, h.port, listener, h.mail), h.port)
	return h
}

// delivered waits for all mail and gives it.
func (h *house) delivered(t *testing.T) []string {
	t.Helper()
	h.Drained(t, programLimit)
	var all []string
	for _, path := range weirtest.Mails(t, h.mail) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}

// peer runs a program to its end and gives its output.
func peer(t *testing.T, stdin, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
