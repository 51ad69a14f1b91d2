package privsep

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/weirmail/weir/internal/config"
)

// turn is how many questions each of two filters gets before it is the other's
// turn.
const turn = 500

// BenchmarkPipe is what the isolation of a filter costs while it runs: lines go
// to cat and come back, to one that was started as any program is and to one
// that is isolated, in turns, so that both meet the same machine. "ratio" is the
// median of what a pair of turns says. Each leads a session, as the scheduler
// of Linux may share the processors between sessions.
func BenchmarkPipe(b *testing.B) {
	h := newHouse(b)
	for _, bb := range []struct {
		name string
		size int
		s    config.Sandbox
	}{
		{"question", 100, config.Sandbox{}},
		{"question-network-off", 100, config.Sandbox{NetworkOff: true}},
		{"block", 32 << 10, config.Sandbox{}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			plain, isolated := plainCat(b), h.begin(b, h.proc(bb.s), "/bin/cat")
			line := make([]byte, bb.size)
			var ratios []float64
			var sums [2]time.Duration
			n := 0
			for b.Loop() {
				var took [2]time.Duration
				for i := range took {
					if (i+n)%2 == 0 {
						took[0] = pingPong(b, plain.in, plain.out, line)
					} else {
						took[1] = pingPong(b, isolated.in, isolated.out, line)
					}
				}
				n++
				ratios = append(ratios, took[1].Seconds()/took[0].Seconds())
				sums[0], sums[1] = sums[0]+took[0], sums[1]+took[1]
			}
			slices.Sort(ratios)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(sums[0].Nanoseconds())/float64(n*turn), "ns/plain")
			b.ReportMetric(float64(sums[1].Nanoseconds())/float64(n*turn), "ns/isolated")
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
		})
	}
}

func plainCat(b *testing.B) *running {
	cmd := exec.Command("/bin/cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, in, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = stdin, stdout
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stdin.Close()
	stdout.Close()
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
		out.Close()
	})
	return &running{Cmd: cmd, in: in, out: out}
}

// pingPong sends a line and reads it again, turn times.
func pingPong(b *testing.B, in io.Writer, out io.Reader, line []byte) time.Duration {
	begin := time.Now()
	for range turn {
		if _, err := in.Write(line); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(out, line); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begin)
}
