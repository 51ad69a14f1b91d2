package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/weirmail/weir/bench/load"
	"github.com/weirmail/weir/bench/sink"
)

// role is this program as another process.
type role struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startRole starts this program in a role. It ends when its input does.
func startRole(self, name string, args ...string) (*role, error) {
	cmd := exec.Command(self, append([]string{name}, args...)...)
	cmd.Stderr = os.Stderr
	// Not in our group: a ^C is for us to tell them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &role{cmd, in, bufio.NewReader(out)}, nil
}

// stop ends the role, by force if it does not end itself.
func (r *role) stop() error {
	_ = r.in.Close()
	late := time.AfterFunc(10*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer late.Stop()
	return r.cmd.Wait()
}

// answer reads a line of JSON.
func (r *role) answer(v any) error {
	line, err := r.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s has no answer: %w", r.cmd.Args[1], err)
	}
	return json.Unmarshal(line, v)
}

// sinkProcess is the sink, asked over its pipes.
type sinkProcess struct {
	*role
	addr string
}

func startSink(self string) (*sinkProcess, error) {
	r, err := startRole(self, "sink")
	if err != nil {
		return nil, err
	}
	addr, err := r.out.ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return &sinkProcess{r, addr[:len(addr)-1]}, nil
}

// counts asks what has arrived; with reset it is then forgotten.
func (s *sinkProcess) counts(reset bool) (sink.Counts, error) {
	word := "counts\n"
	if reset {
		word = "reset\n"
	}
	var c sink.Counts
	if _, err := io.WriteString(s.in, word); err != nil {
		return c, err
	}
	return c, s.answer(&c)
}

// runLoad does a job in a process of its own.
func runLoad(ctx context.Context, self string, j load.Job) (load.Result, error) {
	r, stop, err := holdLoad(ctx, self, j)
	stop()
	return r, err
}

// holdLoad does the same; the sessions of an Idle job stay until stop is
// called, which is to be called in any case.
func holdLoad(ctx context.Context, self string, j load.Job) (res load.Result, stop func(), err error) {
	r, err := startRole(self, "load")
	if err != nil {
		return res, func() {}, err
	}
	stop = func() { _ = r.stop() }
	cancelled := context.AfterFunc(ctx, func() { _ = r.in.Close() })
	defer cancelled()
	if err := json.NewEncoder(r.in).Encode(j); err != nil {
		return res, stop, err
	}
	err = r.answer(&res)
	return res, stop, errors.Join(err, ctx.Err())
}
