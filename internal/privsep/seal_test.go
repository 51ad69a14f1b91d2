package privsep

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sealedRole is an engine that somebody else has taken over: it tries what the
// arguments name, and tells on descriptor 3 what came of it, a line for each.
var sealedRole = Role{"sealed", func() error {
	out := os.NewFile(ChannelFD, "out")
	if err := Seal(os.Args[1] == "offline"); err != nil {
		return err
	}
	for _, arg := range os.Args[2:] {
		what, value, _ := strings.Cut(arg, "=")
		result := "ok"
		if err := try(what, value); err != nil {
			result = err.Error()
		}
		fmt.Fprintf(out, "%s: %s\n", what, result)
	}
	return nil
}}

// try does one thing that an engine might be used for.
func try(what, value string) error {
	n, _ := strconv.Atoi(value)
	switch what {
	case "read", "read-queue", "read-mailbox", "read-shadow", "read-environ", "read-own":
		_, err := os.ReadFile(value)
		return err
	case "write", "write-queue":
		return os.WriteFile(value, []byte("hostile"), 0o600)
	case "list":
		_, err := os.ReadDir(value)
		return err
	case "exec":
		return exec.Command(value).Run()
	case "execve":
		return syscall.Exec(value, []string{value}, nil)
	case "fork":
		_, _, e := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
		return errOf(e)
	case "ptrace":
		return unix.PtraceAttach(n)
	case "kill":
		return unix.Kill(n, unix.SIGWINCH)
	case "setuid":
		return syscall.Setuid(0)
	case "setgroups":
		return syscall.Setgroups([]int{0})
	case "mount":
		return unix.Mount("none", "/tmp", "tmpfs", 0, "")
	case "chroot":
		return unix.Chroot("/")
	case "unshare":
		return unix.Unshare(unix.CLONE_NEWUSER)
	case "bpf":
		_, _, e := unix.Syscall(unix.SYS_BPF, 0, 0, 0)
		return errOf(e)
	case "mknod":
		return unix.Mknod(value, unix.S_IFCHR, 1)
	case "socket":
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		return err
	case "connect":
		c, err := net.Dial("unix", value)
		if err == nil {
			c.Close()
		}
		return err
	}
	return fmt.Errorf("nobody knows how to %s", what)
}

// TestSealed: what an engine cannot do, and that it can what it must.
func TestSealed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a process gives up rights only if it has them: run the test as root")
	}
	h := newHouse(t)
	const nobody = 65534
	queue := filepath.Dir(h.secret)
	if err := os.Chown(queue, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	mailbox := filepath.Join(h.dir, "mailbox")
	if err := os.WriteFile(mailbox, []byte("private"), 0o644); err != nil { // for everybody: only the view hides it
		t.Fatal(err)
	}
	parent := strconv.Itoa(os.Getpid())
	denied := []string{
		"read=" + h.key, "read-mailbox=" + mailbox, "read-shadow=/etc/shadow", "read-environ=/proc/" + parent + "/environ", "list=" + h.dir, "list=/root", "list=/",
		"write=" + h.dir + "/new", "write=/tmp/privsep-sealed", "exec=/bin/true", "execve=/bin/true", "fork", "ptrace=" + parent, "kill=" + parent,
		"setuid", "setgroups", "mount", "chroot", "unshare", "bpf", "mknod=" + queue + "/device",
	}
	run := func(kind string, tries []string, read, write []string) []string {
		t.Helper()
		out, child, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		c := Child{Role: sealedRole.Name, Args: append([]string{kind}, tries...), Files: []*os.File{child}, Identity: Identity{UID: nobody, GID: nobody}, Confined: true, Read: read, Write: write}
		r, err := c.Start()
		child.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range r.Notes {
			t.Log(n)
		}
		text, err := io.ReadAll(out)
		<-r.Done
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if err != nil || len(lines) != len(tries) || r.State != "exit status 0" {
			t.Fatalf("%s, %v: %q", r.State, err, text)
		}
		return lines
	}
	for _, line := range run("engine", denied, EngineFiles(), []string{queue}) {
		if strings.HasSuffix(line, ": ok") {
			t.Errorf("an engine can %s", line)
		}
	}
	allowed := []string{"read-queue=" + h.secret, "write-queue=" + queue + "/new", "read=/etc/hosts", "socket", "connect=" + h.sock}
	for _, line := range run("engine", allowed, EngineFiles(), []string{queue}) {
		if !strings.HasSuffix(line, ": ok") {
			t.Errorf("an engine cannot %s", line)
		}
	}
	for _, line := range run("offline", append(denied, allowed...), nil, nil) {
		if strings.HasSuffix(line, ": ok") {
			t.Errorf("a signer can %s", line)
		}
	}
}
