// Command bench measures weir: side by side with Postfix and OpenSMTPD, and
// how its costs grow with sessions, filters, recipients, a long queue and the
// size of messages. README.md beside it says what is compared with what.
//
//	go run ./bench peers     the workloads W1 to W7, all servers in one run
//	go run ./bench growth    what grows with what, weir alone
//	go run ./bench isolation  what it costs that a server is several processes
//	go run ./bench claims    the rest of what is promised: starts, questions, lines
//	go run ./bench report    docs/performance.md and its plots, from the results
//
// Load, sink and servers are processes of their own: the first two are this
// program in another role.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/weirmail/weir/bench/load"
	"github.com/weirmail/weir/bench/peer"
	"github.com/weirmail/weir/bench/record"
	"github.com/weirmail/weir/bench/report"
	"github.com/weirmail/weir/bench/sink"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return errors.New("usage: go run ./bench peers|growth|isolation|claims|report [flags]")
	}
	what, args := os.Args[1], os.Args[2:]
	raiseFiles()
	switch what {
	case "load":
		return loadRole()
	case "sink":
		return sinkRole()
	case "floor":
		return floorRole(args)
	case "inside":
		return peer.Inside(args)
	}
	o := options{seconds: 4, rounds: 3}
	fs := flag.NewFlagSet("bench "+what, flag.ExitOnError)
	fs.IntVar(&o.rounds, "rounds", o.rounds, "how often each workload runs; tables have medians")
	fs.Float64Var(&o.seconds, "seconds", o.seconds, "how long each run sends")
	fs.StringVar(&o.only, "only", "", "these workloads, as w1,w2 or sessions,size")
	fs.StringVar(&o.servers, "peers", "weir,postfix,opensmtpd", "these servers")
	fs.StringVar(&o.weir, "weir", "", "the weir to measure; built from this tree if empty")
	fs.StringVar(&o.dir, "dir", "/var/tmp", "where the servers keep their state, on the disk to be measured")
	fs.StringVar(&o.results, "results", "bench/results.jsonl", "the file of results")
	fs.Float64Var(&o.scale, "scale", 1, "growth: the largest steps, as a part of those of the report")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	switch what {
	case "peers":
		return measured(ctx, o, what, peerWorks())
	case "growth":
		return measured(ctx, o, what, growthWorks())
	case "isolation":
		return measured(ctx, o, what, isolationWorks())
	case "claims":
		return measured(ctx, o, what, claimWorks())
	case "report":
		return writeReport(o)
	default:
		return fmt.Errorf("there is no %q", what)
	}
}

// options are the flags.
type options struct {
	rounds                            int
	seconds, scale                    float64
	only, servers, weir, dir, results string
}

// chosen reports whether a name is in a list; an empty list has every name.
func chosen(list, name string) bool {
	if list == "" {
		return true
	}
	for n := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(n), name) {
			return true
		}
	}
	return false
}

// raiseFiles lets this process and its children have as many descriptors as
// it may give them: sessions by the ten thousand are measured.
func raiseFiles() {
	const plenty = 1 << 20
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: plenty, Max: plenty}) == nil {
		return
	}
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
}

// loadRole does the job that stands on standard input and writes its result to
// standard output. Sessions that stay do so until the input ends.
func loadRole() error {
	var j load.Job
	dec := json.NewDecoder(os.Stdin)
	if err := dec.Decode(&j); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_ = dec.Decode(new(any)) // fails when the input ends
		cancel()
	}()
	say := func(r load.Result) { _ = json.NewEncoder(os.Stdout).Encode(r) }
	r, err := load.Run(ctx, j, say)
	if err == nil && j.Kind != load.Idle {
		say(r)
	}
	return err
}

// sinkRole takes mail until its standard input ends. Its first line of output
// is its address.
func sinkRole() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := sink.New()
	go s.Serve(l)
	fmt.Println(l.Addr())
	return s.Control(os.Stdin, os.Stdout)
}

// writeReport renders the results.
func writeReport(o options) error {
	docs, err := inModule("docs")
	if err != nil {
		return err
	}
	f, err := record.Read(o.results)
	if err != nil {
		return err
	}
	return report.Write(f, docs)
}

// inModule says where a path of this repository is.
func inModule(path string) (string, error) {
	if _, err := os.Stat("go.mod"); err != nil {
		return "", errors.New("run it from the root of the repository")
	}
	return filepath.Abs(path)
}
