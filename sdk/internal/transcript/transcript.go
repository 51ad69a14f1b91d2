// Package transcript plays the files of protocol/transcripts to a filter and
// checks its answers. It is the test bench of all SDKs, whatever language
// they are for, and no part of any of them.
package transcript

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long an answer may take before the test gives up.
const patience = 20 * time.Second

// Files gives the transcripts; dir is the way from the test to the
// repository's root.
func Files(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "protocol", "transcripts", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts below %s: %v", dir, err)
	}
	return files
}

// Reads reads the files that match the patterns, for nothing but go test: it
// remembers what a test read, and runs it again when that has changed. What a
// child reads it does not know.
func Reads(t testing.TB, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no file is called %s: %v", pattern, err)
		}
		for _, file := range files {
			if _, err := os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Command plays file to a program that is started for it, and gives what it
// wrote to standard error. The program must end with status 0 when its input
// does.
func Command(t testing.TB, file string, argv ...string) (log string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) // only matters if the test failed
	defer func() {
		if t.Failed() {
			t.Logf("the filter's log:\n%s", stderr.String())
		}
	}()
	Play(t, file, in, out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: the filter ended with %v", filepath.Base(file), err)
	}
	return stderr.String()
}

// Play plays file to a filter that reads what is written to in, and answers
// on out. It closes in at the end and reads out to its end.
func Play(t testing.TB, file string, in io.WriteCloser, out io.Reader) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, name: filepath.Base(file), in: in, answers: make(map[string][]string), expected: make(map[string][]string), phase: make(map[string]string)}
	p.cond.L = &p.mu
	go p.read(out)
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		p.number = i + 1
		switch {
		case strings.HasPrefix(line, "< "):
			p.send(line[2:])
		case strings.HasPrefix(line, "> "):
			p.expect(line[2:])
		case !strings.HasPrefix(line, "#"):
			t.Fatalf("%s:%d: not a line of a transcript: %q", p.name, p.number, line)
		}
	}
	p.finish()
}

type player struct {
	t      testing.TB
	name   string
	number int // line of the file
	in     io.WriteCloser

	registered map[string]bool     // "report|tx-mail", "filter|data", "feature|x"
	phase      map[string]string   // "session|token" of each question: its phase
	expected   map[string][]string // lines of an open message, by session

	mu      sync.Mutex
	cond    sync.Cond
	answers map[string][]string // by session; "" for registrations
	ended   bool
}

// read sorts what the filter sends by session, until it ends.
func (p *player) read(out io.Reader) {
	lines := bufio.NewReaderSize(out, 1<<16)
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		if err != nil {
			p.ended = true
			if line != "" {
				p.answers["half a line"] = []string{line}
			}
			p.cond.Broadcast()
			p.mu.Unlock()
			return
		}
		line = strings.TrimSuffix(line, "\n")
		session := ""
		if !strings.HasPrefix(line, "register|") {
			f := strings.SplitN(line, "|", 3)
			session = f[min(1, len(f)-1)]
		}
		p.answers[session] = append(p.answers[session], line)
		p.cond.Broadcast()
		p.mu.Unlock()
	}
}

// next gives the next line of a session, or fails the test.
func (p *player) next(session, want string) string {
	p.t.Helper()
	timer := time.AfterFunc(patience, func() {
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		p.cond.Broadcast()
	})
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.answers[session]) == 0 {
		if p.ended {
			p.t.Fatalf("%s:%d: want %q, and nothing comes from the filter", p.name, p.number, want)
		}
		p.cond.Wait()
	}
	line := p.answers[session][0]
	p.answers[session] = p.answers[session][1:]
	return line
}

func (p *player) send(line string) {
	p.t.Helper()
	f := strings.Split(line, "|")
	if f[0] == "report" && !p.registered["report|"+f[4]] || f[0] == "filter" && !p.registered["filter|"+f[4]] {
		if f[0] == "filter" {
			p.phase[f[5]+"|"+f[6]] = ""
		}
		return
	}
	if f[0] == "filter" {
		p.phase[f[5]+"|"+f[6]] = f[4]
		if f[4] == "commit" && !p.registered["feature|message-size"] {
			line = strings.Join(append(f[:7:7], ""), "|")
		}
	}
	if f[0] == "report" && (f[4] == "tx-rollback" || f[4] == "link-disconnect") {
		p.abandon(f[5])
	}
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("%s:%d: the filter no longer reads: %v", p.name, p.number, err)
	}
	if line == "config|ready" {
		p.handshake()
	}
}

var registration = regexp.MustCompile(`^register\|(report|filter)\|smtp-in\|([a-z-]+)$|^register\|(feature)\|([a-z-]+)$`)

const names = " link-connect link-greeting link-identify link-tls link-auth link-disconnect tx-reset tx-begin tx-mail" +
	" tx-rcpt tx-envelope tx-data tx-commit tx-rollback protocol-client protocol-server filter-report filter-response timeout" +
	" connect helo ehlo starttls auth mail-from rcpt-to data data-line commit rset quit noop message-size final-address "

func (p *player) handshake() {
	p.t.Helper()
	p.registered = make(map[string]bool)
	for {
		line := p.next("", "register|ready")
		if line == "register|ready" {
			return
		}
		m := registration.FindStringSubmatch(line)
		if m == nil || !strings.Contains(names, " "+m[2]+m[4]+" ") {
			p.t.Fatalf("%s: %q registers nothing that there is", p.name, line)
		}
		p.registered[m[1]+m[3]+"|"+m[2]+m[4]] = true
	}
}

func (p *player) expect(line string) {
	p.t.Helper()
	f := strings.SplitN(line, "|", 4)
	session := f[1]
	if p.phase[session+"|"+f[2]] == "" {
		return // the question was not asked
	}
	p.expected[session] = append(p.expected[session], line)
	if f[0] == "filter-dataline" && f[3] != "." {
		return // a filter may keep lines until the dot
	}
	for _, want := range p.expected[session] {
		if got := p.next(session, want); got != want {
			p.t.Fatalf("%s:%d: session %s\n got %q\nwant %q", p.name, p.number, session, got, want)
		}
	}
	p.expected[session] = nil
}

// abandon checks the lines of a message that will never be finished: those
// that came are the first of those expected.
func (p *player) abandon(session string) {
	p.t.Helper()
	if len(p.expected[session]) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, got := range p.answers[session] {
		if i >= len(p.expected[session]) || got != p.expected[session][i] {
			p.t.Fatalf("%s:%d: session %s: %q in a message that was given up", p.name, p.number, session, got)
		}
	}
	p.answers[session] = []string{abandoned} // some may still be on their way
	p.expected[session] = nil
}

const abandoned = "abandoned"

func (p *player) finish() {
	p.t.Helper()
	p.in.Close()
	timer := time.AfterFunc(patience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.ended {
			p.answers["the end"] = []string{fmt.Sprint("did not come within ", patience)}
			p.ended = true
			p.cond.Broadcast()
		}
	})
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ended {
		p.cond.Wait()
	}
	for session, lines := range p.answers {
		if len(lines) > 0 && lines[0] != abandoned {
			p.t.Errorf("%s: %s: answers that nobody asked for: %q", p.name, session, lines)
		}
	}
}
