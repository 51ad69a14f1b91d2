package peer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// Inside is what this program does between the start of a server's process and
// the server: in a mount namespace of its own it binds from:to for each of
// args up to "--" and becomes the command behind it.
func Inside(args []string) error {
	for i, a := range args {
		if a == "--" {
			return syscall.Exec(args[i+1], args[i+1:], os.Environ())
		}
		from, to, _ := strings.Cut(a, ":")
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", from, to, err)
		}
	}
	return errors.New("there is no command")
}

// inside gives the command that becomes argv in a mount namespace, and what a
// process needs for one.
func (h *House) inside(argv []string, binds ...string) ([]string, uintptr) {
	if h.Resolv == "" {
		return argv, 0
	}
	all := append([]string{h.Self, "inside", h.Resolv + ":/etc/resolv.conf"}, binds...)
	return append(append(all, "--"), argv...), syscall.CLONE_NEWNS
}

// TryInside says why there can be no mount namespace.
func (h *House) TryInside() error {
	argv, flags := h.inside([]string{"/bin/true"})
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: flags}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w %s", err, out)
	}
	return nil
}

// NameServer answers every question with "no such name", at once, until it is
// closed: look-ups then cost the same for every server, and none leaves the
// machine. It gives the text of a resolv.conf that leads to it.
func NameServer() (conf string, stop func(), err error) {
	var c net.PacketConn
	// A resolv.conf can name no port, so it must be 53.
	for n := 54; n < 70; n++ {
		addr := fmt.Sprintf("127.0.0.%d", n)
		if c, err = net.ListenPacket("udp", addr+":53"); err == nil {
			go answer(c)
			return "nameserver " + addr + "\noptions timeout:1 attempts:1\n", func() { c.Close() }, nil
		}
	}
	return "", nil, err
}

func answer(c net.PacketConn) {
	b := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		if reply, err := noSuchName(b[:n]); err == nil {
			_, _ = c.WriteTo(reply, from)
		}
	}
}

// noSuchName makes the answer to a question.
func noSuchName(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: h.ID, Response: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true,
			RCode: dnsmessage.RCodeNameError,
		},
		Questions: []dnsmessage.Question{q},
	}
	return m.Pack()
}
