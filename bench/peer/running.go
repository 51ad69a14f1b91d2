package peer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weirmail/weir/bench/measure"
)

// Running is a server that was started, with its milters.
type Running struct {
	Addr  string
	Ready time.Duration // from its start to its banner

	dir     string
	server  *process
	milters []*process
	queued  []string
}

// process is a child, and whether it has ended.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	all   bool // end all of its tree at once, not the first one alone
}

func (r *Running) start(ctx context.Context, h *House, p Peer, s Setup, port int) error {
	c, err := p.prepare(h, s, r.dir, port)
	if err != nil {
		return err
	}
	for i := range milters(p, s) {
		m, err := r.launch([]string{h.Filters.Milter, s.Filters, "unix:" + milterSocket(r.dir, i)}, fmt.Sprintf("milter%d.log", i), 0)
		if err != nil {
			return err
		}
		r.milters = append(r.milters, m)
		if err := waitSocket(milterSocket(r.dir, i)); err != nil {
			return err
		}
	}
	argv, flags := h.inside(c.argv, c.binds...)
	r.queued = c.queued
	begin := time.Now()
	if r.server, err = r.launch(argv, "log", flags); err != nil {
		return err
	}
	r.server.all = c.all
	if err := banner(ctx, r.Addr, r.server.ended); err != nil {
		return fmt.Errorf("%w; its log ends with:\n%s", err, r.LogTail())
	}
	r.Ready = time.Since(begin)
	return nil
}

// launch starts a process whose output goes to a file. It leads a session, as
// one that a service manager starts does: Linux may share the processors between
// sessions first, and servers differ in whether they make one themselves.
func (r *Running) launch(argv []string, log string, unshare uintptr) (*process, error) {
	out, err := os.Create(filepath.Join(r.dir, log))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Unshareflags: unshare}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// LogTail gives the end of what the server has said.
func (r *Running) LogTail() string {
	b, _ := os.ReadFile(filepath.Join(r.dir, "log"))
	return string(b[max(0, len(b)-2000):])
}

// Queued says what is in the server's queue, "" if it cannot be asked: mail
// that does not arrive may be late, and not lost.
func (r *Running) Queued() string {
	if len(r.queued) == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, r.queued[0], r.queued[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// Processes gives the processes of the server, and those of its filters.
func (r *Running) Processes() (server, filters []int) {
	for _, pid := range measure.Tree(r.server.cmd.Process.Pid) {
		if measure.Comm(pid) == "nullfilter" {
			filters = append(filters, pid)
		} else {
			server = append(server, pid)
		}
	}
	for _, m := range r.milters {
		filters = append(filters, m.cmd.Process.Pid)
	}
	return server, filters
}

// stopTimeout is how long a server may take to end before it is killed.
const stopTimeout = 10 * time.Second

// Stop ends the server and its milters, and removes their state.
func (r *Running) Stop() {
	if r.server != nil {
		r.server.stop()
	}
	for _, m := range r.milters {
		m.stop()
	}
	_ = os.RemoveAll(r.dir)
}

// stop ends a process and what it has started.
func (p *process) stop() {
	tree := measure.Tree(p.cmd.Process.Pid)
	if len(tree) == 0 {
		return
	}
	told := tree[:1]
	if p.all {
		told = tree
	}
	for _, pid := range told {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(tree, measure.Alive) {
			break
		}
	}
	// What is left of the tree, and what has joined it meanwhile.
	for _, pid := range append(tree, measure.Tree(p.cmd.Process.Pid)...) {
		if measure.Alive(pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	<-p.ended
}
