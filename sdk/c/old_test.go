package c

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirmail/weir/sdk/internal/transcript"
)

// built gives the directory of the library as make builds it.
func built(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"cc", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s on this machine: nothing can build the C SDK", tool)
		}
	}
	transcript.Reads(t, "src/*", "include/*", "Makefile", "example/*", "testdata/*.c", "testdata/old/*")
	dir := t.TempDir()
	if out, err := exec.Command("make", "BUILD="+dir, "CFLAGS=-O2 -Werror").CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	return dir
}

// The test double runs a filter, and says what is not as it should be.
func TestDouble(t *testing.T) {
	dir := built(t)
	double := func(test string) (string, error) {
		out := filepath.Join(dir, "double")
		args := append([]string{"-Iinclude", "-o", out, "example/decide.c", test, "-L" + dir, "-lweirfiltertest"}, sanitize...)
		if text, err := exec.Command("cc", args...).CombinedOutput(); err != nil || len(text) > 0 {
			t.Fatalf("cc: %v\n%s", err, text)
		}
		text, err := exec.Command(out).CombinedOutput()
		return string(text), err
	}
	if out, err := double("example/decide_test.c"); err != nil || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
	wrong := filepath.Join(dir, "wrong_test.c")
	text := `#include "filtertest.h"
void filtertest(void) { filtertest_equal(filtertest_mail(filtertest_session("h", "::1"), "a@spam.example"), "proceed"); }
`
	if err := os.WriteFile(wrong, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := double(wrong); err == nil || !strings.Contains(out, `got "reject|550 5.7.1 No mail from there, please", want "proceed"`) {
		t.Errorf("a wrong answer: %v\n%s", err, out)
	}
}

// link builds a program as its author would: cc, our headers, our library.
func link(t *testing.T, dir, source string) string {
	t.Helper()
	out := filepath.Join(dir, strings.TrimSuffix(filepath.Base(source), ".c"))
	if text, err := exec.Command("cc", "-Iinclude", "-o", out, source, "-L"+dir, "-lweirfilter").CombinedOutput(); err != nil || len(text) > 0 {
		t.Fatalf("cc %s: %v\n%s", source, err, text)
	}
	return out
}

const article = root + "/protocol/transcripts/article.txt"

// The article's stub lets its client in, with its answer and as it is printed.
func TestStub(t *testing.T) {
	dir := built(t)
	for _, source := range []string{"example/stub.c", "testdata/old/printed.c"} {
		log := transcript.Command(t, article, link(t, dir, source))
		if !strings.Contains(log, "filter-stub: OHAI, SOMEONE CONNECTED !\n") {
			t.Errorf("%s: log %q", source, log)
		}
	}
}

// Hooks of a program that answers nothing do not keep clients waiting.
func TestWatch(t *testing.T) {
	log := transcript.Command(t, article, link(t, built(t), "testdata/old/watch.c"))
	if got := strings.Count(log, "a7bc78b6177f09b5"); got != 6 {
		t.Errorf("%d hooks ran, want 6:\n%s", got, log)
	}
}

// What programs of the 5.7.1 API used is there, and does what it did.
func TestOldPrograms(t *testing.T) {
	dir := built(t)
	program := link(t, dir, "testdata/old/surface.c")
	log := transcript.Command(t, article, program, "-v")
	const want = `debug: 2 names, limit 20
info: session a7bc78b6177f09b5: 127.0.0.1 is 7f000001
info: seen gilles@debug.poolp.org
info: 195 bytes, 7 lines, 1 sessions, d2Vpcgo=
`
	if log != want {
		t.Errorf("got\n%s\nwant\n%s", log, want)
	}
	answers, log, status := odd(t, program, "-d", hello+ask("mail-from", id, "a1", "x@Monkey.example"))
	if want := "filter-result|" + id + "|a1|disconnect|550 I am a monkey!\n"; answers != want || status != 0 {
		t.Errorf("got %q, %d, %q", answers, status, log)
	}
}

func TestTables(t *testing.T) {
	program := compile(t, "testdata/tables.c", append(sanitize, "-Wno-conversion")...)
	if out, err := exec.Command(program).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := exec.Command(program, "x").CombinedOutput(); err == nil || !strings.Contains(string(out), "tree_xget: the key") {
		t.Errorf("a key that is missing: %v, %s", err, out)
	}
}
