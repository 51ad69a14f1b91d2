package filter

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the filters of the tests: started with testRole as
// its first argument it plays the role that follows.
const testRole = "play-filter"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == testRole {
		play(os.Args[2], os.Args[3:])
		exit(0)
	}
	os.Exit(m.Run())
}

// exit ends the filter without os.Exit's second of waiting for late reports of
// the race detector.
func exit(code int) { syscall.Exit(code) }

// player is a filter for tests.
type player struct {
	in  *bufio.Reader
	out *bufio.Writer

	role string
	args []string
	held map[string][]string
	n    int // requests so far, by the role's own count
}

var allPhases = strings.Fields("connect helo ehlo starttls auth mail-from rcpt-to data data-line commit rset quit noop help wiz")

func play(role string, args []string) {
	p := &player{
		in: bufio.NewReaderSize(os.Stdin, 1<<20), out: bufio.NewWriterSize(os.Stdout, 1<<20),
		role: role, args: args, held: map[string][]string{},
	}
	switch role {
	case "exit-at-start":
		exit(3)
	case "never-ready":
		io.Copy(io.Discard, p.in)
		return
	case "deaf": // registers and never reads again
		p.register()
		select {}
	}
	for {
		line, err := p.in.ReadBytes('\n')
		if err != nil {
			if role == "ignores-end" {
				select {}
			}
			return
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if string(line) == "config|ready" {
			p.register()
		} else if f := bytes.SplitN(line, []byte("|"), 8); string(f[0]) == "filter" {
			p.request(string(f[4]), string(f[5]), string(f[6]), f[7])
		} else if role == "record" || role == "record-final" {
			p.record(string(line))
		}
		if p.in.Buffered() == 0 {
			p.deal()
			p.out.Flush()
		}
	}
}

func (p *player) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// sayNow says it at once.
func (p *player) sayNow(format string, args ...any) {
	p.say(format, args...)
	p.out.Flush()
}

func (p *player) register() {
	phases := allPhases
	switch p.role {
	case "lines", "hold", "slow-lines", "lines-exit":
		phases = []string{"data-line"}
	case "raw":
		for _, l := range p.args {
			p.sayNow("%s", l)
		}
		return
	case "record", "record-final":
		if p.role == "record-final" {
			p.say("register|feature|final-address")
		}
		p.say("register|report|smtp-in|*")
	case "result-before-ready":
		p.sayNow("filter-result|1|2|proceed")
	case "crash-later", "commit-size":
		if p.role == "commit-size" {
			p.say("register|feature|message-size")
		}
		phases = []string{"mail-from", "rcpt-to", "commit"}
		p.say("register|report|smtp-in|*")
	case "deaf":
		p.say("register|report|smtp-in|*")
	case "narrow":
		phases = []string{"rcpt-to"}
		p.say("register|report|smtp-in|link-disconnect")
	}
	for _, ph := range phases {
		p.say("register|filter|smtp-in|%s", ph)
	}
	p.sayNow("register|ready")
	if p.role == "exit-after-ready" {
		exit(1)
	}
}

// record appends to the file that is the first argument.
func (p *player) record(line string) {
	f, err := os.OpenFile(p.args[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(f, line)
		f.Close()
	}
}

func (p *player) request(phase, sid, tok string, arg []byte) {
	if phase == "data-line" {
		p.dataline(sid, tok, string(arg))
		return
	}
	ok := fmt.Sprintf("filter-result|%s|%s|proceed", sid, tok)
	answer := func(a string) { p.say("filter-result|%s|%s|%s", sid, tok, a) }
	switch p.role {
	case "record", "record-final":
		p.record("filter|" + phase + "|" + sid + "|" + string(arg))
		if len(p.args) > 2 && p.args[1] == phase {
			answer(p.args[2])
			return
		}
	case "commit-size":
		if phase == "commit" {
			answer("reject|550 " + string(arg))
			return
		}
	case "shuffle":
		p.shuffle(ok)
		return
	case "slow":
		time.Sleep(300 * time.Millisecond)
	case "crash-later":
		if phase == "mail-from" && string(arg) == "crash@me" || phase == "rcpt-to" && string(arg) == "crash@me" {
			exit(7)
		}
	case "edits": // args: where to exit
		if phase == p.args[0] {
			exit(1)
		}
	default:
		if len(p.args) > 0 && phase == p.args[0] && !p.misbehave(sid, tok, ok) {
			return
		}
	}
	p.say("%s", ok)
}

// misbehave does what the role says, and reports whether the right answer follows.
func (p *player) misbehave(sid, tok, ok string) bool {
	switch p.role {
	case "answer":
		p.say("filter-result|%s|%s|%s", sid, tok, p.args[1])
		return false
	case "say": // any line, @S and @T are session and token; then the answer
		for _, l := range p.args[1:] {
			p.sayNow("%s", strings.NewReplacer("@S", sid, "@T", tok).Replace(l))
		}
	case "say-only":
		for _, l := range p.args[1:] {
			p.sayNow("%s", strings.NewReplacer("@S", sid, "@T", tok).Replace(l))
		}
		return false
	case "silent":
		return false
	case "exit":
		exit(1)
	case "partial":
		p.out.WriteString(ok)
		p.out.Flush()
		exit(1)
	case "twice":
		p.say("%s", ok)
	case "huge":
		p.sayNow("filter-result|%s|%s|reject|%s", sid, tok, strings.Repeat("x", 200000))
		return false
	case "unterminated":
		p.out.WriteString("filter-result|" + strings.Repeat("x", 200000))
		p.out.Flush()
		select {}
	case "close-stdout":
		os.Stdout.Close()
		io.Copy(io.Discard, p.in)
	case "close-both":
		os.Stdin.Close()
		os.Stdout.Close()
		select {}
	case "split":
		for _, c := range []byte(ok + "\n") {
			os.Stdout.Write([]byte{c})
		}
		return false
	case "late":
		time.Sleep(400 * time.Millisecond)
	case "nap": // once
		if d, err := time.ParseDuration(p.args[1]); err == nil {
			time.Sleep(d)
			p.args[1] = ""
		}
	}
	return true
}

// shuffle keeps answers until there are many or nothing else is to be read.
func (p *player) shuffle(ok string) {
	p.held[""] = append(p.held[""], ok)
	if len(p.held[""]) >= 64 {
		p.deal()
	}
}

// deal gives the answers that were kept, in random order.
func (p *player) deal() {
	all := p.held[""]
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, l := range all {
		p.say("%s", l)
	}
	delete(p.held, "")
}

func (p *player) dataline(sid, tok, line string) {
	echo := func(l string) { // without fmt: some tests have many lines
		for _, part := range []string{"filter-dataline|", sid, "|", tok, "|", l, "\n"} {
			p.out.WriteString(part)
		}
	}
	p.n++
	switch p.role {
	case "hold":
		p.held[sid] = append(p.held[sid], line)
		if line == "." {
			for _, l := range p.held[sid] {
				echo(l)
			}
			delete(p.held, sid)
		}
		return
	case "edits": // doubles each line
		if p.args[0] == "line" && p.n == 3 || p.args[0] == "dot" && line == "." {
			p.out.Flush()
			exit(1)
		}
		if line != "." {
			echo(line)
		}
	case "lines-exit":
		if line == p.args[0] {
			exit(1)
		}
	case "line-silent":
		return
	case "line-exit":
		if p.n == 3 {
			exit(1)
		}
	case "line-no-dot":
		if line == "." {
			return
		}
	case "line-early-dot":
		if p.n > 3 {
			return
		}
		if p.n == 3 {
			line = "."
		}
	case "line-two-dots":
		if line == "." {
			echo(line)
		}
	case "line-after-dot":
		if line == "." {
			echo(line)
			line = "late line"
		}
	case "line-wrong-token":
		tok = "deadbeefdeadbeef"
	case "line-huge":
		if p.n == 3 {
			echo(strings.Repeat("h", 200000))
		}
	case "line-crlf":
		line += "\r"
	case "line-result":
		p.sayNow("filter-result|%s|%s|proceed", sid, tok)
		return
	case "line-add":
		if line == "." {
			echo("added by " + p.args[0])
		}
	case "line-flood":
		for range 1000 {
			echo(strings.Repeat("f", 1000))
		}
	case "slow-lines":
		p.out.Flush()
		time.Sleep(time.Millisecond)
	}
	echo(line)
}
