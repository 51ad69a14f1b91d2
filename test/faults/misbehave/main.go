// Misbehave is a filter that does one thing wrong:
//
//	misbehave MODE PHASE
//
// It registers everything, proceeds everywhere, returns each line of a message
// and adds one, so that its edits are seen. At PHASE it does what MODE says, in
// each session. The modes of phase "start" come before register|ready, those of
// "data-line" at the third line of a message unless they say otherwise.
//
// With "only-" before PHASE it registers that phase alone, and does what is wrong
// in transactions of bad@example.net alone.
//
// With MODE chaos, PHASE is a seed and the filter goes wrong at random.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Edit is the line that the filter adds to each message.
const edit = "this line was added by the filter"

// wrongLines are lines that are sent in the place of an answer, or, where they
// end in "+", before it. @S and @T are session and token.
var wrongLines = map[string]string{
	"garbage":                "hello this is not the protocol",
	"garbage-then-proceed":   "hello this is not the protocol+",
	"empty-line":             "",
	"truncated":              "filter-result|@S",
	"no-decision":            "filter-result|@S|@T",
	"nonhex-session":         "filter-result|zzzz|@T|proceed",
	"wrong-token":            "filter-result|@S|deadbeefdeadbeef|proceed",
	"wrong-session":          "filter-result|0123456789abcdef|@T|proceed",
	"swapped":                "filter-result|@T|@S|proceed",
	"unknown-decision":       "filter-result|@S|@T|maybe",
	"unknown-decision-param": "filter-result|@S|@T|maybe|so",
	"reject-without-text":    "filter-result|@S|@T|reject",
	"proceed-with-parameter": "filter-result|@S|@T|proceed|extra",
	"crlf":                   "filter-result|@S|@T|proceed\r",
	"twice":                  "filter-result|@S|@T|proceed+",
	"dataline-out-of-phase":  "filter-dataline|@S|@T|a line+",
	"registers-nonsense":     "register|report|smtp-in|nonsense+",
	"result-in-data":         "filter-result|@S|@T|proceed",
	"dataline-wrong-token":   "filter-dataline|@S|deadbeefdeadbeef|a line",
	"long-line":              "filter-dataline|@S|@T|@L",
	"long-answer":            "filter-result|@S|@T|reject|@L",
}

// startLines are sent before register|ready.
var startLines = map[string]string{
	"unknown-report":      "register|report|smtp-in|bogus-event",
	"unknown-phase":       "register|filter|smtp-in|bogus-phase",
	"unknown-subsystem":   "register|report|smtp-sideways|link-connect",
	"unknown-stream":      "register|nonsense|smtp-in|link-connect",
	"unknown-feature":     "register|feature|nonsense",
	"wildcard-phase":      "register|filter|smtp-in|*",
	"result-before-ready": "filter-result|0000000000000001|0000000000000002|proceed",
}

type filter struct {
	mode, phase string
	in          *bufio.Reader
	out         *bufio.Writer
	lines       map[string]int // of the message of a session
	only        bool           // see above
	bad         map[string]bool
	chaos       *chaos // nil in other modes
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: misbehave MODE PHASE")
		os.Exit(2)
	}
	f := &filter{
		mode: os.Args[1], phase: os.Args[2], lines: make(map[string]int),
		in: bufio.NewReaderSize(os.Stdin, 1<<18), out: bufio.NewWriterSize(os.Stdout, 1<<18),
	}
	if f.phase, f.only = strings.CutPrefix(f.phase, "only-"); f.only {
		f.bad = make(map[string]bool)
	}
	if f.mode == "chaos" {
		f.chaos = newChaos(f.phase)
	}
	for {
		line, err := f.in.ReadSlice('\n')
		if err != nil {
			return
		}
		line = line[:len(line)-1]
		switch {
		case string(line) == "config|ready":
			f.register()
		case f.chaos != nil && bytes.HasPrefix(line, []byte("report|")):
			f.chaos.report(line)
		case f.only && bytes.HasPrefix(line, []byte("report|")):
			if p := strings.Split(string(line), "|"); p[4] == "tx-mail" {
				f.bad[p[5]] = p[len(p)-1] == "bad@example.net"
			}
		case bytes.HasPrefix(line, []byte("filter|")):
			if p := strings.SplitN(string(line), "|", 8); len(p) == 8 {
				f.request(p[4], p[5], p[6], p[7])
			}
		}
		if f.mode == "slow" && !bytes.HasPrefix(line, []byte("config|")) {
			time.Sleep(time.Second)
		}
		if f.in.Buffered() == 0 {
			f.out.Flush()
		}
	}
}

func (f *filter) say(format string, args ...any) { fmt.Fprintf(f.out, format+"\n", args...) }

func (f *filter) register() {
	if f.phase == "start" {
		f.start()
	}
	if f.chaos != nil {
		chaosStart(f)
	}
	f.say("register|report|smtp-in|*")
	for _, ph := range strings.Fields("connect helo ehlo mail-from rcpt-to data data-line commit") {
		if f.only && ph != f.phase {
			continue
		}
		f.say("register|filter|smtp-in|%s", ph)
	}
	f.say("register|ready")
	f.out.Flush()
	if f.phase == "start" && f.mode == "exit-after-ready" {
		os.Exit(1)
	}
	if f.phase == "for-ever" {
		go flood(f.mode)
	}
}

func (f *filter) start() {
	switch f.mode {
	case "exit-0":
		os.Exit(0)
	case "exit-1":
		os.Exit(1)
	case "never-registers":
		forever()
	}
	if line, ok := startLines[f.mode]; ok {
		f.say("%s", line)
		f.out.Flush()
	}
}

// floods are lines that are written as fast as they are read.
var floods = map[string]string{
	"flood-answers":       "filter-result|0123456789abcdef|1|proceed",
	"flood-lines":         "filter-dataline|0123456789abcdef|1|x",
	"flood-reports":       "report|1|smtp-in|0123456789abcdef|flood",
	"flood-long-reports":  "report|1|smtp-in|0123456789abcdef|flood" + strings.Repeat("x", 100000),
	"flood-registrations": "register|report|smtp-in|*",
	"flood-stderr":        "flood",
}

func flood(mode string) {
	out := os.Stdout
	if mode == "flood-stderr" {
		out = os.Stderr
	}
	line := []byte(floods[mode] + "\n")
	for lines := bytes.Repeat(line, max(1, 60000/len(line))); ; {
		if _, err := out.Write(lines); err != nil {
			forever()
		}
	}
}

func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

// request answers one question.
func (f *filter) request(phase, session, token, arg string) {
	if f.chaos != nil && !f.chaos.request(f, phase, session, token, arg) {
		return
	}
	n := 0
	if phase == "data-line" {
		f.lines[session]++
		n = f.lines[session]
		if arg == "." {
			delete(f.lines, session)
		}
	}
	if phase == f.phase && (!f.only || f.bad[session]) {
		if phase != "data-line" || n == 3 || f.everyLine(arg) {
			if !f.misbehave(session, token) {
				return
			}
		}
		if phase == "data-line" && f.oddLine(session, token, arg, n) {
			return
		}
	}
	switch {
	case phase != "data-line":
		f.say("filter-result|%s|%s|proceed", session, token)
	case arg == ".":
		f.say("filter-dataline|%s|%s|%s", session, token, edit)
		fallthrough
	default:
		f.say("filter-dataline|%s|%s|%s", session, token, arg)
	}
}

// everyLine reports whether the mode has its moment at this line.
func (f *filter) everyLine(arg string) bool {
	switch f.mode {
	case "silent":
		return true
	case "exit-at-dot":
		return arg == "."
	}
	return false
}

// oddLine does what belongs to lines of a message alone; true if that was the
// answer.
func (f *filter) oddLine(session, token, arg string, n int) bool {
	line := func(s string) { f.say("filter-dataline|%s|%s|%s", session, token, s) }
	switch {
	case f.mode == "early-dot" && n == 3:
		line(".")
	case f.mode == "early-dot" && n > 3, f.mode == "no-dot" && arg == ".":
	case f.mode == "two-dots" && arg == ".":
		line(".")
		line(".")
	case f.mode == "after-dot" && arg == ".":
		line(".")
		line("late line")
	case f.mode == "crlf-lines":
		line(arg + "\r")
	case f.mode == "too-much" && arg == ".": // until the pipe closes
		long := strings.Repeat("x", 1<<16)
		for range 4096 {
			line(long)
		}
		line(".")
	default:
		return false
	}
	return true
}

// misbehave does what the mode says; true if the right answer follows.
func (f *filter) misbehave(session, token string) bool {
	if l, ok := wrongLines[f.mode]; ok {
		l, more := strings.CutSuffix(l, "+")
		f.say("%s", strings.NewReplacer("@S", session, "@T", token, "@L", strings.Repeat("x", 200000)).Replace(l))
		return more
	}
	switch f.mode {
	case "exit-0":
		os.Exit(0)
	case "exit-1", "exit-at-dot":
		f.out.Flush()
		os.Exit(1)
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "silent":
		return false
	case "late":
		f.out.Flush()
		time.Sleep(14 * time.Second) // the time limit is 10 s
	case "deaf":
		f.out.Flush()
		forever()
	case "partial":
		fmt.Fprintf(f.out, "filter-result|%s|%s|proceed", session, token)
		f.out.Flush()
		os.Exit(1)
	case "unterminated":
		f.out.WriteString("filter-result|" + strings.Repeat("x", 200000))
		f.out.Flush()
		forever()
	case "close-stdout":
		f.out.Flush()
		os.Stdout.Close()
		for f.in.Size() > 0 {
			if _, err := f.in.Discard(f.in.Size()); err != nil {
				forever()
			}
		}
	case "close-both":
		f.out.Flush()
		os.Stdin.Close()
		os.Stdout.Close()
		forever()
	case "stderr-flood":
		line := []byte(strings.Repeat("e", 200) + "\n")
		os.Stderr.Write(bytes.Repeat([]byte("e"), 200000))
		for range 500 { // more than a pipe takes; a dozen of these write at once
			os.Stderr.Write(line)
		}
	case "byte-by-byte":
		f.out.Flush()
		for _, b := range fmt.Appendf(nil, "filter-result|%s|%s|proceed\n", session, token) {
			os.Stdout.Write([]byte{b})
		}
		return false
	case "own-report":
		f.say("report|1700000000.000001|smtp-in|%s|a report of my own", session)
	}
	return true
}
