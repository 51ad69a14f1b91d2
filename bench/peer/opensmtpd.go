package peer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// OpenSMTPD is Debian's opensmtpd. Its package cannot be installed beside
// Postfix; scripts/bench-deps.sh unpacks it below the directory that
// $OPENSMTPD names. Its spool and /run are bound to a directory of the run.
type OpenSMTPD struct{}

// Name implements Peer.
func (OpenSMTPD) Name() string { return "opensmtpd" }

// Most implements Peer. More descriptors than these it does not take.
func (OpenSMTPD) Most() int { return 1000 }

func smtpd() string {
	root := os.Getenv("OPENSMTPD")
	if root == "" {
		root = "/opt/opensmtpd"
	}
	return filepath.Join(root, "usr/sbin/smtpd")
}

// Missing implements Peer.
func (OpenSMTPD) Missing(h *House) error {
	if h.Resolv == "" {
		return errors.New("it needs root")
	}
	if _, err := os.Stat(smtpd()); err != nil {
		return fmt.Errorf("%w; scripts/bench-deps.sh unpacks it", err)
	}
	return nil
}

var opensmtpdVersion = regexp.MustCompile(`(?m)^version: (?:OpenSMTPD )?(.*)$`)

// Version implements Peer.
func (OpenSMTPD) Version(*House) string {
	out, _ := exec.Command(smtpd(), "-h").CombinedOutput()
	if m := opensmtpdVersion.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return "unknown"
}

func (OpenSMTPD) prepare(h *House, s Setup, dir string, port int) (command, error) {
	spool, run := filepath.Join(dir, "spool"), filepath.Join(dir, "run")
	// The last two are where it wants to be on any machine; they stay empty.
	for _, d := range []string{spool, run, "/var/spool/smtpd", "/var/lib/opensmtpd/empty"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return command{}, err
		}
	}
	if err := os.Chmod(spool, 0o711); err != nil {
		return command{}, err
	}
	var b strings.Builder
	b.WriteString("smtp max-message-size \"50M\"\nsmtp limit max-mails 1000000\n")
	b.WriteString("mta limit conn-delay-route 0 conn-delay-relay 0 session-mail-max 1000000 max-conn-per-route 20 max-conn-per-host 20\n")
	options := ""
	if s.TLS {
		fmt.Fprintf(&b, "pki mx.bench.example cert %q\npki mx.bench.example key %q\n", h.Cert.File, h.Cert.Key)
		options += " tls pki mx.bench.example"
	}
	options += lineFilters(&b, h, s)
	fmt.Fprintf(&b, "listen on 127.0.0.1 port %d hostname mx.bench.example%s\n", port, options)
	fmt.Fprintf(&b, "action \"out\" relay host \"smtp://%s\"\nmatch from any for any action \"out\"\n", h.Sink)
	conf, err := write(dir, "smtpd.conf", b.String())
	return command{
		argv:  []string{smtpd(), "-d", "-f", conf},
		binds: []string{spool + ":/var/spool/smtpd", run + ":/run"},
		all:   true,
	}, err
}
