package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve runs h on a socket of the test and gives its path.
func serve(t *testing.T, h Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), Socket)
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ServeListener(ctx, ln, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ServeListener: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return path
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testMux() *Mux {
	m := NewMux(quiet())
	m.Handle("double", Func(func(_ context.Context, n int) (int, error) { return 2 * n, nil }))
	m.Handle("fail", Func(func(context.Context, struct{}) (int, error) { return 0, errors.New("no such thing") }))
	m.Handle("mute", Func(func(context.Context, struct{}) (int, error) { return 0, errors.New("") }))
	m.Handle("panic", Func(func(context.Context, struct{}) (int, error) { panic("secret cause") }))
	m.Handle("count", Stream(func(_ context.Context, n int, yield func(string) error) error {
		for i := range n {
			if err := yield(fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	}))
	m.Handle("size", Func(func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil }))
	m.Handle("length", Func(func(_ context.Context, s string) (int, error) { return len(s), nil }))
	return m
}

func TestCall(t *testing.T) {
	c := dial(t, serve(t, testMux()))
	ctx := t.Context()
	for i := range 3 { // one connection carries several calls
		var n int
		if err := c.Call(ctx, "double", i+20, &n); err != nil || n != 2*(i+20) {
			t.Fatalf("double %d: %d, %v", i+20, n, err)
		}
	}
	for method, want := range map[string]string{
		"fail":    "no such thing",
		"mute":    "failed (*errors.errorString)",
		"panic":   "panic failed inside the server; its log has the cause",
		"unknown": `the server knows no method "unknown"; is it another version than this command?`,
	} {
		err := c.Call(ctx, method, nil, nil)
		var e Error
		if !errors.As(err, &e) || err.Error() != want {
			t.Errorf("%s: %v, want Error %q", method, err, want)
		}
	}
	var e Error
	if err := c.Call(ctx, "double", "text", nil); !errors.As(err, &e) || !strings.Contains(err.Error(), "arguments of double") {
		t.Errorf("wrong arguments: %v", err)
	}
	if err := c.Call(ctx, "double", 1, nil); err != nil { // the result is not wanted
		t.Error(err)
	}
}

func TestEach(t *testing.T) {
	c := dial(t, serve(t, testMux()))
	const many = 10000
	n := 0
	err := Each(t.Context(), c, "count", many, func(s string) error {
		if s != fmt.Sprint(n) {
			t.Fatalf("item %d is %q", n, s)
		}
		n++
		return nil
	})
	if err != nil || n != many {
		t.Fatalf("%d items, %v", n, err)
	}
	if err := Each(t.Context(), c, "count", 0, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	if err := Each(t.Context(), c, "count", 3, func(string) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("error of the callback: %v", err)
	}
}

func TestCallOfStream(t *testing.T) {
	c := dial(t, serve(t, testMux()))
	if err := c.Call(t.Context(), "count", 1, nil); err == nil || !strings.Contains(err.Error(), "answers with items") {
		t.Fatal(err)
	}
}

// TestCallerLeaves shows that a long answer ends when nobody wants it.
func TestCallerLeaves(t *testing.T) {
	left := make(chan error, 1)
	m := NewMux(quiet())
	m.Handle("endless", Stream(func(ctx context.Context, _ struct{}, yield func(string) error) error {
		for {
			if err := yield(strings.Repeat("x", 1000)); err != nil {
				left <- err
				<-ctx.Done()
				return err
			}
		}
	}))
	c := dial(t, serve(t, m))
	Each(t.Context(), c, "endless", nil, func(string) error { c.Close(); return io.EOF })
	if err := <-left; err == nil {
		t.Fatal("yield never failed")
	}
}

func TestLineLimit(t *testing.T) {
	path := serve(t, testMux())
	frame := len(`{"method":"length","args":""}` + "\n")
	var n int
	if err := dial(t, path).Call(t.Context(), "length", strings.Repeat("x", MaxLine-frame), &n); err != nil || n != MaxLine-frame {
		t.Errorf("longest request: %d, %v", n, err)
	}
	if err := dial(t, path).Call(t.Context(), "length", strings.Repeat("x", MaxLine-frame+1), &n); err == nil {
		t.Error("a request one byte too long is sent")
	}
	frame = len(`{"result":""}` + "\n")
	var s string
	if err := dial(t, path).Call(t.Context(), "size", MaxLine-frame, &s); err != nil || len(s) != MaxLine-frame {
		t.Errorf("longest result: %d, %v", len(s), err)
	}
	var e Error
	if err := dial(t, path).Call(t.Context(), "size", MaxLine-frame+1, &s); !errors.As(err, &e) {
		t.Errorf("a result one byte too long: %v", err)
	}
	// A caller that sends more than a line may have is told and left.
	raw, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	go raw.Write(bytes.Repeat([]byte("x"), MaxLine+1))
	got, _ := io.ReadAll(raw)
	if !strings.Contains(string(got), "request longer than") {
		t.Errorf("overlong request: %q", got)
	}
}

// TestConnectionLimit shows that further callers wait and are then served.
func TestConnectionLimit(t *testing.T) {
	inside := make(chan struct{}, 2*MaxConnections)
	goOn := make(chan struct{})
	m := NewMux(quiet())
	m.Handle("wait", Func(func(context.Context, struct{}) (struct{}, error) {
		inside <- struct{}{}
		<-goOn
		return struct{}{}, nil
	}))
	path := serve(t, m)
	var wg sync.WaitGroup
	for range MaxConnections + 3 {
		wg.Go(func() {
			c, err := Dial(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if err := c.Call(context.Background(), "wait", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	for range MaxConnections {
		<-inside
	}
	select {
	case <-inside:
		t.Errorf("more than %d calls at once", MaxConnections)
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	wg.Wait()
}

func TestShutdownEndsCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), Socket)
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m := NewMux(quiet())
	m.Handle("hang", Func(func(ctx context.Context, _ struct{}) (int, error) {
		cancel()
		<-ctx.Done()
		return 0, ctx.Err()
	}))
	done := make(chan error, 1)
	go func() { done <- ServeListener(ctx, ln, m) }()
	idle := dial(t, path) // says nothing, and must not hold the server up
	var told Error        // what became of the call, not that the connection was lost
	if err := dial(t, path).Call(t.Context(), "hang", nil, nil); !errors.As(err, &told) || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("a call that outlived its server: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := idle.Call(t.Context(), "hang", nil, nil); err == nil || errors.Is(err, ErrNoServer) {
		t.Errorf("call on a lost connection: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "none")
	if _, err := Dial(missing); !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), missing+": no such file") {
		t.Errorf("no socket: %v", err)
	}
	stale := staleSocket(t, dir)
	if _, err := Dial(stale); !errors.Is(err, ErrNoServer) {
		t.Errorf("dead socket: %v", err)
	}
}

func TestCallContext(t *testing.T) {
	m := NewMux(quiet())
	m.Handle("hang", Func(func(ctx context.Context, _ struct{}) (int, error) { <-ctx.Done(); return 0, nil }))
	c := dial(t, serve(t, m))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Call(ctx, "hang", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// staleSocket makes a socket whose listener is gone.
func staleSocket(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "stale")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	return path
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	stale := staleSocket(t, dir)
	ln, err := Listen(stale)
	if err != nil {
		t.Fatalf("over a dead socket: %v", err)
	}
	if fi, err := os.Lstat(stale); err != nil || fi.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if _, err := Listen(stale); err == nil || !strings.Contains(err.Error(), "another server is running") {
		t.Errorf("over a live socket: %v", err)
	}
	ln.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("over a file: %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file is gone")
	}
	if _, err := Listen("/" + strings.Repeat("x", maxSocketPath)); err == nil || !strings.Contains(err.Error(), "shorter queue path") {
		t.Errorf("long path: %v", err)
	}
}

func TestParseSelection(t *testing.T) {
	s, err := ParseSelection([]string{"ALL"})
	if err == nil {
		t.Errorf("ALL: %+v", s)
	}
	if s, err := ParseSelection([]string{"all"}); err != nil || !s.All {
		t.Errorf("all: %+v, %v", s, err)
	}
	s, err = ParseSelection([]string{"0D5DEB10", "0d5deb10ae58decf"})
	if err != nil {
		t.Fatal(err)
	}
	m, e, err := s.Resolve()
	if err != nil || len(m) != 1 || m[0] != 0x0d5deb10 || len(e) != 1 || e[0].Message() != m[0] || e[0].String() != "0d5deb10ae58decf" {
		t.Errorf("%v %v %v", m, e, err)
	}
	for _, bad := range []string{"", "0d5deb1", "0d5deb100", "0d5deb10ae58dec", "0d5deb10ae58decf0", "0d5deb1g", "-d5deb10", "+d5deb10", "0x5deb10", "0_5deb10"} {
		if _, err := ParseSelection([]string{bad}); err == nil {
			t.Errorf("%q is taken for an id", bad)
		}
	}
}

func TestHandleTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("registering twice is not noticed")
		}
	}()
	m := testMux()
	m.Handle("double", m)
}

// FuzzHandle gives the server's side any line, and reads its answer with the
// client's.
func FuzzHandle(f *testing.F) {
	for _, s := range []string{`{"method":"double","args":21}`, `{"method":"count","args":3}`, `{"method":"panic"}`, `{}`, `[]`, `null`, "", `{"method":"double","args":null}`, `{"args":{}}`, `{"method":"size","args":-1}`} {
		f.Add([]byte(s))
	}
	m := NewMux(quiet())
	m.Handle("double", Func(func(_ context.Context, n int) (int, error) { return 2 * n, nil }))
	m.Handle("count", Stream(func(_ context.Context, n int, yield func(string) error) error {
		for range min(n, 3) {
			if err := yield("x"); err != nil {
				return err
			}
		}
		return nil
	}))
	m.Handle("panic", Func(func(context.Context, struct{}) (int, error) { panic("x") }))
	f.Fuzz(func(t *testing.T, line []byte) {
		a := handle(t.Context(), line, m, func(answer) error { return nil })
		if a.Item != nil || a.Error != "" && a.Result != nil {
			t.Fatalf("no last line: %+v", a)
		}
		decode(line, "double", new(int), func(json.RawMessage) error { return nil })
	})
}
