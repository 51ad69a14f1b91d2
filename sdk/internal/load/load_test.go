package load

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/weirmail/weir/sdk/go/filter"
	"github.com/weirmail/weir/sdk/internal/transcript"
)

// The test binary is the filter in Go, too: started with this variable, which
// says what kind.
const role = "FILTER_TEST_LOAD"

// many is how many questions the filters in testdata/random.* keep.
const many = 1000

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "soak":
		soakFilter().Run()
	case "random":
		randomFilter().Run()
	case "fast":
		fastFilter().Run()
	}
	os.Exit(m.Run())
}

// soakFilter does what the filter of the transcripts does with these sessions.
func soakFilter() *filter.Filter {
	f := filter.New()
	for _, phase := range []filter.Phase{filter.Connect, filter.Ehlo, filter.MailFrom, filter.RcptTo, filter.Data} {
		f.On(phase, func(q *filter.Question) { q.Answer(filter.Proceed) })
	}
	f.OnMessage(func(m *filter.Message) {
		for line := range m.Lines() {
			if !bytes.HasPrefix(line, []byte("X-Drop:")) {
				m.WriteLine(line)
			}
		}
	})
	return f
}

// randomFilter keeps many questions and answers them in a random order, from
// many goroutines.
func randomFilter() *filter.Filter {
	f := filter.New()
	var mu sync.Mutex
	var waiting []*filter.Question
	f.On(filter.Ehlo, func(q *filter.Question) {
		mu.Lock()
		defer mu.Unlock()
		if waiting = append(waiting, q); len(waiting) < many {
			return
		}
		rand.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
		for _, q := range waiting {
			go q.Answer(filter.Reject(450, q.Arg))
		}
		waiting = nil
	})
	return f
}

func fastFilter() *filter.Filter {
	f := filter.New()
	f.On(filter.Ehlo, func(q *filter.Question) { q.Answer(filter.Proceed) })
	f.OnMessage(func(m *filter.Message) { io.Copy(m, m) })
	return f
}

// sdk is how to start a filter of one kind in one language.
type sdk struct {
	name  string
	start func(t testing.TB, kind string) *Filter
}

func sdks() []sdk {
	script := func(program, bridge, ext string) func(testing.TB, string) *Filter {
		return func(t testing.TB, kind string) *Filter {
			if _, err := exec.LookPath(program); err != nil {
				t.Skipf("no %s on this machine", program)
			}
			transcript.Reads(t, bridge+"*", "testdata/*"+ext, filepath.Dir(bridge)+"/testdata/*")
			file := "testdata/" + kind + ext
			if kind == "soak" {
				file = filepath.Join(filepath.Dir(bridge), "testdata/reference"+ext)
			}
			return Start(t, bridge, file)
		}
	}
	return []sdk{
		{"go", func(t testing.TB, kind string) *Filter { return Start(t, "env", role+"="+kind, os.Args[0]) }},
		{"c", func(t testing.TB, kind string) *Filter { return Start(t, compiled(t, kind)) }},
		{"python", script("python3", "../../python/filter-python", ".py")},
		{"perl", script("perl", "../../perl/filter-perl", ".pl")},
		{"python-async", script("python3", "../../python/filter-python", "_async.py")},
	}
}

func compiled(t testing.TB, kind string) string {
	t.Helper()
	for _, tool := range []string{"cc", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s on this machine", tool)
		}
	}
	transcript.Reads(t, "../../c/src/*", "../../c/include/*", "testdata/*.c")
	dir := t.TempDir()
	if out, err := exec.Command("make", "-C", "../../c", "BUILD="+dir).CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	source := "testdata/" + kind + ".c"
	if kind == "soak" {
		source = "../../c/testdata/reference.c"
	}
	program := filepath.Join(dir, kind)
	if out, err := exec.Command("cc", "-O2", "-I../../c/include", "-o", program, source, "-L"+dir, "-lweirfilter").CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return program
}

// Memory stays what it was after the first sessions: 200,000 of them with
// WEIR_SOAK=1, fewer in the daily tests.
func TestSoak(t *testing.T) {
	sessions := 10_000
	if os.Getenv("WEIR_SOAK") != "" {
		sessions = 200_000
	}
	const at = 100 // side by side
	// What an allocator or a collector needs to settle; a session that was not
	// forgotten would cost hundreds of bytes, 8 MB and more in the long form.
	const slack = 4 << 20
	for _, sdk := range sdks() {
		t.Run(sdk.name, func(t *testing.T) {
			if sdk.name == "python-async" {
				sdk.start = func(t testing.TB, _ string) *Filter {
					if _, err := exec.LookPath("python3"); err != nil {
						t.Skip("no python3 on this machine")
					}
					return Start(t, "../../python/filter-python", "testdata/soak_async.py")
				}
			}
			slack := slack
			if sdk.name == "go" {
				slack += raceSlack
			}
			f := sdk.start(t, "soak")
			var sizes []string
			var settled, size int
			const parts = 10
			for i := range parts {
				f.Sessions(i*sessions/parts, (i+1)*sessions/parts, at)
				size = f.Resident()
				sizes = append(sizes, fmt.Sprintf("%.1f", float64(size)/(1<<20)))
				if i == 1 {
					settled = size
				}
			}
			t.Logf("%d sessions: resident MB after each tenth: %s", sessions, strings.Join(sizes, " "))
			if size > settled+slack {
				t.Errorf("memory grows: from %d to %d bytes", settled, size)
			}
			f.End()
		})
	}
}

// A thousand sessions at once, answered in a random order: each gets its own.
func TestRandomOrder(t *testing.T) {
	for _, sdk := range sdks() {
		t.Run(sdk.name, func(t *testing.T) {
			f := sdk.start(t, "random")
			const rounds = 3
			for round := range rounds {
				for n := range many {
					f.Send(fmt.Sprintf("%sehlo|%016x|%016x|name-%d\n", ask, n, round*many+n, round*many+n))
				}
				f.Flush()
				answers := make(map[string]bool)
				inOrder := true
				for n := range many {
					line := f.Line()
					answers[line] = true
					inOrder = inOrder && strings.HasPrefix(line, fmt.Sprintf("filter-result|%016x|", n))
				}
				for n := range many {
					k := round*many + n
					if want := fmt.Sprintf("filter-result|%016x|%016x|reject|450 name-%d", n, k, k); !answers[want] {
						t.Fatalf("no answer %q", want)
					}
				}
				if inOrder {
					t.Error("the answers came in the order of the questions: nothing was tried")
				}
			}
			f.End()
		})
	}
}

// BenchmarkQuestions is how many questions of 1,000 sessions a filter answers.
func BenchmarkQuestions(b *testing.B) {
	for _, sdk := range sdks() {
		if sdk.name == "python-async" {
			continue
		}
		b.Run(sdk.name, func(b *testing.B) {
			f := sdk.start(b, "fast")
			questions := make([]string, many)
			for n := range questions {
				questions[n] = fmt.Sprintf("%sehlo|%016x|aaaaaaaaaaaaaaaa|client.example\n", ask, n)
			}
			b.ResetTimer()
			for sent := 0; sent < b.N; sent += many {
				n := min(many, b.N-sent)
				for _, q := range questions[:n] {
					f.Send(q)
				}
				f.Flush()
				f.Await("|proceed", n)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "questions/s")
			f.End()
		})
	}
}

// BenchmarkLines is how many lines of 76 bytes come back from a filter; MB/s
// counts the message, not the protocol around it.
func BenchmarkLines(b *testing.B) {
	const width = 76
	for _, sdk := range sdks() {
		if sdk.name == "python-async" {
			continue
		}
		b.Run(sdk.name, func(b *testing.B) {
			f := sdk.start(b, "fast")
			head := ask + "data-line|00000000000000ab|dddddddddddddddd|"
			line := head + strings.Repeat("x", width-1) + "\n"
			b.SetBytes(width)
			b.ResetTimer()
			go func() {
				for range b.N {
					f.Send(line)
				}
				f.Send(head + ".\n")
				f.Flush()
			}()
			f.Await("|dddddddddddddddd|x", b.N)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
			f.End()
		})
	}
}
