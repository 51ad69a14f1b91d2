package server

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/test/weirtest"
)

// TestFilterIsolated runs a filter in a whole server: what it is given and
// what it can reach.
func TestFilterIsolated(t *testing.T) {
	dir := t.TempDir()
	weirtest.Certificate(t, dir, "mx.example.test")
	// What it can read of what it must not it says in its answer.
	body := fmt.Sprintf(`	case $kind in filter)
	got=$(cat '%[1]s'/q/* '%[1]s'/key.pem 2>/dev/null | wc -c)
	echo "filter-result|$id|$tok|reject|550 5.7.1 $got $MODE $(ls '%[1]s'/q)";;
	esac`, dir)
	f := script(t, dir, "spy.sh", body, "mail-from")
	s := start(t, dir, fmt.Sprintf(`
pki mx.example.test cert "@DIR@/cert.pem" key "@DIR@/key.pem"
filter spy proc-exec %q network off limit files 64 env MODE=strict workers 2
filter gate phase mail-from match mail-from { "bad@example.net" } reject "550 no"
listen on 127.0.0.1 port 0 tag in filter spy
`, f)+boxes(dir), Options{})
	c := dial(t, s.addr(t, "in"))
	c.do("EHLO client.example.net", "250")
	got := c.do("MAIL FROM:<a@example.net>", "550")
	log := s.log.String()
	if hidden := !strings.Contains(log, "can read the queue and the keys"); hidden && !strings.Contains(got, " 0 strict smtp.sock") {
		t.Errorf("it answers %q", got)
	}

	control := s.control(t)
	procs := list[admin.FilterProcess](t, control, admin.MethodFilterShow, admin.Name{Name: "spy"})
	if len(procs) != 2 {
		t.Fatalf("%d processes", len(procs))
	}
	for _, p := range procs {
		if !slices.Contains(s.pids(), p.PID) || !p.NoNewPrivs || !p.Seccomp || strings.Trim(p.Capabilities, "0") != "" ||
			p.Session != p.PID || p.Limits["files"] != "64" || p.Limits["core"] != "0" ||
			!slices.Contains(p.Hidden, filepath.Join(dir, "key.pem")) || !slices.Contains(p.Hidden, filepath.Join(dir, "q")) {
			t.Errorf("process %+v", p)
		}
		for _, d := range p.Descriptors {
			if strings.Contains(d, filepath.Join(dir, "q")) || strings.Contains(d, "socket:") {
				t.Errorf("descriptor %q", d)
			}
		}
	}
	for name, want := range map[string]string{"gate": "evaluates it itself", "nobody": `no filter "nobody"`} {
		err := admin.Each(t.Context(), control, admin.MethodFilterShow, admin.Name{Name: name}, func(admin.FilterProcess) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}
