package routing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
)

// Router routes recipients by one configuration. It is safe for concurrent
// use; a reload makes a new one.
type Router struct {
	rules []*config.Match
	host  string
	delim byte // between a user and the tag of a sub-address
	here  *localNames
	users Users
	files Files
	log   *slog.Logger
}

// New gives a Router for cfg, which must not be changed afterwards. A nil log
// is silence.
func New(cfg *config.Config, users Users, log *slog.Logger) *Router {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	delim := cfg.SMTP.SubAddrDelim
	if delim == 0 {
		delim = '+'
	}
	return &Router{
		rules: cfg.Matches,
		host:  cfg.Hostname,
		delim: delim,
		here:  findLocalNames(cfg.Hostname, log),
		users: users,
		files: systemFiles{log},
		log:   log,
	}
}

// SetFiles has the Router read through f what is not in tables. It is called
// before the Router is shared.
func (r *Router) SetFiles(f Files) { r.files = f }

// Why a recipient has no route; Result.Cause and the error of RouteBounce wrap
// one of these, ErrNoUser or what a lookup said.
var (
	ErrNoRule   = errors.New("no rule matches")
	ErrRejected = errors.New("a rule rejects it")
	ErrLoop     = errors.New("aliases or .forward files lead too far, or in a circle")
	ErrNowhere  = errors.New("aliases or .forward files lead nowhere")
	ErrTooMany  = errors.New("aliases or .forward files name too many recipients")
	ErrAlias    = errors.New("an alias refuses mail")

	// ErrTryLater is wrapped by what RouteBounce returns for TryLater.
	ErrTryLater = errors.New("lookup failed, try again later")
)

// Route says where mail for f.RcptTo goes: through the first rule whose
// conditions all hold, then aliases, virtual users and .forward files, each
// remote address that these name through the rules again. f.HasRcpt need not
// be set; an address without a domain has the server's name. It blocks for
// table and user lookups and for reading .forward files of local disks;
// between these it heeds ctx, whose end is TryLater.
func (r *Router) Route(ctx context.Context, f *Facts) Result {
	e := expansion{r: r, facts: *f}
	e.facts.HasRcpt = true
	e.facts.here = r.here
	// Who may write to the local socket has logged in to the machine: "match
	// auth" lets it pass, as in the original. Filters still see the truth.
	e.facts.Auth = f.Auth || f.Socket
	e.facts.Local = f.Local || r.here.has(f.Src)
	if e.facts.RcptTo.Domain == "" {
		e.facts.RcptTo.Domain = r.host
	}
	return e.run(ctx)
}

// RouteBounce says where a delivery report to rcpt goes: its reverse-path is
// null and it comes from the server itself, so the rules for the local socket
// apply. A TryLater is an error that wraps ErrTryLater.
func (r *Router) RouteBounce(ctx context.Context, rcpt mail.Address) ([]mail.Envelope, error) {
	res := r.Route(ctx, &Facts{Local: true, Socket: true, HasMail: true, RcptTo: rcpt, HasRcpt: true})
	switch res.Verdict {
	case Accept:
		return res.Envelopes, nil
	case TryLater:
		return nil, fmt.Errorf("routing the report to <%s>: %w: %w", rcpt, ErrTryLater, res.Cause)
	}
	return nil, fmt.Errorf("routing the report to <%s>: %w", rcpt, res.Cause)
}

// Rules gives the rules as written, in the order in which they are tried.
func (r *Router) Rules() []string {
	texts := make([]string, len(r.rules))
	for i, m := range r.rules {
		texts[i] = m.Text
	}
	return texts
}

// match gives the first rule that holds for f, nil if none does.
func (r *Router) match(f *Facts) *config.Match {
	for _, m := range r.rules {
		if Holds(m.Conditions, f) {
			return m
		}
	}
	return nil
}

// localNames is what "for local" stands for: localhost, the server's name and
// the literals of the machine's addresses (RFC 5321 s4.1.3). The addresses are
// those of when the Router was made.
type localNames struct {
	host  string
	addrs map[netip.Addr]struct{}
}

func findLocalNames(host string, log *slog.Logger) *localNames {
	l := &localNames{host: host, addrs: map[netip.Addr]struct{}{}}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		log.Warn("own addresses are unknown; mail to [address] is not local", "cause", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			l.addrs[p.Addr().Unmap()] = struct{}{}
		}
	}
	return l
}

func (l *localNames) isLocal(domain string) bool {
	if strings.EqualFold(domain, "localhost") {
		return true
	}
	if l == nil || domain == "" {
		return false
	}
	if strings.EqualFold(domain, l.host) {
		return true
	}
	a, ok := addressLiteral(domain)
	return ok && l.has(a)
}

// has reports whether a is an address of this machine, as a client's makes
// "from local" hold.
func (l *localNames) has(a netip.Addr) bool {
	_, ok := l.addrs[a.Unmap()]
	return ok
}

// addressLiteral reads "[192.0.2.1]" and "[IPv6:2001:db8::1]" (RFC 5321 s4.1.3).
func addressLiteral(domain string) (netip.Addr, bool) {
	n := len(domain)
	if n < 2 || domain[0] != '[' || domain[n-1] != ']' {
		return netip.Addr{}, false
	}
	const tag = "IPv6:"
	s := domain[1 : n-1]
	if len(s) > len(tag) && strings.EqualFold(s[:len(tag)], tag) {
		s = s[len(tag):]
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil
}
