package peer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Weir is the server of this repository.
type Weir struct {
	As string // as how many processes it runs; "": as it would here
}

// What Weir.As can be, for root.
const (
	One       = "one"       // one process, which is root
	Separated = "separated" // parent, engine, reaper and so on
)

// Name implements Peer.
func (w Weir) Name() string {
	if w.As != "" {
		return "weir-" + w.As
	}
	return "weir"
}

// user gives the user who has the queue, which is what separates a server, ""
// for the server's choice. The one that is borrowed is on every Unix.
func (w Weir) user() string {
	return map[string]string{One: "root", Separated: "daemon"}[w.As]
}

// Most implements Peer.
func (Weir) Most() int { return 50_000 }

// Missing implements Peer.
func (w Weir) Missing(h *House) error {
	if w.As != "" && os.Geteuid() != 0 {
		return errors.New("it needs root")
	}
	_, err := os.Stat(h.Weir)
	return err
}

// Version implements Peer.
func (Weir) Version(h *House) string {
	out, err := exec.Command(h.Weir, "version").Output()
	if err != nil {
		return err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(first, "weir ")
}

func (w Weir) prepare(h *House, s Setup, dir string, port int) (command, error) {
	queue := s.Queue
	if queue == "" {
		queue = filepath.Join(dir, "queue")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "queue path %q\nsmtp max-message-size 50M\n", queue)
	fmt.Fprintf(&b, "smtp limit max-mails 1000000 max-rcpt 1000 max-sessions %d max-sessions-per-source %d\n", s.Sessions+100, s.Sessions+100)
	if u := w.user(); u != "" {
		fmt.Fprintf(&b, "queue user %q\n", u)
	}
	options := ""
	if s.TLS {
		fmt.Fprintf(&b, "pki mx.bench.example cert %q\npki mx.bench.example key %q\n", h.Cert.File, h.Cert.Key)
		options += " tls pki mx.bench.example"
	}
	options += lineFilters(&b, h, s)
	fmt.Fprintf(&b, "listen on 127.0.0.1 port %d hostname mx.bench.example%s\n", port, options)
	action := fmt.Sprintf("relay host \"smtp://%s\"", h.Sink)
	if s.Home != "" {
		uid, err := owner(s.Home)
		if err != nil {
			return command{}, err
		}
		fmt.Fprintf(&b, "table users { \"rcpt\" = \"%d:%d:%s\" }\n", uid, uid, s.Home)
		action = "maildir \"~/Maildir\" userbase <users>"
	}
	fmt.Fprintf(&b, "action \"out\" %s\nmatch from any for any action \"out\"\n", action)
	conf, err := write(dir, "weir.conf", b.String())
	return command{
		argv:   []string{h.Weir, "run", "-c", conf},
		queued: []string{h.Weir, "queue", "count", "-q", queue},
	}, err
}

// owner gives the user of a directory, whose mailbox is in it.
func owner(dir string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	return st.Uid, nil
}

// lineFilters writes filters in the grammar of smtpd.conf(5), and gives the
// option of a listener that uses them.
func lineFilters(b *strings.Builder, h *House, s Setup) string {
	if s.Filters == None {
		return ""
	}
	var names []string
	for i := range s.Chain {
		names = append(names, fmt.Sprintf("\"f%d\"", i))
		fmt.Fprintf(b, "filter %s proc-exec \"%s %s\"\n", names[i], h.Filters.Filter, s.Filters)
	}
	if len(names) == 1 {
		return " filter " + names[0]
	}
	fmt.Fprintf(b, "filter \"all\" chain { %s }\n", strings.Join(names, ", "))
	return " filter \"all\""
}
