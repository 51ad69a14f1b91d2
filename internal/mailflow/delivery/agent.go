package delivery

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
)

// Options are what an Agent needs besides the configuration. The zero value
// works.
type Options struct {
	Log      *slog.Logger     // nil: no log. Outcomes are not logged here; they tell all
	Hostname string           // for maildir file names and LHLO; "" for the configuration's
	Now      func() time.Time // nil: time.Now
	Dial     DialFunc         // nil: a net.Dialer
	Rights   Rights           // nil: the process has those that it needs, or does without
}

// DialFunc connects to a server as net.Dialer.DialContext does, from local
// unless that is nil.
type DialFunc func(ctx context.Context, network, addr string, local net.Addr) (net.Conn, error)

// Agent makes delivery attempts. It is safe for concurrent use; Close ends
// its idle connections.
type Agent struct {
	conf atomic.Pointer[settings]
	log  *slog.Logger
	now  func() time.Time
	dial DialFunc
	root bool // deliveries run with the rights of their users

	rights Rights // that our process does not have; nil if it has them
	crew   *crew  // of workers; with rights alone
	fs     fileSystem
	name   namer
	pool   pool

	fixedHost string // Options.Hostname

	// Constants, but for tests.
	mailDir  string        // directory of the system mailboxes
	lockWait time.Duration // longest wait for the locks of an mbox
	mdaTime  time.Duration // longest run of a command
	times    timeouts
}

// settings are what an Agent takes from a configuration.
type settings struct {
	cfg  *config.Config
	host string // what we call ourselves
}

// Use makes cfg the configuration of all attempts that begin from now on. The
// names of maildir files keep the host name of New's.
func (a *Agent) Use(cfg *config.Config) {
	a.conf.Store(&settings{cfg: cfg, host: cmp.Or(a.fixedHost, cfg.Hostname)})
}

func (a *Agent) config() *config.Config { return a.conf.Load().cfg }

// New makes an Agent for a checked configuration. With root it delivers with
// the rights of the users concerned, without root with those of its caller.
func New(cfg *config.Config, opt Options) *Agent {
	a := &Agent{
		log: opt.Log, fixedHost: opt.Hostname, now: opt.Now, dial: opt.Dial,
		root: os.Geteuid() == 0 || opt.Rights != nil, rights: opt.Rights, fs: unixFS{},
		mailDir: systemMailDir, lockWait: lockPatience, mdaTime: mdaTimeLimit, times: defaultTimeouts,
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.dial == nil {
		a.dial = dialNet
	}
	a.Use(cfg)
	a.name = newNamer(a.conf.Load().host)
	a.pool.init()
	if a.rights != nil {
		a.crew = newCrew(a.rights)
	}
	return a
}

// Close ends the idle connections to other servers. Attempts that are under
// way are ended by their contexts, not by Close; connections that they give
// back later are closed at once.
func (a *Agent) Close() {
	a.pool.close()
	if a.crew != nil {
		a.crew.close()
	}
}

// Destination names where e goes: envelopes with the same Destination share
// limits and connections, and those of one message may go in one Job. It is
// "local:USER", "lmtp:HOST:PORT", "lmtp:/PATH", "relay:HOST:PORT", or
// "unknown:ACTION" for an action that the configuration does not have.
func (a *Agent) Destination(e *mail.Envelope) string {
	act := a.config().Actions[e.Action]
	switch {
	case act == nil:
		return "unknown:" + e.Action
	case e.Local.File != "" || e.Local.Command != "":
		return "local:" + e.Local.User
	case act.Method == config.Relay && act.Host != nil:
		return "relay:" + net.JoinHostPort(strings.ToLower(strings.Trim(act.Host.Host, "[]")), strconv.Itoa(act.Host.Port))
	case act.Method == config.Relay:
		return "relay:" + strings.ToLower(e.Dest.Domain)
	case act.Method == config.LMTP:
		return "lmtp:" + act.LMTPDest
	}
	return "local:" + e.Local.User
}

// Deliver makes one attempt for each envelope of j and gives their outcomes in
// the same order. It never panics and does not return before the attempt is
// over; when ctx ends, what is not finished is Deferred. Envelopes of one relay
// or LMTP action share a transaction.
func (a *Agent) Deliver(ctx context.Context, j Job) (out []Outcome) {
	out = make([]Outcome, len(j.Envelopes))
	cfg := a.config() // one for the whole attempt
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("delivery attempt panicked", "message", j.Message.ID,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			for i := range out {
				if out[i].Status == 0 {
					out[i] = Outcome{Status: Deferred, Enhanced: "4.3.0", Text: "internal error during the delivery attempt; see the log"}
				}
			}
		}
	}()
	for i, e := range j.Envelopes {
		if out[i].Status != 0 {
			continue // went with an earlier one
		}
		act := cfg.Actions[e.Action]
		switch {
		case ctx.Err() != nil:
			out[i] = outcomeOf(fmt.Errorf("attempt not begun: %w", context.Cause(ctx)))
		case act == nil:
			out[i] = outcomeOf(deferred("4.3.5",
				"action %q is not in the configuration any more; put it back or remove the envelope", e.Action))
		case isRemote(act, e):
			a.deliverRemote(ctx, &j, act, sharing(j.Envelopes[i:], i, act, out), out)
		default:
			out[i] = outcomeOf(a.deliverLocal(ctx, &j, e, act))
		}
	}
	return out
}

// isRemote reports whether e goes to another server, by SMTP or LMTP.
func isRemote(act *config.Action, e *mail.Envelope) bool {
	if e.Local.File != "" || e.Local.Command != "" {
		return false
	}
	return act.Method == config.Relay || act.Method == config.LMTP
}

// sharing gives the places of those envelopes that can go with the first of
// rest, itself included; rest begins at place base.
func sharing(rest []*mail.Envelope, base int, act *config.Action, out []Outcome) []int {
	var places []int
	for i, e := range rest {
		if out[base+i].Status == 0 && e.Action == rest[0].Action && isRemote(act, e) {
			places = append(places, base+i)
		}
	}
	return places
}
