// Package load puts filters of any language under load: many sessions one
// after the other and at once, and as many questions and lines as go through.
// It is for the tests of the SDKs; it is no part of any of them.
package load

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a filter may take for all of a test's answers.
const patience = 2 * time.Minute

// Filter is a filter that runs.
type Filter struct {
	t   testing.TB
	cmd *exec.Cmd
	in  *bufio.Writer
	to  io.Closer
	out *bufio.Reader
}

// Start starts a filter and shakes hands with it.
func Start(t testing.TB, argv ...string) *Filter {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &Filter{t, cmd, bufio.NewWriterSize(in, 1<<16), in, bufio.NewReaderSize(out, 1<<16)}
	limit := patience
	if os.Getenv("WEIR_SOAK") != "" {
		limit *= 10
	}
	late := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		cmd.Process.Kill()
	})
	f.Send("config|protocol|0.7\nconfig|ready\n")
	f.Flush()
	for f.Line() != "register|ready" {
	}
	return f
}

// Send queues lines for the filter.
func (f *Filter) Send(lines string) {
	if _, err := f.in.WriteString(lines); err != nil {
		f.t.Errorf("the filter no longer reads: %v", err)
	}
}

// Flush sends what is queued.
func (f *Filter) Flush() {
	if err := f.in.Flush(); err != nil {
		f.t.Errorf("the filter no longer reads: %v", err)
	}
}

// Line gives the filter's next line.
func (f *Filter) Line() string {
	f.t.Helper()
	line, err := f.out.ReadString('\n')
	if err != nil {
		f.t.Fatalf("the filter ended: %v", err)
	}
	return line[:len(line)-1]
}

// Await reads until n lines that contain want have come.
func (f *Filter) Await(want string, n int) {
	f.t.Helper()
	w := []byte(want)
	for n > 0 {
		line, err := f.out.ReadSlice('\n')
		if err != nil {
			f.t.Fatalf("the filter ended: %v", err)
		}
		if bytes.Contains(line, w) {
			n--
		}
	}
}

// End ends the filter and wants it to end well.
func (f *Filter) End() {
	f.t.Helper()
	f.to.Close()
	if _, err := io.Copy(io.Discard, f.out); err != nil {
		f.t.Error(err)
	}
	if err := f.cmd.Wait(); err != nil {
		f.t.Errorf("the filter ended with %v", err)
	}
}

// Resident gives the filter's resident memory in bytes.
func (f *Filter) Resident() int {
	f.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.cmd.Process.Pid))
	if err != nil {
		f.t.Skip("memory cannot be measured without /proc")
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		f.t.Fatal(err)
	}
	return kb << 10
}

const (
	report = "report|0.7|1700000000.000000|smtp-in|"
	ask    = "filter|0.7|1700000000.000000|smtp-in|"
)

// Sessions plays sessions first to last-1, of one message each, at most at
// once of them side by side, to a filter of the transcripts.
func (f *Filter) Sessions(first, last, at int) {
	f.t.Helper()
	for ; first < last; first += at {
		end := min(first+at, last)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for step := range 9 {
				for n := first; n < end; n++ {
					f.Send(stepOf(fmt.Sprintf("%016x", n), step))
				}
			}
			f.Flush()
		}()
		f.Await("|cccccccccccccccc|", end-first)
		<-sent
	}
}

// stepOf gives a session's lines of one step.
func stepOf(id string, step int) string {
	line := func(text string) string { return ask + "data-line|" + id + "|dddddddddddddddd|" + text + "\n" }
	question := func(phase, arg string) string { return ask + phase + "|" + id + "|aaaaaaaaaaaaaaaa|" + arg + "\n" }
	switch step {
	case 0:
		return report + "link-connect|" + id + "|client.example|pass|192.0.2.1:4321|198.51.100.1:25\n" +
			question("connect", "client.example|192.0.2.1") + report + "link-greeting|" + id + "|mx.example\n"
	case 1:
		return question("ehlo", "client.example") + report + "link-identify|" + id + "|EHLO|client.example\n"
	case 2:
		return question("mail-from", "a@example.net") + report + "tx-begin|" + id + "|0badcafe\n" +
			report + "tx-mail|" + id + "|0badcafe|ok|a@example.net\n"
	case 3:
		return question("rcpt-to", "b@example.org") + report + "tx-rcpt|" + id + "|0badcafe|ok|b@example.org\n"
	case 4:
		return question("data", "")
	case 5:
		return line("Subject: hello") + line("X-Drop: x") + line("") + line("..dot") + line(strings.Repeat("x", 70)) + line(".")
	case 6:
		return ask + "commit|" + id + "|cccccccccccccccc|\n"
	case 7:
		return report + "tx-commit|" + id + "|0badcafe|200\n" + report + "tx-reset|" + id + "|0badcafe\n"
	}
	return report + "link-disconnect|" + id + "\n"
}
