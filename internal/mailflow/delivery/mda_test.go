package delivery

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
)

func mdaAgent(t *testing.T, command string) (a *Agent, home string) {
	home = t.TempDir()
	return testAgent(t, &config.Action{Method: config.MDA, Command: command, Userbase: userbase("alice", home)}), home
}

func TestMDA(t *testing.T) {
	a, home := mdaAgent(t, `cat > "%{rcpt.user}.$USER"`)
	for _, body := range []string{testMessage, "Subject: x\n\nopen", "Subject: x\n\n" + strings.Repeat("line\n", chunkSize)} {
		want(t, deliver(t, a, localJob(body, "al@example.org", "alice"))[0], Delivered, "2.0.0", "")
		got := read(t, home+"/al.alice") // the command runs in the home directory
		if wantFile := "Return-Path: <bob@example.net>\nDelivered-To: al@example.org\n" + strings.TrimSuffix(body, "\n") + "\n"; got != wantFile {
			t.Errorf("%.100q, want %.100q", got, wantFile)
		}
	}
}

// The exit codes of smtpd.conf(5), MDA COMMANDS.
func TestMDAExit(t *testing.T) {
	tests := []struct {
		name, command string
		status        Status
		enhanced      string
		text          string
	}{
		{"ok", "cat >/dev/null; exit 0", Delivered, "2.0.0", ""},
		{"oserr", "cat >/dev/null; exit 71", Deferred, "4.3.0", "exit code 71"},
		{"tempfail", "cat >/dev/null; echo one; echo two >&2; exit 75", Deferred, "4.3.0", `exit code 75: "two"`},
		{"one", "cat >/dev/null; exit 1", Failed, "5.3.0", "exit code 1"},
		{"nouser", "echo no such user; exit 67", Failed, "5.3.0", `exit code 67: "no such user"`},
		{"not found", "/nonexistent/mda", Failed, "5.3.0", "exit code 127"},
		{"signal", "kill -9 $$", Deferred, "4.3.0", "killed"},
		{"open line", "printf 'a\\nb'; exit 75", Deferred, "4.3.0", `"b"`},
		{"blank lines", "printf 'a\\n\\n\\n'; exit 75", Deferred, "4.3.0", `"a"`},
		{"control bytes", "printf 'a\\033[2Jb\\n'; exit 75", Deferred, "4.3.0", `a\x1b[2Jb`},
		{"much output", "head -c 1000000 /dev/zero | tr '\\0' x; exit 75", Deferred, "4.3.0", "xxx"},
		{"bad syntax", "if", Failed, "5.3.0", "exit code 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, _ := mdaAgent(t, tt.command)
			o := deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0]
			want(t, o, tt.status, tt.enhanced, tt.text)
			if len(o.Text) > maxText {
				t.Errorf("text of %d bytes", len(o.Text))
			}
		})
	}
}

func TestMDAReadsAll(t *testing.T) {
	a, _ := mdaAgent(t, "exit 0")
	big := "Subject: x\n\n" + strings.Repeat("line\n", 8*chunkSize) // more than a pipe holds
	want(t, deliver(t, a, localJob(big, "alice@example.org", "alice"))[0], Deferred, "4.3.0", "not read the whole message")
}

func TestMDAEnvironment(t *testing.T) {
	a, home := mdaAgent(t, "env > env; cat > /dev/null")
	j := localJob(testMessage, "Alice+ext@Example.org", "alice")
	j.Envelopes[0].Dest = addr("alice+ext@example.com")
	j.Message.Sender = addr("o'b`r`i$e;n@example.net")
	want(t, deliver(t, a, j)[0], Delivered, "", "")
	got := strings.Split(strings.TrimSpace(read(t, home+"/env")), "\n")
	// The shell adds PWD and the like by itself.
	got = slices.DeleteFunc(got, func(s string) bool {
		return strings.HasPrefix(s, "PWD=") || strings.HasPrefix(s, "OLDPWD=") || strings.HasPrefix(s, "SHLVL=") || strings.HasPrefix(s, "_=")
	})
	slices.Sort(got)
	wantEnv := []string{
		"DOMAIN=Example.org", "EXTENSION=ext", "HOME=" + home, "LOCAL=Alice+ext", "LOGNAME=alice",
		"ORIGINAL_RECIPIENT=Alice+ext@Example.org", "PATH=" + mdaPath, "RECIPIENT=alice+ext@example.com",
		"SENDER=o'b:r:i:e:n@example.net", "SHELL=/bin/sh", "USER=alice",
	}
	if !slices.Equal(got, wantEnv) {
		t.Errorf("environment\n%q\nwant\n%q", got, wantEnv)
	}

	j = localJob(testMessage, "alice@example.org", "alice")
	j.Message.Sender = mail.Address{}
	deliver(t, a, j)
	if env := read(t, home+"/env"); !strings.Contains(env, "SENDER=\n") || strings.Contains(env, "EXTENSION") {
		t.Errorf("environment %q", env)
	}
}

// A command and what it started are ended with the time limit and with the
// caller's context.
func TestMDATimeLimit(t *testing.T) {
	a, home := mdaAgent(t, "mkfifo f; echo started; cat f & echo $! > pid; wait")
	a.mdaTime = time.Second
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.3.0", `time limit reached: "started"`)
	pid := strings.TrimSpace(read(t, home+"/pid"))
	for i := 0; ; i++ { // until init has reaped it
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			break
		}
		if i == 100 {
			t.Fatalf("process %s lives on: %s", pid, b)
		}
		time.Sleep(10 * time.Millisecond)
	}

	a, _ = mdaAgent(t, "cat >/dev/null; sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	want(t, a.Deliver(ctx, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.3.0", "deadline")
}

// A process left behind that holds the output open does not hold us up.
func TestMDALeftBehind(t *testing.T) {
	a, _ := mdaAgent(t, "cat >/dev/null; sleep 5 & echo done; exit 75")
	start := time.Now()
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Deferred, "4.3.0", `"done"`)
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestMDAHomeless(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	a := testAgent(t, &config.Action{Method: config.MDA, Command: "cat >/dev/null; pwd > " + out, Userbase: userbase("alice", "/nonexistent")})
	want(t, deliver(t, a, localJob(testMessage, "alice@example.org", "alice"))[0], Delivered, "", "")
	if got := read(t, out); got != "/\n" {
		t.Errorf("ran in %q", got)
	}
}

// Half a message is no message: the command is killed before it sees the end.
func TestMDABodyFault(t *testing.T) {
	a, home := mdaAgent(t, "cat > got && mv got whole")
	big := "Subject: x\n\n" + strings.Repeat("line\n", chunkSize)
	j := localJob(big, "alice@example.org", "alice")
	j.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader(big), errReader{})), nil
	}
	want(t, deliver(t, a, j)[0], Deferred, "4.3.0", "disk on fire")
	if _, err := os.Stat(home + "/whole"); err == nil {
		t.Error("the command took half a message for a whole one")
	}
}

func TestLocalCommand(t *testing.T) {
	a, home := mdaAgent(t, "exit 1")
	j := localJob(testMessage, "alice@example.org", "alice")
	j.Envelopes[0].Local.Command = "cat > piped"
	want(t, deliver(t, a, j)[0], Delivered, "", "")
	if got := read(t, home+"/piped"); !strings.HasSuffix(got, testMessage) {
		t.Errorf("%q", got)
	}
}
