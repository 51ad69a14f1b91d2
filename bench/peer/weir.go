package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Weir is the server of this repository.
type Weir struct{}

// Name implements Peer.
func (Weir) Name() string { return "weir" }

// Most implements Peer.
func (Weir) Most() int { return 50_000 }

// Missing implements Peer.
func (Weir) Missing(h *House) error {
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

func (Weir) prepare(h *House, s Setup, dir string, port int) (command, error) {
	queue := s.Queue
	if queue == "" {
		queue = filepath.Join(dir, "queue")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "queue path %q\nsmtp max-message-size 50M\n", queue)
	fmt.Fprintf(&b, "smtp limit max-mails 1000000 max-rcpt 1000 max-sessions %d max-sessions-per-source %d\n", s.Sessions+100, s.Sessions+100)
	options := ""
	if s.TLS {
		fmt.Fprintf(&b, "pki mx.bench.example cert %q\npki mx.bench.example key %q\n", h.Cert.File, h.Cert.Key)
		options += " tls pki mx.bench.example"
	}
	options += lineFilters(&b, h, s)
	fmt.Fprintf(&b, "listen on 127.0.0.1 port %d hostname mx.bench.example%s\n", port, options)
	fmt.Fprintf(&b, "action \"out\" relay host \"smtp://%s\"\nmatch from any for any action \"out\"\n", h.Sink)
	conf, err := write(dir, "weir.conf", b.String())
	return command{
		argv:   []string{h.Weir, "run", "-c", conf},
		queued: []string{h.Weir, "queue", "count", "-q", queue},
	}, err
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
