package peer

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/weirmail/weir/bench/filters"
	"github.com/weirmail/weir/test/weirtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	weirtest.Clean()
	os.Exit(code)
}

func TestNoSuchName(t *testing.T) {
	name := dnsmessage.MustNewName("1.0.0.127.in-addr.arpa.")
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}},
	}
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply, err := noSuchName(query)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(reply); err != nil {
		t.Fatal(err)
	}
	if m.ID != 7 || !m.Response || m.RCode != dnsmessage.RCodeNameError || len(m.Questions) != 1 || m.Questions[0].Name != name {
		t.Errorf("%+v", m)
	}
	if _, err := noSuchName(query[:5]); err == nil {
		t.Error("half a header was answered")
	}
}

// TestWeir starts and ends weir in every way that a Setup can ask for.
func TestWeir(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no C compiler")
	}
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or each process that ends takes a second
	dir := t.TempDir()
	weirtest.Open(t, dir)
	built, err := filters.Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := NewCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := &House{Dir: dir, Weir: weirtest.Binary(t), Sink: "127.0.0.1:9", Filters: built, Cert: cert}
	for _, c := range []struct {
		s       Setup
		filters int
	}{
		{Setup{}, 0}, {Setup{Filters: Noop}, 1}, {Setup{Filters: Data, Chain: 3, TLS: true, Sessions: 60_000}, 3},
	} {
		r, err := Start(t.Context(), h, Weir{}, c.s)
		if err != nil {
			t.Fatalf("%+v: %v", c.s, err)
		}
		if server, filters := r.Processes(); len(server) == 0 || len(filters) != c.filters || r.Ready <= 0 {
			t.Errorf("%+v: server %v, filters %v, %v", c.s, server, filters, r.Ready)
		}
		r.Stop()
		if conn, err := net.Dial("tcp", r.Addr); err == nil {
			conn.Close()
			t.Errorf("%+v: it still listens", c.s)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "weir-*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := Start(t.Context(), h, Weir{}, Setup{Filters: "no-such-mode", Queue: "/dev/null/queue"}); err == nil || !strings.Contains(err.Error(), "log ends with") {
		t.Errorf("a server that cannot start: %v", err)
	}
}
