package peer

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Postfix is Debian's, as an instance of its own. Its filters are milters.
type Postfix struct{}

// Name implements Peer.
func (Postfix) Name() string { return "postfix" }

// Most implements Peer. It has a process for each session.
func (Postfix) Most() int { return 1000 }

const postfixProgram = "/usr/sbin/postfix"

// Missing implements Peer.
func (Postfix) Missing(h *House) error {
	if h.Resolv == "" {
		return errors.New("it needs root")
	}
	if _, err := os.Stat(postfixProgram); err != nil {
		return fmt.Errorf("%w; scripts/bench-deps.sh installs it", err)
	}
	return h.Filters.MilterErr
}

// Version implements Peer.
func (Postfix) Version(*House) string {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", "postfix").Output()
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// The files of an instance, with DIR, PORT and so on in them.
var (
	//go:embed postfix.main.cf
	mainCF string
	//go:embed postfix.master.cf
	masterCF string
)

func (Postfix) prepare(h *House, s Setup, dir string, port int) (command, error) {
	conf := filepath.Join(dir, "etc")
	for _, d := range []string{conf, filepath.Join(dir, "queue"), filepath.Join(dir, "data")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return command{}, err
		}
	}
	u, err := user.Lookup("postfix")
	if err != nil {
		return command{}, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	if err := os.Chown(filepath.Join(dir, "data"), uid, -1); err != nil {
		return command{}, err
	}
	var sockets []string
	for i := range milters(Postfix{}, s) {
		sockets = append(sockets, "unix:"+milterSocket(dir, i))
	}
	tls := "none"
	if s.TLS {
		tls = "may"
	}
	host, sinkPort, err := net.SplitHostPort(h.Sink)
	if err != nil {
		return command{}, err
	}
	fill := strings.NewReplacer("@DIR@", dir, "@PORT@", strconv.Itoa(port), "@LIMIT@", strconv.Itoa(s.Sessions+100),
		"@SINK@", "["+host+"]:"+sinkPort, "@MILTERS@", strings.Join(sockets, " "),
		"@TLS@", tls, "@CERT@", h.Cert.File, "@KEY@", h.Cert.Key)
	if _, err := write(conf, "main.cf", fill.Replace(mainCF)); err != nil {
		return command{}, err
	}
	_, err = write(conf, "master.cf", fill.Replace(masterCF))
	return command{argv: []string{postfixProgram, "-c", conf, "start-fg"}, all: true}, err
}

// milters says how many milters a setup needs.
func milters(p Peer, s Setup) int {
	if _, ok := p.(Postfix); !ok || s.Filters == None {
		return 0
	}
	return s.Chain
}

func milterSocket(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("m%d", i)) }

// waitSocket waits until a milter listens, and lets everybody connect.
func waitSocket(path string) error {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if os.Chmod(path, 0o666) == nil {
			return nil
		}
	}
	return fmt.Errorf("no milter at %s", path)
}
