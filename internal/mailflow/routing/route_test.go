package routing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/table"
)

// people are Users of a test; their homes belong to who runs it.
type people map[string]string

var errUsersDown = errors.New("user database is down")

func (p people) Lookup(name string) (User, error) {
	if name == "broken" {
		return User{}, errUsersDown
	}
	home, ok := p[name]
	if !ok {
		return User{}, ErrNoUser
	}
	return User{Name: name, UID: os.Getuid(), GID: os.Getgid(), Home: home}, nil
}

func mapping(pairs ...string) *table.Table {
	var ps []table.Pair
	for i := 0; i < len(pairs); i += 2 {
		ps = append(ps, table.Pair{Key: pairs[i], Value: pairs[i+1]})
	}
	return table.NewMapping("map", ps)
}

func rule(text string, a *config.Action, conds ...config.Condition) *config.Match {
	return &config.Match{Text: text, Action: a, Conditions: conds}
}

// newRouter has one rule that takes example.test for action local, one that
// relays what comes from here or from somebody known.
func newRouter(users Users, local *config.Action, more ...*config.Match) *Router {
	local.Name = "local"
	if local.Method == 0 {
		local.Method = config.Maildir
	}
	out := &config.Action{Name: "out", Method: config.Relay}
	rules := append(more,
		rule("local", local, cond(config.CondFromAny), cond(config.CondForDomain, "example.test", "host.test")),
		rule("relay", out, cond(config.CondFromLocal), cond(config.CondForAny)),
		rule("auth", out, cond(config.CondFromAny), cond(config.CondAuth), cond(config.CondForAny)),
	)
	return New(&config.Config{Hostname: "host.test", Matches: rules}, users, nil)
}

func stranger(rcpt string) *Facts {
	return &Facts{Src: netip.MustParseAddr("192.0.2.1"), HasMail: true, RcptTo: mbox(rcpt)}
}

// show spells a result so that a table can hold it: "local alice@example.test
// user=alice", several separated by ";", or the verdict with its cause.
func show(res Result) string {
	switch res.Verdict {
	case Refuse:
		return strings.TrimSpace("refuse " + res.Reply)
	case TryLater:
		return strings.TrimSpace("later " + res.Reply)
	}
	var parts []string
	for _, e := range res.Envelopes {
		s := e.Action + " " + e.Dest.String()
		if e.Local.User != "" {
			s += " user=" + e.Local.User
		}
		if e.Local.File != "" {
			s += " file=" + e.Local.File
		}
		if e.Local.Command != "" {
			s += " command=" + e.Local.Command
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

func TestRoute(t *testing.T) {
	users := people{"alice": "/nonexistent", "bob": "/nonexistent", "vmail": "/nonexistent"}
	aliases := mapping(
		"root", "alice", "both", "alice, bob", "self", "self, alice", "alice", "alice, bob+x",
		"away", "friend@example.org", "home", "Bob@example.test", "cmd", `"|/bin/prog -a, b"`, "file", "/var/mail/x",
		"gone", "error:551 5.1.6 moved to bob@example.org", "later", ":error:450 4.2.1 come back",
		"ping", "pong", "pong", "ping", "ring@", "x", "empty", "", "bad", "a b c", "tagged+one", "bob",
		"far", "stranger@elsewhere.test", "caps", "BOB", "mixed", "alice, |cmd, x@example.org",
		"missing", ":include:/nonexistent/list", "loop", "loop@example.test",
		"partly", "bob, nosuch", "filter@", "x",
	)
	plain := &config.Action{}
	aliased := &config.Action{Alias: aliases}
	for _, row := range []struct {
		name   string
		action *config.Action
		rcpt   string
		want   string
	}{
		{"user", plain, "alice@example.test", "local alice@example.test user=alice"},
		{"case of user and domain", plain, "Alice@EXAMPLE.test", "local Alice@EXAMPLE.test user=alice"},
		{"no domain: the server's", plain, "alice", "local alice@host.test user=alice"},
		{"sub-address", plain, "alice+1@example.test", "local alice+1@example.test user=alice"},
		{"two tags", plain, "alice+1+2@example.test", "local alice+1+2@example.test user=alice"},
		{"tag alone", plain, "+1@example.test", "refuse"},
		{"no such user", plain, "nosuch@example.test", "refuse"},
		{"odd user", plain, "al|ice@example.test", "refuse"},
		{"no rule", plain, "x@example.org", "refuse"},
		{"user database down", plain, "broken@example.test", "later"},

		{"alias", aliased, "root@example.test", "local root@example.test user=alice; local root@example.test user=bob"},
		{"alias names itself", aliased, "alice@example.test", "local alice@example.test user=alice; local alice@example.test user=bob"},
		{"alias names itself, no such user", aliased, "self@example.test", "refuse"},
		{"alias, duplicates", aliased, "both@example.test", "local both@example.test user=bob; local both@example.test user=alice"},
		{"alias to remote", aliased, "away@example.test", "out friend@example.org"},
		{"alias to address here", aliased, "home@example.test", "local Bob@example.test user=bob"},
		{"alias to command", aliased, "cmd@example.test", "local cmd@example.test user=nobody command=/bin/prog -a, b"},
		{"alias to file", aliased, "file@example.test", "local file@example.test user=nobody file=/var/mail/x"},
		{"alias refuses", aliased, "gone@example.test", "refuse 551 5.1.6 moved to bob@example.org"},
		{"alias defers", aliased, "later@example.test", "later 450 4.2.1 come back"},
		{"aliases in a circle", aliased, "ping@example.test", "refuse"},
		{"empty alias is none", aliased, "empty@example.test", "refuse"},
		{"alias cannot be read", aliased, "bad@example.test", "later"},
		{"tag drops", aliased, "away+x@example.test", "out friend@example.org"},
		{"tag has its own", aliased, "tagged+one@example.test", "local tagged+one@example.test user=bob"},
		{"tag without own", aliased, "tagged+two@example.test", "refuse"},
		{"alias in capitals", aliased, "CAPS@example.test", "local CAPS@example.test user=bob"},
		{"include is missing", aliased, "missing@example.test", "later"},
		{"address loops", aliased, "loop@example.test", "refuse"},
		{"one of several fails", aliased, "partly@example.test", "refuse"},

		{"user option", &config.Action{User: "vmail"}, "alice@example.test", "local alice@example.test user=alice"},
		{"user option, no such recipient", &config.Action{User: "vmail"}, "nosuch@example.test", "refuse"},
		{"user option runs commands", &config.Action{User: "vmail", Alias: aliases}, "cmd@example.test", "local cmd@example.test user=vmail command=/bin/prog -a, b"},

		{"userbase", &config.Action{Userbase: mapping("carol", "1000:1000:/nonexistent")}, "carol@example.test", "local carol@example.test user=carol"},
		{"userbase, not in it", &config.Action{Userbase: mapping("carol", "1000:1000:/nonexistent")}, "alice@example.test", "refuse"},
		{"userbase, unreadable", &config.Action{Userbase: mapping("carol", "who knows")}, "carol@example.test", "later"},

		{"expand-only, user", &config.Action{Method: config.ExpandOnly}, "alice@example.test", "refuse"},
		{"expand-only, file", &config.Action{Method: config.ExpandOnly, Alias: aliases}, "file@example.test", "local file@example.test user=nobody file=/var/mail/x"},
		{"forward-only, user", &config.Action{Method: config.ForwardOnly}, "alice@example.test", "later"},
		{"forward-only, remote", &config.Action{Method: config.ForwardOnly, Alias: aliases}, "away@example.test", "out friend@example.org"},
		{"forward-only, file", &config.Action{Method: config.ForwardOnly, Alias: aliases}, "file@example.test", "later"},
		{"forward-only, command", &config.Action{Method: config.ForwardOnly, Alias: aliases}, "cmd@example.test", "later"},
		{"forward-only, error", &config.Action{Method: config.ForwardOnly, Alias: aliases}, "gone@example.test", "later"},
	} {
		t.Run(row.name, func(t *testing.T) {
			action := *row.action
			res := newRouter(users, &action).Route(t.Context(), stranger(row.rcpt))
			if got := show(res); got != row.want {
				t.Errorf("got  %s (%v)\nwant %s", got, res.Cause, row.want)
			}
			if (res.Verdict == Accept) != (res.Cause == nil) || (res.Verdict == Accept) != (len(res.Envelopes) > 0) {
				t.Errorf("verdict %v with cause %v and %d envelopes", res.Verdict, res.Cause, len(res.Envelopes))
			}
			for _, e := range res.Envelopes {
				want := mbox(row.rcpt)
				if want.Domain == "" {
					want.Domain = "host.test"
				}
				if e.Rcpt != want {
					t.Errorf("Rcpt is %v, want %v", e.Rcpt, want)
				}
			}
		})
	}
}

// TestVirtual has the keys of a virtual table, the more specific ones taken
// away one by one.
func TestVirtual(t *testing.T) {
	users := people{"u1": "/", "u2": "/", "u3": "/", "u4": "/", "u5": "/", "u6": "/", "vmail": "/"}
	pairs := []string{
		"info+web@example.test", "u1", "info@example.test", "u2", "info+web", "u3", "info", "u4", "@example.test", "u5", "@", "u6",
	}
	for i := 0; i < len(pairs); i += 2 {
		r := newRouter(users, &config.Action{Virtual: mapping(pairs[i:]...)})
		want := "local Info+Web@Example.Test user=" + pairs[i+1]
		if got := show(r.Route(t.Context(), stranger("Info+Web@Example.Test"))); got != want {
			t.Errorf("%v: got %s, want %s", pairs[i:], got, want)
		}
	}
	for _, row := range []struct {
		name  string
		table []string
		rcpt  string
		want  string
	}{
		{"not in it, though a user", []string{"x@example.test", "u1"}, "u1@example.test", "refuse"},
		{"users are looked up again", []string{"a@example.test", "staff", "staff", "u1, u2"}, "a@example.test", "local a@example.test user=u1; local a@example.test user=u2"},
		{"but not by catch-all", []string{"a@example.test", "nobody-here", "@", "u1"}, "a@example.test", "refuse"},
		{"names itself", []string{"u1", "u1"}, "u1@example.test", "local u1@example.test user=u1"},
		{"to another address", []string{"a@example.test", "b@example.test", "b@example.test", "u2"}, "a@example.test", "local b@example.test user=u2"},
		{"to remote", []string{"@example.test", "all@example.org"}, "a@example.test", "out all@example.org"},
		{"error", []string{"a@example.test", "error:550 5.7.1 no", "@", "u1"}, "a@example.test", "refuse 550 5.7.1 no"},
		{"catch-all is not for no user", []string{"@example.test", "nosuch"}, "a@example.test", "refuse"},
	} {
		r := newRouter(users, &config.Action{Virtual: mapping(row.table...)})
		if got := show(r.Route(t.Context(), stranger(row.rcpt))); got != row.want {
			t.Errorf("%s: got %s, want %s", row.name, got, row.want)
		}
	}
	r := newRouter(users, &config.Action{Virtual: mapping("@", "vmail"), Alias: nil, User: "vmail"})
	if got := show(r.Route(t.Context(), stranger("Any@example.test"))); got != "local Any@example.test user=vmail" {
		t.Errorf("virtual hosting: %s", got)
	}
}

func TestRules(t *testing.T) {
	users := people{"alice": "/nonexistent"}
	reject := rule("no spam", nil, cond(config.CondFromAny), cond(config.CondMailFrom, "@spam.test"), cond(config.CondForAny))
	r := newRouter(users, &config.Action{Alias: mapping("bad", "x@rejected.test")}, reject,
		rule("no such", nil, cond(config.CondFromAny), cond(config.CondForDomain, "rejected.test")))

	if diff := cmp.Diff([]string{"no spam", "no such", "local", "relay", "auth"}, r.Rules()); diff != "" {
		t.Error(diff)
	}
	spam := stranger("alice@example.test")
	spam.MailFrom = mbox("x@spam.test")
	for _, row := range []struct {
		name  string
		f     *Facts
		want  string
		rule  string
		cause error
	}{
		{"first rule decides", spam, "refuse", "no spam", ErrRejected},
		{"second", stranger("alice@example.test"), "local alice@example.test user=alice", "local", nil},
		{"none", stranger("x@example.org"), "refuse", "", ErrNoRule},
		{"what an alias names is asked again", stranger("bad@example.test"), "refuse", "no such", ErrRejected},
		{"no such user", stranger("x@example.test"), "refuse", "local", ErrNoUser},
		{"loopback relays", &Facts{Local: true, RcptTo: mbox("x@example.org")}, "out x@example.org", "relay", nil},
		{"authenticated relays", &Facts{Auth: true, RcptTo: mbox("X@Example.org")}, "out X@Example.org", "auth", nil},
	} {
		res := r.Route(t.Context(), row.f)
		if got := show(res); got != row.want || res.Rule != row.rule || !errors.Is(res.Cause, row.cause) {
			t.Errorf("%s: got %s by rule %q (%v), want %s by %q (%v)", row.name, got, res.Rule, res.Cause, row.want, row.rule, row.cause)
		}
	}
}

// TestSocketIsAuthenticated: "match auth" lets the local socket pass, but not
// with a table of users.
func TestSocketIsAuthenticated(t *testing.T) {
	out := &config.Action{Name: "out", Method: config.Relay}
	auth := cond(config.CondAuth)
	for _, row := range []struct {
		c    config.Condition
		want Verdict
	}{{auth, Accept}, {cond(config.CondAuth, "joe"), Refuse}, {not(auth), Refuse}} {
		r := New(&config.Config{Matches: []*config.Match{rule("", out, row.c)}}, people{}, nil)
		f := Facts{Socket: true, Local: true, RcptTo: mbox("x@example.org")}
		if got := r.Route(t.Context(), &f).Verdict; got != row.want || f.Auth {
			t.Errorf("%+v: %v, want %v; Facts now %+v", row.c, got, row.want, f)
		}
	}
}

// TestFromLocalAddress: a client with an address of this machine is local,
// whichever interface has it.
func TestFromLocalAddress(t *testing.T) {
	r := newRouter(people{}, &config.Action{})
	own, other := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	r.here.addrs[own] = struct{}{}
	for src, want := range map[netip.Addr]Verdict{own: Accept, netip.AddrFrom16(own.As16()): Accept, other: Refuse, {}: Refuse} {
		f := Facts{Src: src, RcptTo: mbox("x@example.org")}
		if got := r.Route(t.Context(), &f).Verdict; got != want {
			t.Errorf("%v: %v, want %v", src, got, want)
		}
	}
}

func TestRouteBounce(t *testing.T) {
	r := newRouter(people{"alice": "/nonexistent"}, &config.Action{})
	envs, err := r.RouteBounce(t.Context(), mbox("alice@example.test"))
	if err != nil || len(envs) != 1 || envs[0].Local != (mail.Local{User: "alice"}) {
		t.Errorf("local: %+v, %v", envs, err)
	}
	envs, err = r.RouteBounce(t.Context(), mbox("x@example.org"))
	if err != nil || len(envs) != 1 || envs[0].Action != "out" {
		t.Errorf("remote: %+v, %v", envs, err)
	}
	if _, err = r.RouteBounce(t.Context(), mbox("nosuch@example.test")); !errors.Is(err, ErrNoUser) || errors.Is(err, ErrTryLater) {
		t.Errorf("nosuch: %v", err)
	}
	if _, err = r.RouteBounce(t.Context(), mbox("broken@example.test")); !errors.Is(err, ErrTryLater) || !errors.Is(err, errUsersDown) {
		t.Errorf("broken: %v", err)
	}
}

func TestRouteHeedsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	res := newRouter(people{"alice": "/nonexistent"}, &config.Action{}).Route(ctx, stranger("alice@example.test"))
	if res.Verdict != TryLater || !errors.Is(res.Cause, context.Canceled) {
		t.Errorf("%+v", res)
	}
}

// TestMaxDepth: a0 is one step from the recipient, and a chain of aliases is
// followed for less than MaxDepth steps.
func TestMaxDepth(t *testing.T) {
	for _, row := range []struct {
		aliases int
		want    Verdict
	}{{MaxDepth - 2, Accept}, {MaxDepth - 1, Refuse}} {
		var pairs []string
		for i := range row.aliases {
			pairs = append(pairs, fmt.Sprintf("a%d", i), fmt.Sprintf("a%d", i+1))
		}
		users := people{fmt.Sprintf("a%d", row.aliases): "/nonexistent"}
		res := newRouter(users, &config.Action{Alias: mapping(pairs...)}).Route(t.Context(), stranger("a0@example.test"))
		if res.Verdict != row.want || row.want == Refuse && !errors.Is(res.Cause, ErrLoop) {
			t.Errorf("%d aliases: %v (%v), want %v", row.aliases, res.Verdict, res.Cause, row.want)
		}
	}
}

// TestMaxNodes: the recipient itself, its user and MaxNodes-2 members.
func TestMaxNodes(t *testing.T) {
	for _, row := range []struct {
		members int
		want    Verdict
	}{{MaxNodes - 2, Accept}, {MaxNodes - 1, TryLater}} {
		var b strings.Builder
		for i := range row.members {
			fmt.Fprintf(&b, "m%d@example.org,", i)
		}
		r := newRouter(people{}, &config.Action{Alias: mapping("list", b.String())})
		res := r.Route(t.Context(), stranger("list@example.test"))
		if res.Verdict != row.want || row.want == Accept && len(res.Envelopes) != row.members {
			t.Errorf("%d members: %v (%v), %d envelopes", row.members, res.Verdict, res.Cause, len(res.Envelopes))
		}
		if row.want == TryLater && !errors.Is(res.Cause, ErrTooMany) {
			t.Errorf("cause: %v", res.Cause)
		}
	}
}
