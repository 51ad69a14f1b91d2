// Package c tests the C SDK: the library is built with warnings as errors
// and under the sanitizers, and plays the transcripts; valgrind looks on.
package c

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirmail/weir/sdk/internal/transcript"
)

const root = "../.."

var library = []string{"src/filter_api.c", "src/answer.c", "src/loop.c", "src/output.c", "src/session.c", "src/text.c", "src/log.c", "src/table.c", "src/util.c"}

// compile builds a program with the library and gives its path. The sources
// are read here so that the test is run again when they change.
func compile(t *testing.T, program string, flags ...string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no cc on this machine: nothing can build the C SDK")
	}
	headers, _ := filepath.Glob("*/*.h")
	for _, file := range append(append(headers, program), library...) {
		if _, err := os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(program), ".c"))
	args := []string{"-std=c11", "-D_POSIX_C_SOURCE=200809L", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra",
		"-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-g", "-Iinclude", "-o", out, program}
	args = append(append(args, library...), flags...)
	if text, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("cc %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return out
}

var sanitize = []string{"-fsanitize=address,undefined", "-fno-sanitize-recover=all"}

func TestTranscripts(t *testing.T) {
	program := compile(t, "testdata/reference.c", sanitize...)
	for _, file := range transcript.Files(t, root) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if log := transcript.Command(t, file, program); log != "" {
				t.Errorf("the filter complains:\n%s", log)
			}
		})
	}
}

func TestValgrind(t *testing.T) {
	valgrind, err := exec.LookPath("valgrind")
	if err != nil {
		t.Skip("no valgrind on this machine; the sanitizers looked already")
	}
	program := compile(t, "testdata/reference.c")
	for _, name := range []string{"data-lines", "interleaved", "disconnect"} {
		transcript.Command(t, filepath.Join(root, "protocol/transcripts", name+".txt"), valgrind,
			"--quiet", "--leak-check=full", "--errors-for-leak-kinds=definite", "--error-exitcode=9", program)
	}
}

// The article's hooks and session give the article's log.
func TestArticle(t *testing.T) {
	log := transcript.Command(t, filepath.Join(root, "protocol/transcripts/article.txt"), compile(t, "example/callbacks.c"))
	const want = `on_connect: ID 127.0.0.1 127.0.0.1 localhost
on_helo: ID myself
on_mail: ID gilles@debug.poolp.org
on_rcpt: ID gilles@debug.poolp.org
on_data: ID
on_dataline: ID Received: from myself (localhost [127.0.0.1]);
on_dataline: ID 	by debug.poolp.org (OpenSMTPD) with ESMTP id 2fb4c3b7;
on_dataline: ID 	for <gilles@debug.poolp.org>;
on_dataline: ID 	Fri, 12 Dec 2014 15:48:42 +0100 (CET)
on_dataline: ID Subject: ohai !
on_dataline: ID` + " " + `
on_dataline: ID test
on_eom: ID 195
on_commit: ID
on_disconnect: ID
`
	if want := strings.ReplaceAll(want, "ID", "0xa7bc78b6177f09b5"); log != want {
		t.Errorf("got\n%s\nwant\n%s", log, want)
	}
}

const id = "00000000000000ab"

func ask(phase, session, token, arg string) string {
	return "filter|0.7|1.0|smtp-in|" + phase + "|" + session + "|" + token + "|" + arg + "\n"
}

// odd gives what testdata/odd.c answers, its log and exit status.
func odd(t *testing.T, program, mode, input string) (answers, log string, status int) {
	t.Helper()
	cmd := exec.Command(program, mode)
	cmd.Stdin = strings.NewReader(input)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, _ := cmd.Output()
	_, answers, _ = strings.Cut(string(out), "register|ready\n")
	return answers, stderr.String(), cmd.ProcessState.ExitCode()
}

const hello = "config|feature|message-size\nconfig|ready\n"

func TestAnswers(t *testing.T) {
	program := compile(t, "testdata/odd.c", sanitize...)
	for mode, want := range map[string]string{
		"a":    "proceed",
		"r":    "reject|550 5.7.1 Refused by a filter",
		"o":    "reject|550 5.7.1 Refused by a filter",
		"x":    "disconnect|550 5.7.1 Refused by a filter",
		"c400": "reject|400 a  b|c",
		"c599": "reject|599 a  b|c",
		"e":    "reject|550 Refused",
	} {
		got, log, status := odd(t, program, mode, hello+ask("helo", id, "a1", "x"))
		if want := "filter-result|" + id + "|a1|" + want + "\n"; got != want || status != 0 || log != "" {
			t.Errorf("%s: got %q, %d, %q", mode, got, status, log)
		}
	}
	for mode, code := range map[string]string{"c399": "399", "c600": "600", "c0": "0"} {
		got, log, status := odd(t, program, mode, hello+ask("helo", id, "a1", "x"))
		if want := "filter-result|" + id + "|a1|reject|550 a  b|c\n"; got != want || status != 0 ||
			!strings.Contains(log, "code of 400 to 599, not "+code+": 550 is sent") {
			t.Errorf("%s: got %q, %d, %q", mode, got, status, log)
		}
	}
	// A program that can answer may do so later: nothing is said for it.
	if got, log, status := odd(t, program, "n", hello+ask("helo", id, "a1", "x")); got != "" || log != "" || status != 0 {
		t.Errorf("no answer: got %q, %d, %q", got, status, log)
	}
	got, _, _ := odd(t, program, "l", hello+ask("helo", id, "a1", "x")+ask("ehlo", "cd", "a2", "x"))
	if want := "filter-result|cd|a2|proceed\nfilter-result|" + id + "|a1|proceed\n"; got != want {
		t.Errorf("later: got %q", got)
	}
	got, _, _ = odd(t, program, "s", hello+ask("commit", id, "c1", "4711"))
	if !strings.Contains(got, "550 size 4711") {
		t.Errorf("size: got %q", got)
	}
}

// Lines may be written until on_eom is answered.
func TestKeptMessage(t *testing.T) {
	program := compile(t, "testdata/odd.c", sanitize...)
	var in strings.Builder
	for _, line := range []string{"..x", "y", "."} {
		in.WriteString(ask("data-line", id, "d1", line))
	}
	got, _, _ := odd(t, program, "k", hello+in.String()+ask("commit", id, "c1", ""))
	head := "filter-dataline|" + id + "|d1|"
	want := head + "X-Size: 5\n" + head + "..x\n" + head + "y\n" + head + ".\n" +
		"filter-result|" + id + "|c1|reject|550 5.7.1 Refused by a filter\n"
	if got != want {
		t.Errorf("got %q", got)
	}
}

func TestFaults(t *testing.T) {
	program := compile(t, "testdata/odd.c", sanitize...)
	const maxLine = 1 << 20
	for _, c := range []struct{ name, mode, input, want string }{
		{"twice", "t", hello + ask("helo", id, "a1", "x"), "answered already"},
		{"writeln", "w", hello + ask("helo", id, "a1", "x"), "no message open"},
		{"no config", "a", "hello\n", "want config|"},
		{"early end", "a", "config|protocol|0.7\n", "before config|ready"},
		{"few fields", "a", hello + "filter|0.7|1.0|smtp-in|helo\n", "want filter|VERSION"},
		{"report", "a", hello + "report|0.7|1.0\n", "want report|VERSION"},
		{"session", "a", hello + ask("helo", "xyz", "a1", "x"), "16 hex digits"},
		{"long session", "a", hello + ask("helo", strings.Repeat("a", 17), "a1", "x"), "16 hex digits"},
		{"token", "a", hello + ask("helo", id, strings.Repeat("a", 32), "x"), "token"},
		{"no token", "a", hello + ask("helo", id, "", "x"), "token"},
		{"phase", "a", hello + ask("noop", id, "a1", ""), "phase that was registered"},
		{"line", "a", hello + strings.Repeat("x", 2*maxLine+1), "a line of more than"},
	} {
		_, log, status := odd(t, program, c.mode, c.input)
		if status != 1 || !strings.Contains(log, c.want) {
			t.Errorf("%s: status %d, log %q", c.name, status, log)
		}
	}
	long := ask("helo", id, "a1", strings.Repeat("x", maxLine-100))
	if got, log, status := odd(t, program, "a", hello+long); status != 0 || got == "" {
		t.Errorf("a line of %d bytes: %q, %q", len(long), got, log)
	}
}

func TestManySessions(t *testing.T) {
	program := compile(t, "testdata/odd.c", sanitize...)
	var in, want strings.Builder
	in.WriteString(hello)
	const n = 5000
	for i := range n {
		in.WriteString(ask("helo", fmt.Sprintf("%016x", i), "a1", "x"))
		fmt.Fprintf(&want, "filter-result|%016x|a1|proceed\n", i)
	}
	for i := range n {
		fmt.Fprintf(&in, "report|0.7|1.0|smtp-in|link-disconnect|%016x\n", i)
	}
	if got, log, status := odd(t, program, "a", in.String()); got != want.String() || status != 0 {
		t.Errorf("%d bytes of answers, status %d, log %q", len(got), status, log)
	}
}

// What make installs is what a program is built with.
func TestInstall(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("no make on this machine")
	}
	if _, err := exec.LookPath("cc"); err != nil {
		t.Skip("no cc on this machine: nothing can build the C SDK")
	}
	dir := t.TempDir()
	cmd := exec.Command("make", "install", "BUILD="+filepath.Join(dir, "build"), "DESTDIR="+dir, "PREFIX=/usr")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	for _, file := range []string{"include/weirfilter/smtpd-api.h", "lib/pkgconfig/weirfilter.pc", "share/man/man3/filter_api.3"} {
		if _, err := os.Stat(filepath.Join(dir, "usr", file)); err != nil {
			t.Error(err)
		}
	}
	out := filepath.Join(dir, "stub")
	if text, err := exec.Command("cc", "-o", out, "example/stub.c", "-I"+filepath.Join(dir, "usr/include/weirfilter"),
		"-L"+filepath.Join(dir, "usr/lib"), "-lweirfilter").CombinedOutput(); err != nil {
		t.Errorf("cc: %v\n%s", err, text)
	}
}
