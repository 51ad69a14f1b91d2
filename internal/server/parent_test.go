package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/delivery"
	"github.com/weirmail/weir/internal/privsep"
	"github.com/weirmail/weir/test/weirtest"
)

// asker is an engine that was taken over.
func asker(t testing.TB) (call func(name string, args any, files ...*os.File) (int, error), dir string) {
	t.Helper()
	asks, dir := asksParent(t, false)
	return func(name string, args any, files ...*os.File) (int, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		got, err := asks.Call(ctx, name, args, nil, files...)
		for _, f := range got {
			f.Close()
		}
		return len(got), err
	}, dir
}

// asksParent gives the engine's end of a channel to a parent, whose configuration
// has a key or none.
func asksParent(t testing.TB, key bool) (asks *privsep.Channel, dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{"table": "team: :include:" + dir + "/members\n", "members": "alice\n", "members2": "eve\n", "secret": "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(dir, "weir.conf")
	text := fmt.Sprintf(`queue path "%[1]s/queue"
table aliases "file:%[1]s/table"
table users { "virtual" = "12345:12345:/nonexistent" }
filter sleep proc-exec "/bin/sleep 60"
listen on 127.0.0.1 port 1
action "a" maildir alias <aliases>
action "b" maildir userbase <users>
match for any action "a"
`, dir)
	if key {
		weirtest.Certificate(t, dir, "mail.test")
		text += fmt.Sprintf("pki mail.test cert %q\npki mail.test key %q\n", dir+"/cert.pem", dir+"/key.pem")
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, snap, err := config.LoadSnapshot(conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &Parent{
		log: slog.New(slog.DiscardHandler), id: privsep.Identity{UID: 54321, GID: 54321}, dir: cfg.Queue.Path, launcher: privsep.New(cfg, slog.New(slog.DiscardHandler)),
		opt:   ParentOptions{Load: func() (*config.Config, *config.Snapshot, error) { return config.LoadSnapshot(conf, nil) }},
		users: accounts{ask: delivery.LookUp},
		gens:  map[int]*parentGeneration{}, filters: map[uint64]*filterRun{}, boxes: map[uint64]*delivery.SystemMailbox{}, workers: map[string]*workers{},
	}
	if p.inForce, err = p.add(cfg, snap); err != nil {
		t.Fatal(err)
	}
	a, b, err := privsep.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := privsep.NewChannel(b, p.answer)
	if err != nil {
		t.Fatal(err)
	}
	asks, err = privsep.NewChannel(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { asks.Close(); <-answers.Done(); p.bury(); p.launcher.Close() })
	return asks, dir
}

// TestParentBounds: an engine has no processes without end started.
func TestParentBounds(t *testing.T) {
	asks, _ := asksParent(t, true)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	many := func(name string, args any, n int, files ...*os.File) (given int, last error) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range n {
			wg.Go(func() {
				got, err := asks.Call(t.Context(), name, args, nil, files...)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					last = err
					return
				}
				given++
				t.Cleanup(func() {
					for _, f := range got {
						f.Close()
					}
				})
			})
		}
		wg.Wait()
		return given, last
	}
	if n, err := many(callStart, startArgs{1, "sleep"}, 3*maxRuns, null, null, null); n != maxRuns || err == nil || !strings.Contains(err.Error(), "processes already") {
		t.Errorf("%d processes of a filter, want %d; %v", n, maxRuns, err)
	}
	if n, err := many(callLoad, loadArgs{}, maxSigners+20); n != maxSigners || err == nil || !strings.Contains(err.Error(), "go on") {
		t.Errorf("%d signers, want %d; %v", n, maxSigners, err)
	}
}

// TestParentRefuses: what the configuration does not have, and what is no
// user's own, an engine does not get.
func TestParentRefuses(t *testing.T) {
	call, dir := asker(t)
	for name, tt := range map[string]struct {
		call string
		args any
		want string
	}{
		"file":                 {callOpen, openArgs{dir + "/secret"}, "no table"},
		"shadow":               {callOpen, openArgs{"/etc/shadow"}, "no table"},
		"no file":              {callOpen, openArgs{}, "no table"},
		"around":               {callOpen, openArgs{dir + "/../" + filepath.Base(dir) + "/table"}, "no table"},
		"longer than included": {callOpen, openArgs{dir + "/members2"}, "no table"},
		"part of included":     {callOpen, openArgs{dir + "/member"}, "no table"},
		"root":                 {callWorker, delivery.Account{Name: "root", Home: "/root"}, "no action has: user root"},
		"root, given":          {callWorker, delivery.Account{Name: "root", Home: "/root", Given: true}, "no action has: user root"},
		"another's id":         {callWorker, delivery.Account{Name: "daemon", UID: 0, Home: "/usr/sbin"}, "neither the machine nor a userbase"},
		"another's home":       {callForward, delivery.Account{Name: "daemon", UID: 1, GID: 1, Home: "/root"}, "neither the machine nor a userbase"},
		"nobody's":             {callForward, delivery.Account{Name: "no-such-user", Home: "/root"}, "neither the machine nor a userbase"},
		"virtual with root":    {callWorker, delivery.Account{Name: "virtual", Home: "/nonexistent"}, "neither the machine nor a userbase"},
		"mailbox":              {callMailbox, delivery.Account{Name: "daemon", UID: 54321}, "no action delivers"},
		"mailbox of a path":    {callMailbox, delivery.Account{Name: "../../etc/passwd", UID: 0}, "no action delivers"},
		"name of NIS":          {callForward, delivery.Account{Name: "+daemon", UID: 1, GID: 1, Home: "/usr/sbin"}, "neither the machine nor a userbase"},
		"name of two lines":    {callWorker, delivery.Account{Name: "daemon\nroot:x:0:0", UID: 1, GID: 1, Home: "/usr/sbin"}, "neither the machine nor a userbase"},
		"box":                  {callLock, boxArgs{7}, "not open"},
		"release":              {callRelease, boxArgs{7}, "not open"},
		"filter":               {callStart, startArgs{1, "sh"}, "0 descriptors"},
		"signal":               {callSignal, signalArgs{1, 9}, "no filter process"},
		"wait":                 {callWait, runArgs{1}, "no filter process"},
		"listener":             {callBind, bindArgs{1, 99}, "no listener"},
		"listener below":       {callBind, bindArgs{1, -1}, "no listener"},
		"configuration":        {callBind, bindArgs{9, 0}, "no configuration"},
		"use":                  {callUse, useArgs{0}, "no configuration"},
		"unknown":              {"exec", nil, "unknown call"},
		"strange":              {callOpen, map[string]string{"File": "x"}, "unknown field"},
	} {
		if _, err := call(tt.call, tt.args); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := call(callStart, startArgs{1, "sh"}, null, null, null); err == nil || !strings.Contains(err.Error(), "no filter process") {
		t.Errorf("a filter that is not there: %v", err)
	}
	for _, path := range []string{"/table", "/members"} {
		if n, err := call(callOpen, openArgs{dir + path}); n != 1 || err != nil {
			t.Errorf("%s: %d files, %v", path, n, err)
		}
	}
	if n, err := call(callLoad, loadArgs{}); n != 1 || err != nil {
		t.Errorf("the configuration: %d files, %v", n, err)
	}
}

// TestParentGenerations: a configuration is there until the engine drops it,
// the one in force whatever it says, and their number is bounded.
func TestParentGenerations(t *testing.T) {
	call, _ := asker(t)
	there := func(n int) bool { // its listener 99 is what is missing
		_, err := call(callBind, bindArgs{n, 99})
		return err != nil && strings.Contains(err.Error(), "no listener")
	}
	for range 10 {
		if _, err := call(callLoad, loadArgs{Fresh: true}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{1, 3} {
		if _, err := call(callDrop, useArgs{n}); err != nil {
			t.Errorf("drop %d: %v", n, err)
		}
	}
	for n, want := range map[int]bool{1: true, 2: true, 3: false, 11: true, 12: false} {
		if there(n) != want {
			t.Errorf("configuration %d: %v, want %v", n, !want, want)
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := call(callStart, startArgs{3, "sh"}, null, null, null); err == nil {
		t.Error("a filter of a configuration that was dropped is started")
	}
	if _, err := call(callSigner, useArgs{2}); err == nil || !strings.Contains(err.Error(), "no keys") {
		t.Errorf("a signer without keys: %v", err)
	}
	for n := 10; n < maxGenerations; n++ {
		if _, err := call(callLoad, loadArgs{Fresh: true}); err != nil {
			t.Fatalf("configuration %d: %v", n, err)
		}
	}
	if _, err := call(callLoad, loadArgs{Fresh: true}); err == nil || !strings.Contains(err.Error(), "no more are kept") {
		t.Errorf("one too many: %v", err)
	}
}

// FuzzParent asks a parent for anything that starts nothing.
func FuzzParent(f *testing.F) {
	for _, name := range []string{callOpen, callUser, callForward, callLock, callRelease, callSignal, callUse, callDrop, callSigner, callBind, callShow, callCaller} {
		f.Add(name, []byte(`{"Name":"daemon","Path":"/etc/passwd","ID":1,"PID":1,"Generation":1}`))
		f.Add(name, []byte(`{}`))
	}
	f.Add("", []byte("{}"))
	call, _ := asker(f)
	f.Fuzz(func(t *testing.T, name string, args []byte) {
		if !json.Valid(args) || name == callWorker || name == callMailbox || name == callBind || name == callWait {
			return
		}
		switch n, err := call(name, json.RawMessage(args)); {
		case errors.Is(err, context.DeadlineExceeded):
			t.Errorf("%q is not answered", name)
		case err == nil && n > 2:
			t.Errorf("%s gave %d descriptors", name, n)
		}
	})
}
