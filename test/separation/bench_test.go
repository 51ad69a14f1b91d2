package separation

import (
	"fmt"
	"net/smtp"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkDelivery takes mails in over SMTP through a filter and delivers them
// to maildirs, by one process that is root and by several. User and system time
// of all of them is shown besides.
func BenchmarkDelivery(b *testing.B) {
	for _, bb := range []struct{ name, engine string }{{"one", "root"}, {"separate", engineUser}} {
		for _, users := range []int{1, 3} {
			b.Run(fmt.Sprintf("%s/users-%d", bb.name, users), func(b *testing.B) {
				h := newHouseOf(b, bb.engine)
				body := strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\r\n", 64)
				var next atomic.Int64
				var wg sync.WaitGroup
				before := cpu(b, h.PID())
				b.ResetTimer()
				for range 20 {
					wg.Go(func() {
						c, err := smtp.Dial(fmt.Sprintf("127.0.0.1:%d", h.port))
						if err != nil {
							b.Error(err)
							return
						}
						defer c.Close()
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							to := []string{"alice", "bob", "dora"}[n%int64(users)]
							if err := mail(c, to+"@maildir.test", "bench", body); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				h.Drained(b, limit)
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
				b.ReportMetric((cpu(b, h.PID())-before)*1000/float64(b.N), "cpu-ms/mail")
			})
		}
	}
}

// cpu gives the processor time of a process and its children, in seconds.
func cpu(b *testing.B, pid int) float64 {
	b.Helper()
	ticks := func(dir string) float64 {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			return 0
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		sum := 0.0
		for _, i := range []int{11, 12, 13, 14} { // utime stime cutime cstime
			n, _ := strconv.ParseFloat(f[i], 64)
			sum += n
		}
		return sum / 100 // USER_HZ
	}
	sum := ticks("/proc/" + strconv.Itoa(pid))
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		b.Fatal(err)
	}
	for _, d := range dirs {
		stat, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(f) > 1 && f[1] == strconv.Itoa(pid) {
			sum += ticks("/proc/" + d.Name())
		}
	}
	return sum
}
