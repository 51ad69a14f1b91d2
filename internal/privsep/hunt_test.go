package privsep

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
)

// chains is a filter that ends and leaves behind what is never there for long:
// each process has a group of its own, starts one other, and ends. All hold the
// output open.
var chains = []string{"/usr/bin/perl", "-MPOSIX", "-e", `$| = 1;
	for (1 .. 3) { next if fork; for (1 .. 30000) { setpgrp(0, 0); _exit(0) if fork; } _exit(0); }
	print "all\n"; sleep($ARGV[0]);`}

// TestHostileChains ends such a filter, with and without a scope.
func TestHostileChains(t *testing.T) {
	h := hostileHouse(t)
	c := h.proc(config.Sandbox{})
	c.Command = chains[0]
	for name, unscoped := range map[string]bool{"scope": false, "hunt": true} {
		t.Run(name, func(t *testing.T) {
			r := h.begin(t, c, append(chains, "1")...)
			if unscoped {
				h.mu.Lock()
				h.running[r.Process.Pid].scope = 0
				h.mu.Unlock()
			}
			r.line(t)
			r.awaitEnd()
			began := time.Now()
			r.finish()
			r.out.SetReadDeadline(time.Now().Add(time.Second))
			if b, err := io.ReadAll(r.out); err != nil {
				t.Errorf("the chains go on: %q, %v", b, err)
			}
			t.Logf("all gone after %v", time.Since(began))
		})
	}
}

// TestHostileChainsOutliveServer kills the server of one.
func TestHostileChainsOutliveServer(t *testing.T) {
	h := hostileHouse(t)
	self := program(t)
	server := exec.Command(self, append([]string{hostileRole, "serve family", self, h.dir}, append(chains, "60")...)...)
	server.Env = append(os.Environ(), noUserNS+"="+os.Getenv(noUserNS))
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	held, hold, err := os.Pipe() // standard error, as the chains hold it
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	server.Stderr = hold
	err = server.Start()
	hold.Close()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	_, err = fmt.Fscanln(out, &n)
	server.Process.Kill()
	io.Copy(io.Discard, out)
	server.Wait()
	if err != nil || n == 0 {
		t.Fatalf("no filter: %v", err)
	}
	began := time.Now()
	held.SetReadDeadline(time.Now().Add(20 * time.Second))
	if b, err := io.ReadAll(held); err != nil {
		t.Errorf("the chains go on: %q, %v", b, err)
	}
	t.Logf("all gone after %v", time.Since(began))
}
