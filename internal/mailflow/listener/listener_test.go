package listener

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
)

var quiet = slog.New(slog.DiscardHandler)

func bind(t *testing.T, l config.Listener, path string) *Socket {
	t.Helper()
	socks, err := Bind(t.Context(), &l, path)
	if err != nil {
		t.Fatal(err)
	}
	if len(socks) != 1 {
		t.Fatalf("%d sockets, want 1", len(socks))
	}
	t.Cleanup(func() { socks[0].Close() })
	return socks[0]
}

func TestBind(t *testing.T) {
	tests := []struct {
		name     string
		l        config.Listener
		loopback bool
		wantErr  string
	}{
		{"IPv4 address", config.Listener{Interface: "127.0.0.1"}, true, ""},
		{"interface by the name that OpenBSD has", config.Listener{Interface: "lo0", Family: 4}, true, ""},
		{"host name", config.Listener{Interface: "localhost", Family: 4}, true, ""},
		{"any address is not loopback", config.Listener{Interface: "0.0.0.0"}, false, ""},
		{"family that the address has not", config.Listener{Interface: "127.0.0.1", Family: 6}, false, "no address of family inet6"},
		{"nothing of that name", config.Listener{Interface: "no.such.name.invalid"}, false, "neither an address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			socks, err := Bind(t.Context(), &tt.l, "")
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range socks {
				if s.Loopback != tt.loopback {
					t.Errorf("%s: loopback %v, want %v", s.Addr(), s.Loopback, tt.loopback)
				}
				s.Close()
			}
		})
	}
}

// TestBindTaken: the error names the place in the configuration.
func TestBindTaken(t *testing.T) {
	s := bind(t, config.Listener{Interface: "127.0.0.1"}, "")
	l := config.Listener{Interface: "127.0.0.1", Port: s.Addr().(*net.TCPAddr).Port, Pos: config.Pos{File: "weir.conf", Line: 3, Column: 1}}
	if _, err := Bind(t.Context(), &l, ""); err == nil || !strings.Contains(err.Error(), "weir.conf:3:1") {
		t.Errorf("error %v", err)
	}
}

// TestBindCovered: that a server is in its own way is told.
func TestBindCovered(t *testing.T) {
	s := bind(t, config.Listener{Interface: "127.0.0.1"}, "")
	port := s.Addr().(*net.TCPAddr).Port
	s.place = net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) // it was asked for any
	l := config.Listener{Interface: "0.0.0.0", Port: port}
	if _, err := Bind(t.Context(), &l, "", s); err == nil || !strings.Contains(err.Error(), "takes a stop and a start") {
		t.Errorf("error %v", err)
	}
	if _, err := Bind(t.Context(), &l, ""); err == nil || strings.Contains(err.Error(), "takes a stop") {
		t.Errorf("another program's: error %v", err)
	}
}

// TestCheck: what cannot be listened on is told, what is in use is no matter.
func TestCheck(t *testing.T) {
	s := bind(t, config.Listener{Interface: "127.0.0.1"}, "")
	for _, l := range []config.Listener{{Socket: true}, {Interface: "all"}, {Interface: "127.0.0.1", Port: s.Addr().(*net.TCPAddr).Port}} {
		if err := Check(t.Context(), &l); err != nil {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for _, name := range []string{"192.0.2.1", "no.such.name.invalid"} {
		l := config.Listener{Interface: name, Pos: config.Pos{File: "weir.conf", Line: 3, Column: 1}}
		if err := Check(t.Context(), &l); err == nil || !strings.HasPrefix(err.Error(), "weir.conf:3:1: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnixSocket: one that a dead server left is replaced, and all users may
// open the new one.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "smtp.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := bind(t, config.Listener{Socket: true}, path)
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != socketMode {
		t.Errorf("mode %v, error %v", st.Mode(), err)
	}
	if !s.Loopback {
		t.Error("the unix socket counts as loopback")
	}
}

// TestServe: connections are handed on within the limits, and a place that is
// left is free again.
func TestServe(t *testing.T) {
	s := bind(t, config.Listener{Interface: "127.0.0.1"}, "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	limits := &Limits{MaxSessions: 3, MaxSessionsPerSource: 2}
	served := make(chan error, 1)
	go func() {
		served <- s.Serve(ctx, limits, &wg, quiet, func(_ context.Context, c net.Conn) {
			defer c.Close()
			io.WriteString(c, "hello\r\n")
			io.Copy(io.Discard, c)
		})
	}()
	dial := func() (net.Conn, string) {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return c, line
	}
	first, line := dial()
	if line != "hello\r\n" {
		t.Errorf("first connection heard %q", line)
	}
	dial()
	if _, line := dial(); !strings.HasPrefix(line, "421 4.7.0 ") {
		t.Errorf("third connection of one source heard %q", line)
	}
	first.Close()
	for end := time.Now().Add(5 * time.Second); ; {
		if _, line := dial(); line == "hello\r\n" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the place of a connection that ended is not free again")
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestRefusalUnderTLS: a client that expects a handshake is told nothing in the
// clear; it would take that for an attack.
func TestRefusalUnderTLS(t *testing.T) {
	s := bind(t, config.Listener{Interface: "127.0.0.1", TLS: config.TLSImplicit}, "")
	var wg sync.WaitGroup
	go s.Serve(t.Context(), &Limits{}, &wg, quiet, func(_ context.Context, c net.Conn) { c.Close() })
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if b, err := io.ReadAll(c); err != nil || len(b) != 0 {
		t.Errorf("heard %q, %v; want the end", b, err)
	}
}

func TestLimits(t *testing.T) {
	tcp := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	l := &Limits{MaxSessions: 4, MaxSessionsPerSource: 1}
	for _, tt := range []struct {
		addr string
		want error
	}{
		{"192.0.2.1:1", nil},
		{"192.0.2.1:2", ErrSourceFull},
		{"192.0.2.2:1", nil},
		{"[2001:db8::1]:1", nil},
		{"[2001:db8::2]:1", ErrSourceFull}, // same /64
		{"[2001:db8:0:1::1]:1", nil},
		{"192.0.2.3:1", ErrFull},
	} {
		if _, err := l.admit(tcp(tt.addr)); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.addr, err, tt.want)
		}
	}
	l = &Limits{MaxSessions: 3, MaxSessionsPerSource: 1, FreeLoopback: true}
	for _, addr := range []string{"127.0.0.1:1", "127.0.0.1:2", "[::1]:1"} {
		if _, err := l.admit(tcp(addr)); err != nil {
			t.Errorf("%s, which is free: %v", addr, err)
		}
	}
	if _, err := l.admit(tcp("[::1]:2")); err != ErrFull {
		t.Errorf("a free source beyond the limit of all: %v", err)
	}
	if _, err := (&Limits{MaxSessions: 2}).admit(&net.UnixAddr{Name: "x"}); err != nil {
		t.Errorf("unix socket: %v", err)
	}
}
