package privsep

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/weirmail/weir/internal/admin"
)

// status is /proc/PID/status: a text to each word.
type status map[string]string

func readStatus(pid int) (status, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	return parseFields(string(text)), nil
}

func parseFields(text string) status {
	st := make(status)
	for line := range strings.Lines(text) {
		if word, value, ok := strings.Cut(line, ":"); ok {
			st[word] = strings.TrimSpace(value)
		}
	}
	return st
}

// number gives a value that is a number, -1 if it is not.
func (st status) number(word string) int {
	n, err := strconv.Atoi(st[word])
	if err != nil {
		return -1
	}
	return n
}

// uid gives the effective user id.
func (st status) uid() int {
	f := strings.Fields(st["Uid"])
	if len(f) != 4 {
		return -1
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		return -1
	}
	return n
}

// rlimits are the rows of /proc/PID/limits that are shown.
var rlimits = [][2]string{
	{"Max cpu time", "cpu"}, {"Max data size", "memory"}, {"Max processes", "processes"},
	{"Max open files", "files"}, {"Max core file size", "core"},
}

// Show reads back what applies to a filter's process pid that l has started.
func (l *Launcher) Show(pid int) (admin.FilterProcess, error) {
	l.mu.Lock()
	p := l.running[pid]
	l.mu.Unlock()
	if p == nil {
		return admin.FilterProcess{}, fmt.Errorf("process %d: %w", pid, os.ErrNotExist)
	}
	out, err := inspect(pid)
	if err != nil {
		return out, err
	}
	out.Landlock, out.Notes, out.Hidden = p.abi, p.notes, p.spec.Hide
	if v := p.spec.View; v != nil {
		out.Read, out.Write, out.View = slices.Concat(v.Read, v.Own), v.Write, true
	}
	return out, nil
}

// inspect reads what /proc tells.
func inspect(pid int) (out admin.FilterProcess, err error) {
	st, err := readStatus(pid)
	if err != nil {
		return out, err
	}
	s, err := readStat(pid)
	if err != nil {
		return out, err
	}
	out = admin.FilterProcess{
		PID: pid, UIDs: strings.Fields(st["Uid"]), GIDs: strings.Fields(st["Gid"]), Groups: strings.Fields(st["Groups"]),
		Capabilities: st["CapEff"], Bounding: st["CapBnd"],
		NoNewPrivs: st["NoNewPrivs"] == "1", Seccomp: st["Seccomp"] == "2",
		Session: s.session, Group: s.group, Limits: make(map[string]string),
	}
	dir := fmt.Sprintf("/proc/%d/", pid)
	if out.Root, err = os.Readlink(dir + "root"); err != nil {
		return out, err
	}
	theirs, err := os.Stat(dir + "root/tmp")
	everybodys, err2 := os.Stat(filepath.Join(out.Root, "tmp"))
	out.OwnTmp = err == nil && err2 == nil && !os.SameFile(theirs, everybodys)
	limits, err := os.ReadFile(dir + "limits")
	if err != nil {
		return out, err
	}
	for line := range strings.Lines(string(limits)) {
		for _, l := range rlimits {
			if rest, ok := strings.CutPrefix(line, l[0]); ok && len(strings.Fields(rest)) > 0 {
				out.Limits[l[1]] = strings.Fields(rest)[0]
			}
		}
	}
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		return out, err
	}
	for _, f := range fds {
		if to, err := os.Readlink(dir + "fd/" + f.Name()); err == nil {
			out.Descriptors = append(out.Descriptors, f.Name()+" "+to)
		}
	}
	out.Namespaces = namespacesOf(dir)
	return out, nil
}

// namespacesOf names the namespaces that a process does not share with us.
func namespacesOf(dir string) []string {
	var own []string
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		theirs, err := os.Readlink(filepath.Join(dir, "ns", name))
		ours, err2 := os.Readlink("/proc/self/ns/" + name)
		if err == nil && err2 == nil && theirs != ours {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	return own
}
