package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/test/weirtest"
)

// parent is a filter with a child, and a daemon that was forked twice and has
// left the session, as it believes. Their ids go into the file $1.
const parent = `#!/bin/sh
echo $$ >>"$1"
sh -c 'echo $$ >>"$1"; exec sleep 1000' child "$1" &
sh -c 'setsid sh -c '\''trap "" HUP TERM; echo $$ >>"$1"; sleep 1000'\'' daemon "$1" &' x "$1" </dev/null >/dev/null 2>&1
while read -r l; do case $l in 'config|ready') echo 'register|ready';; esac; done
`

// TestServerKilled kills the server alone, with SIGKILL: its filters end, and
// all that they have started. It is run with each kind of rights that who runs
// the test can give a server.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	const engine, nobody = "irc", 65534 // Debian has them
	kinds := map[string]struct {
		queueUser string
		uid       int
	}{"unseparated": {"", os.Getuid()}}
	if os.Getuid() == 0 {
		kinds["unseparated"] = struct {
			queueUser string
			uid       int
		}{"root", 0}
		kinds["separated"] = struct {
			queueUser string
			uid       int
		}{engine, 0}
		kinds["ordinary user"] = struct {
			queueUser string
			uid       int
		}{"", nobody}
	}
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			weirtest.Open(t, dir)
			pids, port := filepath.Join(dir, "pids"), weirtest.FreePort(t)
			config := fmt.Sprintf("queue path \"%[1]s/spool\"\nfilter f proc-exec \"%[1]s/filter %[2]s\"\nlisten on 127.0.0.1 port %[3]d filter f\naction \"local\" maildir\nmatch for local action \"local\"\n", dir, pids, port)
			if k.queueUser != "" {
				config += "queue user " + k.queueUser + "\n"
			}
			for path, text := range map[string]string{"weir.conf": config, "filter": parent, "pids": ""} {
				if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			os.Chmod(pids, 0o666)
			if k.uid != os.Getuid() {
				os.Chown(dir, k.uid, -1)
			}
			cmd, log := serve(t, filepath.Join(dir, "weir.conf"), k.uid)
			all := family(t, pids, log)
			began := time.Now()
			cmd.Process.Kill()
			for _, pid := range all {
				for lives(pid) {
					if time.Since(began) > patience {
						t.Fatalf("process %d lives on", pid)
					}
					time.Sleep(time.Millisecond)
				}
			}
			t.Logf("all gone after %v", time.Since(began))
		})
	}
}

// serve starts the server as a user.
func serve(t *testing.T, config string, uid int) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	bin := weirtest.Binary(t)
	os.Chmod(filepath.Dir(bin), 0o755)
	log := &bytes.Buffer{}
	cmd := exec.Command(bin, "run", "-c", config)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = log, log, time.Second
	if uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, log
}

// family waits for the filter and its two children.
func family(t *testing.T, path string, log *bytes.Buffer) (all []int) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if words := strings.Fields(string(b)); len(words) == 3 && strings.HasSuffix(string(b), "\n") {
			for _, w := range words {
				pid, err := strconv.Atoi(w)
				if err != nil || !lives(pid) {
					t.Fatalf("process %q: %v", w, err)
				}
				all = append(all, pid)
			}
			return all
		}
	}
	t.Fatalf("the filter has not started: %s", log)
	return nil
}

// lives reports whether a process runs.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
