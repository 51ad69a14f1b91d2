package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// chaosLimit is the time limit that a filter of chaos has.
const chaosLimit = 2 * time.Second

// Of so many questions, and lines of messages, one has something go wrong.
const (
	oddQuestions = 12
	oddLines     = 60
)

// oddAnswers stand in the place of an answer to a question, or, where they end
// in "+", before it. @S and @T are session and token, @O the token of an earlier
// question, @L is a long text. Some are right, and only look odd.
var oddAnswers = []string{
	"filter-result|@S|@O|proceed", "filter-result|@S|@T|proceed\nfilter-result|@S|@T|proceed", "filter-result|@S|@T|proceed\nfilter-result|@S|@O|proceed",
	"filter-result|@T|@S|proceed", "filter-result|@S|@T", "filter-result|@S", "filter-result", "filter-result|@S|@T|", "filter-result||@T|proceed",
	"filter-result|@S||proceed", "filter-result|@S|@T|proceed|", "filter-result|@S|@T|proceed\r", "filter-result|@S|@T|Proceed", "filter-result|@S|@T| proceed",
	"filter-result|@S|0@T|proceed", "filter-result|0x@S|@T|proceed", "filter-result|@S|@T|maybe", "filter-result|@S|@T|junk|x", "\x00", "",
	"filter-result|@S|@T|\x00proceed", "filter-result|@S|@T|proceed\x00", "filter-result|ffffffffffffffffff|@T|proceed", "filter-result|-1|@T|proceed",
	"filter-dataline|@S|@T|x", "filter-dataline|@S|@O|.", "filter-dataline|@S|@T|.", "filter-dataline|@S|@O|x+", "filter-dataline|@S",
	"filter-result|@S|@T|reject", "filter-result|@S|@T|reject|", "filter-result|@S|@T|reject|550", "filter-result|@S|@T|reject|550 ",
	"filter-result|@S|@T|reject|5500 5.7.1 four digits", "filter-result|@S|@T|reject|250 2.0.0 welcome", "filter-result|@S|@T|reject|no code",
	"filter-result|@S|@T|reject|550 5.7.1 chaos\r250 2.0.0 two lines", "filter-result|@S|@T|reject|550 5.7.1 chaos\x00\x1b[31m\x7f",
	"filter-result|@S|@T|reject|550 5.7.1 chaos|with|bars", "filter-result|@S|@T|reject|550 5.7.1 chaos \xff\xfe", "filter-result|@S|@T|reject|550-5.7.1 chaos goes on",
	"filter-result|@S|@T|reject|550 4.7.1 chaos of classes", "filter-result|@S|@T|reject|550 5.7.1 chaos @L", "filter-result|@S|@T|reject|550 5.7.1 chaos",
	"filter-result|@S|@T|reject|\n550 5.7.1 chaos", "filter-result|@S|@T|disconnect|421 4.7.0 chaos", "filter-result|@S|@T|disconnect|250 chaos",
	"filter-result|@S|@T|rewrite|", "filter-result|@S|@T|rewrite|\r", "filter-result|@S|@T|rewrite|@L", "filter-result|@S|@T|rewrite|<a@example.test> SIZE=1\r",
	"filter-result|@S|@T|rewrite|<>", "filter-result|@S|@T|rewrite|<\x00@example.test>", "filter-result|@S|@T|rewrite", "filter-result|@S|@T|junk",
	"filter-result|@S|@T|report|a\rb\x00c", "filter-result|@S|@T|report|@L", "filter-result|@S|@T|report|", "filter-result|@S|@T|bypass",
	"report+", "report|+", "report|@L+", "report|1|smtp-in|@S|@L+", "report|0.7|1|smtp-in|filter-report|@S|proc|x|\r\x00+", "report|1|smtp-in|zz|x+",
	"register|ready+", "register|ready\nregister|ready+", "register|ready|+", "register|filter|smtp-in|commit+", "register|filter|smtp-in|*", "register|filter|smtp-out|data",
	"register|report|smtp-in|bogus", "register|report|smtp-in|*+", "register|feature|message-size+", "register|feature|", "register|feature|a|b", "register", "register|",
	"config|ready", "filter|0.7|1|smtp-in|data|@S|@T|x", strings.Repeat("|", 1000), strings.Repeat("x", 1<<18), "filter-result|@S|@T|proceed" + strings.Repeat("|", 1<<17),
}

// oddLineAnswers are the same for a line of a message, @A, that was sent.
var oddLineAnswers = []string{
	"filter-dataline|@S|@O|@A", "filter-dataline|@T|@S|@A", "filter-dataline|@S|@T", "filter-dataline|@S|@T|@A\nfilter-result|@S|@T|proceed",
	"filter-dataline|@S|@T|@L", "filter-result|@S|@O|proceed", "filter-dataline", "filter-dataline|@S|@T@T|@A",
}

// chaos goes wrong at random. What it does at a point depends on its seed, the
// client's name and the point alone, so that it does it again.
type chaos struct {
	seed   string
	old    string // a token of before
	client map[string]string
	tics   map[string]int // of each client, at each phase
}

func newChaos(seed string) *chaos {
	return &chaos{seed: seed, old: "1", client: make(map[string]string), tics: make(map[string]int)}
}

// random gives what decides about this point of the session, and makes it another
// the next time that the client comes there.
func (c *chaos) random(session, phase string) *rand.Rand {
	key := c.client[session] + " " + phase
	c.tics[key]++
	h := fnv.New64a()
	fmt.Fprint(h, c.seed, " ", key, " ", c.tics[key])
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}

// report learns the clients' names.
func (c *chaos) report(line []byte) {
	if p := strings.Split(string(line), "|"); len(p) >= 7 {
		switch p[4] {
		case "link-identify":
			c.client[p[5]] = p[len(p)-1]
		case "link-disconnect":
			delete(c.client, p[5])
		}
	}
}

// request goes wrong, or not; true if the right answer follows.
func (c *chaos) request(f *filter, phase, session, token, arg string) bool {
	if phase == "ehlo" || phase == "helo" {
		c.client[session] = arg
	}
	r := c.random(session, phase)
	defer func() { c.old = token }()
	list, odds := oddAnswers, oddQuestions
	if phase == "data-line" {
		list, odds = oddLineAnswers, oddLines
	}
	if r.IntN(odds) > 0 {
		return true
	}
	if n := r.IntN(2*len(chaosActs) + len(list)); n < 2*len(chaosActs) {
		act := chaosActs[n/2]
		fmt.Fprintf(os.Stderr, "chaos: %s at %s of %s\n", act.name, phase, c.client[session])
		return act.do(f, r, phase, session, token, arg)
	} else {
		list = list[n-2*len(chaosActs):]
	}
	if phase == "data-line" {
		f.out.Write(ending(session, token, arg))
	}
	text, more := strings.CutSuffix(list[0], "+")
	fmt.Fprintf(os.Stderr, "chaos: %.60q at %s of %s\n", text, phase, c.client[session])
	f.out.WriteString(strings.NewReplacer("@S", session, "@T", token, "@O", c.old, "@A", arg, "@L", strings.Repeat("x", 100000)).Replace(text) + "\n")
	return more
}

// ending is the filter's edit, before the end of a message.
func ending(session, token, arg string) []byte {
	if arg != "." {
		return nil
	}
	return fmt.Appendf(nil, "filter-dataline|%s|%s|%s\n", session, token, edit)
}

// right is the right answer.
func right(phase, session, token, arg string) []byte {
	if phase == "data-line" {
		return fmt.Appendf(ending(session, token, arg), "filter-dataline|%s|%s|%s\n", session, token, arg)
	}
	return fmt.Appendf(nil, "filter-result|%s|%s|proceed\n", session, token)
}

// act is something that more than a line is needed for; true if the right answer
// follows.
type act struct {
	name string
	do   func(f *filter, r *rand.Rand, phase, session, token, arg string) bool
}

var chaosActs = []act{
	{"exit 0", func(f *filter, _ *rand.Rand, _, _, _, _ string) bool { f.out.Flush(); os.Exit(0); return true }},
	{"exit at once", func(*filter, *rand.Rand, string, string, string, string) bool { os.Exit(3); return true }},
	{"dumps core", func(f *filter, _ *rand.Rand, _, _, _, _ string) bool { f.die(syscall.SIGABRT); return true }},
	{"stops itself", func(f *filter, _ *rand.Rand, _, _, _, _ string) bool { f.die(syscall.SIGSTOP); return true }},
	{"kills itself", func(f *filter, _ *rand.Rand, _, _, _, _ string) bool { f.die(syscall.SIGKILL); return true }},
	{"is silent", func(*filter, *rand.Rand, string, string, string, string) bool { return false }},
	{"ignores SIGTERM", func(f *filter, _ *rand.Rand, _, _, _, _ string) bool {
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		f.out.Flush()
		forever()
		return true
	}},
	{"closes stdin", func(f *filter, _ *rand.Rand, _, _, _, _ string) bool { os.Stdin.Close(); return true }},
	{"closes stdout", func(f *filter, _ *rand.Rand, _, _, _, _ string) bool { f.out.Flush(); os.Stdout.Close(); return true }},
	{"closes stderr", func(*filter, *rand.Rand, string, string, string, string) bool { os.Stderr.Close(); return true }},
	{"becomes cat", becomes("/bin/cat")},
	{"becomes true", becomes("/bin/true")},
	{"becomes sleep", becomes("/bin/sleep", "100")},
	{"leaves a child", func(f *filter, _ *rand.Rand, _, _, _, _ string) bool {
		f.out.Flush()
		cmd := exec.Command("/bin/sh", "-c", "trap '' TERM HUP; sleep 100 & sleep 100")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		cmd.Start()
		os.Exit(0)
		return true
	}},
	{"answers at the limit", func(f *filter, r *rand.Rand, _, _, _, _ string) bool {
		f.out.Flush()
		time.Sleep(chaosLimit + time.Duration(r.IntN(20)-10)*time.Millisecond)
		return true
	}},
	{"writes byte by byte", func(f *filter, _ *rand.Rand, phase, session, token, arg string) bool {
		f.out.Flush()
		for _, b := range right(phase, session, token, arg) {
			os.Stdout.Write([]byte{b})
		}
		return false
	}},
	{"writes with pauses", func(f *filter, r *rand.Rand, phase, session, token, arg string) bool {
		f.out.Flush()
		for line := right(phase, session, token, arg); len(line) > 0; {
			n := min(1+r.IntN(20), len(line))
			os.Stdout.Write(line[:n])
			line = line[n:]
			time.Sleep(5 * time.Millisecond)
		}
		return false
	}},
	{"stops in a line", func(f *filter, r *rand.Rand, phase, session, token, arg string) bool {
		f.out.Flush()
		line := right(phase, session, token, arg)
		os.Stdout.Write(line[:r.IntN(len(line))])
		forever()
		return false
	}},
	{"reads byte by byte", func(f *filter, _ *rand.Rand, _, _, _, _ string) bool {
		f.out.Flush()
		for b := []byte{0}; ; time.Sleep(time.Millisecond) {
			if n, err := os.Stdin.Read(b); n == 0 || err != nil {
				os.Exit(0)
			}
		}
	}},
	{"floods with reports", func(f *filter, _ *rand.Rand, _, session, _, _ string) bool {
		for i := range 20000 {
			f.say("report|1|smtp-in|%s|flood %d", [2]string{session, "0123456789abcdef"}[i%2], i)
		}
		return true
	}},
	{"floods with long reports", func(f *filter, _ *rand.Rand, _, session, _, _ string) bool {
		for range 200 {
			f.say("report|1|smtp-in|%s|%s", session, strings.Repeat("r", 100000))
		}
		return true
	}},
	{"floods with answers of nobody", func(f *filter, _ *rand.Rand, _, _, token, _ string) bool {
		for range 50000 {
			f.say("filter-result|0123456789abcdef|%s|proceed", token)
		}
		return true
	}},
	{"floods with registrations", func(f *filter, _ *rand.Rand, _, _, _, _ string) bool {
		for range 20000 {
			f.say("register|report|smtp-in|*\nregister|ready")
		}
		return true
	}},
	{"floods stderr", func(*filter, *rand.Rand, string, string, string, string) bool {
		os.Stderr.Write(bytes.Repeat([]byte("a line on standard error\n"), 20000))
		return true
	}},
	{"floods stderr with bytes", func(f *filter, r *rand.Rand, _, _, _, _ string) bool {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		os.Stderr.Write(b)
		os.Stderr.Write(bytes.Repeat([]byte{'e'}, 1<<20))
		return true
	}},
	{"takes memory", func(*filter, *rand.Rand, string, string, string, string) bool {
		b := make([]byte, 128<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return b[0] == 1
	}},
	{"expands", func(f *filter, r *rand.Rand, phase, session, token, arg string) bool {
		if phase == "data-line" { // beyond what a message may have, or within
			line := strings.Repeat("x", 60000)
			for range []int{100, 1200}[r.IntN(2)] {
				f.say("filter-dataline|%s|%s|%s", session, token, line)
			}
		}
		return true
	}},
	{"two dots", func(f *filter, _ *rand.Rand, phase, session, token, arg string) bool {
		if phase == "data-line" && arg == "." {
			f.say("filter-dataline|%s|%s|.", session, token)
		}
		return true
	}},
	{"no dot", func(f *filter, _ *rand.Rand, phase, _, _, arg string) bool { return phase != "data-line" || arg != "." }},
}

// die sends itself a signal.
func (f *filter) die(s syscall.Signal) {
	f.out.Flush()
	syscall.Kill(os.Getpid(), s)
	time.Sleep(100 * time.Millisecond)
}

func becomes(argv ...string) func(*filter, *rand.Rand, string, string, string, string) bool {
	return func(f *filter, _ *rand.Rand, _, _, _, _ string) bool {
		f.out.Flush()
		syscall.Exec(argv[0], argv, nil)
		os.Exit(4)
		return true
	}
}

// chaosStart goes wrong before the filter is ready, once in a while: after so
// many milliseconds of the clock, since a start that fails for good is no test
// of what comes after it.
func chaosStart(f *filter) {
	switch n := time.Now().UnixMilli() % 40; {
	case n == 0:
		os.Exit(1)
	case n == 1:
		f.say("register|filter|smtp-in|bogus")
	case n == 2:
		f.say("filter-result|1|1|proceed")
	case n < 6:
		f.out.WriteString("register|report|smtp-in|")
		f.out.Flush()
		time.Sleep(time.Duration(n) * 10 * time.Millisecond)
		f.out.WriteString("*\n")
	case n == 6:
		f.say("report|%s", strconv.Quote("before the start"))
	}
}
