package privsep

import (
	"bytes"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuardLog: a filter cannot fill the log by calls.
func TestGuardLog(t *testing.T) {
	var log bytes.Buffer
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "control"))
	if err != nil {
		t.Fatal(err)
	}
	guarded := Guard(ln, slog.New(slog.NewTextHandler(&log, nil)), func(int) (string, error) { return "hostile", nil })
	done := make(chan struct{})
	go func() { defer close(done); guarded.Accept() }()
	for range 5 * guardLines {
		c, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Read(make([]byte, 1)) // it was hung up on
		c.Close()
	}
	guarded.Close()
	<-done
	if n := strings.Count(log.String(), "tried the control socket"); n != guardLines {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
}
