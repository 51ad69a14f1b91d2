package server

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/admin"
)

// TestFilterControl: a restart gives a new process, a pause the policy, and a
// new program that does not start leaves the old one in place.
func TestFilterControl(t *testing.T) {
	dir := t.TempDir()
	f := script(t, dir, "echo.sh", echo, "mail-from", "commit")
	s := start(t, dir, fmt.Sprintf(`
filter echo proc-exec %q on-failure reject
filter gate phase mail-from match mail-from { "bad@example.net" } reject "550 no"
filter both chain { gate, echo }
listen on 127.0.0.1 port 0 tag in filter both
`, f)+boxes(dir), Options{})
	c := s.control(t)
	do := func(method, name string) error { return c.Call(t.Context(), method, admin.Name{Name: name}, nil) }
	state := func() admin.Filter { return list[admin.Filter](t, c, admin.MethodFilterList, nil)[0] }

	before := state()
	if err := do(admin.MethodFilterRestart, "echo"); err != nil {
		t.Fatal(err)
	}
	after := state()
	if after.State != "ready" || slices.Equal(after.PIDs, before.PIDs) || after.Restarts != 1 || after.Load.Uptime <= 0 {
		t.Errorf("after restart: %+v, load %+v", after, after.Load)
	}
	// A new file: a shell that runs the old one goes on with that.
	if err := errors.Join(os.Remove(f), os.WriteFile(f, []byte("#!/bin/sh\nexit 3\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := do(admin.MethodFilterRestart, "echo"); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("restart of a broken program: %v", err)
	}
	if st := state(); st.State != "ready" || !slices.Equal(st.PIDs, after.PIDs) {
		t.Errorf("after a restart that failed: %+v", st)
	}

	mail := func() string {
		d := dial(t, s.addr(t, "in"))
		defer d.Close()
		d.do("EHLO x", "250")
		d.say("MAIL FROM:<a@example.net>\n")
		reply, _ := d.hear()
		return reply
	}
	if r := mail(); !strings.HasPrefix(r, "250 ") {
		t.Errorf("MAIL: %q", r)
	}
	if err := do(admin.MethodFilterPause, "echo"); err != nil {
		t.Fatal(err)
	}
	if st := state(); st.State != "paused" {
		t.Errorf("state %q", st.State)
	}
	if r := mail(); !strings.HasPrefix(r, "550 5.7.1 Filter echo failed in session ") {
		t.Errorf("MAIL while it is paused: %q", r)
	}
	if err := do(admin.MethodFilterResume, "echo"); err != nil {
		t.Fatal(err)
	}
	if r := mail(); !strings.HasPrefix(r, "250 ") {
		t.Errorf("MAIL after resume: %q", r)
	}
	if l := state().Load; l.Questions != 2 || l.Decisions["proceed"] != 2 || l.P50 <= 0 || l.P99 < l.P50 {
		t.Errorf("load %+v", l)
	}
	for name, want := range map[string]string{"gate": "evaluates it itself", "both": "is a chain", "nobody": "no filter process"} {
		if err := do(admin.MethodFilterPause, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("pause of %s: %v", name, err)
		}
	}
}
