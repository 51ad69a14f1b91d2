package delivery

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/table"
)

var benchMessage = "Subject: bench\n\n" + strings.Repeat(strings.Repeat("x", 79)+"\n", 50) // 4 KB

func BenchmarkMaildir(b *testing.B) {
	home := b.TempDir()
	a := testAgent(b, &config.Action{Method: config.Maildir, Userbase: userbase("alice", home)})
	benchLocal(b, a)
}

// With root's price: the user's rights for each delivery.
func BenchmarkMaildirAsUser(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("only root can take the rights of another user")
	}
	home := b.TempDir()
	os.Chmod(home+"/..", 0o755)
	os.Chown(home, 65534, 65534)
	a := testAgent(b, &config.Action{Method: config.Maildir,
		Userbase: table.NewMapping("users", []table.Pair{{Key: "alice", Value: "65534:65534:" + home}})})
	benchLocal(b, a)
}

func benchLocal(b *testing.B, a *Agent) {
	j := localJob(benchMessage, "alice@example.org", "alice")
	b.ReportAllocs()
	b.SetParallelism(10)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if o := a.Deliver(b.Context(), j)[0]; o.Status != Delivered {
				b.Error(o)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// sink is a server that takes everything as fast as it can.
func sink(nc net.Conn) {
	defer nc.Close()
	r := bufio.NewReaderSize(nc, 64<<10)
	var out []byte
	out = append(out, "220 sink\r\n"...)
	for {
		if r.Buffered() == 0 {
			if _, err := nc.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(line, []byte("EHLO")):
			out = append(out, "250-sink\r\n250-PIPELINING\r\n250 SIZE\r\n"...)
		case bytes.HasPrefix(line, []byte("DATA")):
			nc.Write(append(out, "354 go\r\n"...))
			out = out[:0]
			for string(line) != ".\r\n" {
				if line, err = r.ReadSlice('\n'); err != nil {
					return
				}
			}
			out = append(out, "250 ok\r\n"...)
		default:
			out = append(out, "250 ok\r\n"...)
		}
	}
}

func BenchmarkRelay(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size>>10)+"KB", func(b *testing.B) {
			benchRelay(b, "Subject: bench\n\n"+strings.Repeat(strings.Repeat("x", 63)+"\n", size/64))
		})
	}
}

func benchRelay(b *testing.B, body string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go sink(nc)
		}
	}()
	port := ln.Addr().(*net.TCPAddr).Port
	a := testAgent(b, &config.Action{Method: config.Relay, Host: &config.RelayHost{Proto: "smtp", Host: "127.0.0.1", Port: port}})
	j := job(body, "alice@example.org")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.SetParallelism(5) // as many connections as stay idle
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if o := a.Deliver(b.Context(), j)[0]; o.Status != Delivered {
				b.Error(o)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
