package dialogs

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/test/weirtest"
)

var update = flag.Bool("update", false,
	"write the outcome of the cases of differences.txt (or of those named as arguments) into expected/, to be reviewed")

var only = flag.String("only", "", "run those recorded cases alone whose name matches this regular expression")

// The listeners of the recorded configurations, by role, with the port they
// were recorded on.
var mainRoles = map[string]int{
	"plain": 2625, "submission": 2587, "smtps": 2465, "authreq": 2588,
	"chain": 2626, "nofilter": 2627, "mixed": 2628, "partial": 2629,
}

var smallRoles = map[string]int{"small": 2635, "small-nofilter": 2637}

const (
	sinkPort    = 2599             // of the recorded configuration
	goldenLimit = 10 * time.Minute // for all cases together
)

// TestGolden runs the recorded sessions against weir: each comes out as it was
// recorded, or as reviewed in expected/ for a reason on our list.
func TestGolden(t *testing.T) {
	handshakes, timeouts, others := goldenCases(t)
	testGolden(t, append(handshakes, others...), "")
	testGolden(t, timeouts, "smtp timeout 2s\n")
}

// testGolden runs cases with servers whose configuration has a line more.
func testGolden(t *testing.T, cases []string, config string) {
	if len(cases) == 0 {
		return
	}
	lab := newLab(t, config)
	reasons := readReasons(t)
	lab.drive(t, cases)

	asRecorded := lab.compare(t, "golden/transcripts", cases)
	var listed []string
	for _, c := range cases {
		if _, ok := reasons[c]; ok {
			listed = append(listed, c)
		}
	}
	if *update {
		lab.update(t, listed)
	}
	asReviewed := lab.compare(t, "expected", listed)
	for _, c := range cases {
		t.Run(c, func(t *testing.T) {
			reason, ok := reasons[c]
			switch {
			case !ok && asRecorded[c] != "":
				t.Errorf("differs from the recorded session for no reason of differences.txt:\n%s", asRecorded[c])
			case ok && asRecorded[c] == "":
				t.Errorf("is as recorded; take it off differences.txt (%s)", reason)
			case ok && asReviewed[c] != "":
				t.Errorf("differs from the recorded session on purpose (%s), but not as reviewed:\n%s", reason, asReviewed[c])
			}
		})
	}
}

// goldenCases gives the names of the cases that were recorded: what filters
// say when they start, sessions that wait for the server to lose patience
// (five minutes when they were recorded), and all others.
func goldenCases(t *testing.T) (handshakes, timeouts, others []string) {
	t.Helper()
	dirs, err := os.ReadDir("golden/transcripts")
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		t.Fatalf("-only: %v", err)
	}
	for _, d := range dirs {
		name := d.Name()
		switch {
		case !wanted.MatchString(name):
		case strings.HasPrefix(name, "handshake-"):
			handshakes = append(handshakes, name)
		case strings.HasPrefix(name, "timeout"):
			timeouts = append(timeouts, name)
		default:
			others = append(others, name)
		}
	}
	return handshakes, timeouts, others
}

// readReasons reads differences.txt: case, number of the entry in
// docs/differences.md, sentence.
func readReasons(t *testing.T) map[string]string {
	t.Helper()
	entries := differenceNumbers(t)
	f, err := os.Open("differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reasons := make(map[string]string)
	in := bufio.NewScanner(f)
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			t.Fatalf("differences.txt:%d: expected case, number and sentence", n)
		}
		for number := range strings.SplitSeq(fields[1], ",") {
			if i, err := strconv.Atoi(number); err != nil || !entries[i] {
				t.Fatalf("differences.txt:%d: docs/differences.md has no entry %s", n, number)
			}
		}
		if _, ok := reasons[fields[0]]; ok {
			t.Fatalf("differences.txt:%d: %s is listed twice", n, fields[0])
		}
		if _, err := os.Stat(filepath.Join("golden/transcripts", fields[0])); err != nil {
			t.Fatalf("differences.txt:%d: %v", n, err)
		}
		reasons[fields[0]] = "difference " + strings.Join(fields[1:], " ")
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return reasons
}

// differenceNumbers gives the numbers of the entries of docs/differences.md.
func differenceNumbers(t *testing.T) map[int]bool {
	t.Helper()
	b, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	numbers := make(map[int]bool)
	for _, m := range regexp.MustCompile(`(?m)^## (\d+)\. `).FindAllSubmatch(b, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		numbers[n] = true
	}
	return numbers
}

// lab is two servers, one for each recorded configuration, and what is around
// them.
type lab struct {
	python string
	dir    string
	out    string
	ports  map[int]int // recorded port: the one used here
	main   *weirtest.Server
}

// newLab starts the servers. config goes before their configurations. That they
// are ready is seen where no filter is told of it.
func newLab(t *testing.T, config string) *lab {
	t.Helper()
	l := &lab{python: python(t), dir: t.TempDir(), ports: make(map[int]int)}
	l.out = filepath.Join(l.dir, "out")
	for _, roles := range []map[string]int{mainRoles, smallRoles, {"sink": sinkPort}} {
		for _, port := range roles {
			l.ports[port] = weirtest.FreePort(t)
		}
	}
	for _, d := range []string{"out", "filter", "mail", "sink", "main", "small"} {
		if err := os.Mkdir(filepath.Join(l.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	weirtest.Certificate(t, filepath.Join(l.dir, "pki"), "mx.example.test")
	l.startSink(t)
	l.main = weirtest.Start(t, filepath.Join(l.dir, "main"), config+l.config(t, "main.conf"), l.ports[mainRoles["nofilter"]])
	l.handshake(t, "handshake-main")
	weirtest.Start(t, filepath.Join(l.dir, "small"), config+l.config(t, "small.conf"), l.ports[smallRoles["small-nofilter"]])
	l.handshake(t, "handshake-small")
	return l
}

// handshake makes a case of what the filters of the server that was just
// started logged until they were ready, and empties their logs.
func (l *lab) handshake(t *testing.T, name string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(l.out, name), 0o755); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(l.dir, "filter", "filter-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	const ready = "> register|ready\n"
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		i := bytes.Index(b, []byte(ready))
		if i < 0 {
			continue // a filter of the other server, emptied before
		}
		file := strings.TrimSuffix(filepath.Base(path), ".log") + ".txt"
		if err := os.WriteFile(filepath.Join(l.out, name, file), b[:i+len(ready)], 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 0); err != nil { // they append
			t.Fatal(err)
		}
	}
}

// python gives the interpreter itself: what is on the path may be a script
// that looks for it, each time.
func python(t *testing.T) string {
	t.Helper()
	path := weirtest.Program(t, "python3", "python3")
	out, err := exec.Command(path, "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// config fills a recorded configuration in: paths, ports, credentials. The
// recorded ones delivered to system users alice and bob; a userbase makes them
// users of ours, so that no rights are needed.
func (l *lab) config(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("golden/config", name))
	if err != nil {
		t.Fatal(err)
	}
	tools, err := filepath.Abs("golden/tools")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		"@RUN@", l.dir, "@TOOLS@", tools, "@PYTHON@", l.python,
		"@CREDS@", weirtest.Credentials(t, "secret", "alice", "bob"),
	).Replace(string(b))
	text = regexp.MustCompile(`\b\d{4}\b`).ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(s)
		if p, ok := l.ports[n]; ok {
			return strconv.Itoa(p)
		}
		return s
	})
	text = regexp.MustCompile(`(?m)^(action "local" .*)$`).ReplaceAllString(text, "$1 userbase <users>")
	return fmt.Sprintf("table users { %s }\n%s", weirtest.Userbase(filepath.Join(l.dir, "home"), "alice", "bob"), text)
}

// startSink runs the server to which relayed messages go.
func (l *lab) startSink(t *testing.T) {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", l.ports[sinkPort])
	cmd := exec.Command(l.python, "golden/tools/sink.py", "--port", strconv.Itoa(l.ports[sinkPort]), "--dir", filepath.Join(l.dir, "sink"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("sink.py: %v", err)
		}
	}
}

// exactly is a regular expression for these names.
func exactly(names []string) string { return "^(" + strings.Join(names, "|") + ")$" }

// drive runs the scripts of cases.
func (l *lab) drive(t *testing.T, cases []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), goldenLimit)
	defer cancel()
	args := []string{
		"golden/tools/driver.py", "--out", l.out, "--filter-dir", filepath.Join(l.dir, "filter"),
		"--mail-dir", filepath.Join(l.dir, "mail"), "--mail-dir", filepath.Join(l.dir, "sink"),
		"--sendmail", l.sendmail(t), "--only", exactly(cases), "--slow",
	}
	for _, roles := range []map[string]int{mainRoles, smallRoles} {
		for role, port := range roles {
			args = append(args, "--map", fmt.Sprintf("%s=127.0.0.1:%d", role, l.ports[port]))
		}
	}
	cmd := exec.CommandContext(ctx, l.python, args...)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("driver.py: %v\n%s", err, out)
	}
}

// sendmail gives the command of the cases with local messages. They were
// recorded as root.
func (l *lab) sendmail(t *testing.T) string {
	cmd := fmt.Sprintf("%s sendmail -C %s", weirtest.Binary(t), l.main.Config)
	if os.Getuid() != 0 {
		cmd += " -f root -F root"
	}
	return cmd
}

var stateLine = regexp.MustCompile(`^(equal|different|missing) +(\S+)$`)

// compare compares what came out with another folder of cases and gives the
// differences of each; a case that is equal has none.
func (l *lab) compare(t *testing.T, with string, cases []string) map[string]string {
	t.Helper()
	if len(cases) == 0 {
		return nil
	}
	cfg, err := config.Load(l.main.Config, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Where no listener has a say, the server is named after the machine.
	cmd := exec.Command(l.python, "golden/tools/compare.py", with, l.out, "--weir", "--software", "weir",
		"--host", cfg.Hostname, "--only", exactly(cases))
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.Output()
	diffs := make(map[string]string)
	name := ""
	for line := range strings.Lines(string(out)) {
		if m := stateLine.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			name = m[2]
			diffs[name] = map[string]string{"equal": "", "different": "\n", "missing": "it was not run\n"}[m[1]]
		} else if strings.HasPrefix(line, "    ") {
			diffs[name] += line
		}
	}
	for _, c := range cases {
		if _, ok := diffs[c]; !ok {
			diffs[c] = fmt.Sprintf("nothing to compare with in %s (compare.py: %v)", with, err)
		}
	}
	return diffs
}

// update makes what came out the expectation of cases, or of those among them
// that the command line names.
func (l *lab) update(t *testing.T, cases []string) {
	t.Helper()
	for _, c := range cases {
		if flag.NArg() > 0 && !slices.Contains(flag.Args(), c) {
			continue
		}
		from, to := filepath.Join(l.out, c), filepath.Join("expected", c)
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(from, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			// Directories of this run are nobody's expectation.
			b = bytes.ReplaceAll(b, []byte(l.dir), []byte("/run"))
			if err := os.WriteFile(filepath.Join(to, f.Name()), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
