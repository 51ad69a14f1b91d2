package routing

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/table"
)

// expansion follows one recipient to all its destinations, breadth first: the
// nodes in order of discovery are both the record and the queue of the work.
type expansion struct {
	r     *Router
	facts Facts
	rcpt  mail.Address // as given, completed
	rule  *config.Match

	nodes     []node
	seen      set[nodeKey]
	envelopes []mail.Envelope
	submitted set[envelopeKey]

	firstNodes [4]node // a plain recipient needs two
}

// root is the parent of the recipient itself.
const root = -1

// node is one name on the way.
type node struct {
	item
	parent  int            // index in nodes, root for the recipient
	address int            // the nearest address above it, or itself; its rule applies
	depth   int            // steps from the recipient
	action  *config.Action // that applies to what the address expands to

	sameUser  bool // a user that stands in its own alias or .forward: no further lookup
	realUser  bool // a user that exists
	forwarded bool // a user whose .forward was read
}

// nodeKey is what makes two nodes the same, so that the second is left out.
// Users count apart for each address, because rules may differ; files and
// commands also for each user, because rights do.
type nodeKey struct {
	item
	internal bool
	sameUser bool
	address  int
	user     int
}

// envelopeKey is what makes two envelopes of a recipient the same.
type envelopeKey struct {
	dest   mail.Address
	action string
	local  mail.Local
}

// refusal ends an expansion without a route.
type refusal struct {
	verdict Verdict
	reply   string
	cause   error
}

func refuse(cause error) *refusal   { return &refusal{verdict: Refuse, cause: cause} }
func tryLater(cause error) *refusal { return &refusal{verdict: TryLater, cause: cause} }

func (e *expansion) run(ctx context.Context) Result {
	e.rcpt = e.facts.RcptTo
	e.nodes = e.firstNodes[:0]
	no := e.add(root, item{kind: addressItem, addr: e.rcpt})
	for i := 0; i < len(e.nodes) && no == nil; i++ {
		if err := ctx.Err(); err != nil {
			no = tryLater(err)
			break
		}
		no = e.expand(i)
	}
	if no == nil && len(e.envelopes) == 0 {
		no = refuse(ErrNowhere)
	}
	res := Result{Verdict: Accept, Envelopes: e.envelopes}
	if no != nil {
		res = Result{Verdict: no.verdict, Reply: no.reply, Cause: no.cause}
	}
	if e.rule != nil {
		res.Rule = e.rule.Text
	}
	return res
}

// add makes it a child of parent, unless it is there already.
func (e *expansion) add(parent int, it item) *refusal {
	n := node{item: it, parent: parent}
	if parent != root {
		p := &e.nodes[parent]
		n.depth = p.depth + 1
		n.address = p.address
		n.action = p.action
		n.sameUser = it.kind == userItem && p.kind == userItem && p.text == it.text
	}
	key := nodeKey{item: it, internal: parent != root, sameUser: n.sameUser, address: n.address}
	switch it.kind {
	case addressItem:
		// Where an address leads does not depend on what named it.
		n.address = len(e.nodes)
		key.address = 0
		key.addr.Domain = lower(it.addr.Domain)
	case fileItem, commandItem:
		key.user = parent
	}
	if !e.seen.add(key) {
		return nil
	}
	if len(e.nodes) >= MaxNodes {
		return tryLater(fmt.Errorf("%w (limit %d)", ErrTooMany, MaxNodes))
	}
	e.nodes = append(e.nodes, n)
	return nil
}

func (e *expansion) expand(i int) *refusal {
	n := &e.nodes[i]
	if n.depth >= MaxDepth {
		return refuse(fmt.Errorf("%w (limit %d)", ErrLoop, MaxDepth))
	}
	switch n.kind {
	case addressItem:
		return e.expandAddress(i)
	case userItem:
		return e.expandUser(i)
	}
	if n.action.Method == config.ForwardOnly {
		return tryLater(fmt.Errorf("action %q is forward-only and got %q", n.action.Name, n.text))
	}
	if n.kind == errorItem {
		no := &refusal{verdict: Refuse, reply: n.text, cause: fmt.Errorf("%w: %q", ErrAlias, n.text)}
		if n.text[0] == '4' {
			no.verdict = TryLater
		}
		return no
	}
	e.submit(i)
	return nil
}

// expandAddress passes an address through the ruleset.
func (e *expansion) expandAddress(i int) *refusal {
	n := &e.nodes[i]
	e.facts.RcptTo = n.addr
	e.facts.internal = n.parent != root
	rule := e.r.match(&e.facts)
	if rule == nil {
		e.rule = nil
		return refuse(fmt.Errorf("%w: <%s>", ErrNoRule, n.addr))
	}
	if i == 0 || rule.Action == nil {
		e.rule = rule
	}
	if rule.Action == nil {
		return refuse(fmt.Errorf("%w: <%s>", ErrRejected, n.addr))
	}
	n.action = rule.Action
	switch {
	case rule.Action.Method == config.Relay:
		e.submit(i)
		return nil
	case rule.Action.Virtual != nil:
		found, no := e.lookupVirtual(i, lower(n.addr.Local), lower(n.addr.Domain))
		if no == nil && !found {
			no = refuse(fmt.Errorf("%w: <%s> is not in virtual table %s", ErrNoUser, n.addr, rule.Action.Virtual.Name()))
		}
		return no
	}
	return e.add(i, item{kind: userItem, text: lower(n.addr.Local)})
}

// expandUser looks a local name up: aliases, then the user, then .forward.
func (e *expansion) expandUser(i int) *refusal {
	n := &e.nodes[i]
	if !n.sameUser {
		if found, no := e.lookupAliases(i); found || no != nil {
			return no
		}
	}
	n.text, _ = e.cutTag(n.text)
	u, no := e.lookupUser(n.action, n.text)
	if no != nil {
		return no
	}
	n.realUser = true
	if n.sameUser && e.nodes[n.parent].forwarded {
		e.submit(i)
		return nil
	}
	// Where one user delivers for all, the .forward files of the others count
	// for nothing: their homes are only names to him.
	if n.action.User != "" && n.action.User != n.text {
		return e.deliver(i)
	}
	return e.forward(i, u)
}

// forward follows the .forward file of user u, which node i is.
func (e *expansion) forward(i int, u User) *refusal {
	items, err := e.r.readForward(u)
	if err != nil {
		return tryLater(fmt.Errorf("user %q: %w", u.Name, err))
	}
	e.nodes[i].forwarded = true
	before := len(e.nodes)
	for _, it := range items {
		if no := e.add(i, it); no != nil {
			return no
		}
	}
	if len(e.nodes) > before {
		return nil
	}
	return e.deliver(i)
}

// deliver is for a user without a .forward, or with one that adds nothing.
func (e *expansion) deliver(i int) *refusal {
	n := &e.nodes[i]
	switch n.action.Method {
	case config.ForwardOnly:
		// Temporary, as in the original: the .forward may yet be written.
		return tryLater(fmt.Errorf("action %q is forward-only and user %q forwards nowhere", n.action.Name, n.text))
	case config.ExpandOnly:
		return refuse(fmt.Errorf("%w: action %q is expand-only and user %q has no .forward", ErrNowhere, n.action.Name, n.text))
	}
	e.submit(i)
	return nil
}

// submit makes an envelope of node i.
func (e *expansion) submit(i int) {
	n := &e.nodes[i]
	env := mail.Envelope{Rcpt: e.rcpt, Dest: e.nodes[n.address].addr, Action: n.action.Name}
	switch n.kind {
	case userItem:
		env.Local.User = n.text
	case fileItem, commandItem:
		env.Local.User = e.owner(n)
		if n.kind == fileItem {
			env.Local.File = n.text
		} else {
			env.Local.Command = n.text
		}
	}
	if e.submitted.add(envelopeKey{env.Dest, env.Action, env.Local}) {
		e.envelopes = append(e.envelopes, env)
	}
}

// owner gives the user whose file or command n is.
func (e *expansion) owner(n *node) string {
	if p := &e.nodes[n.parent]; p.realUser {
		return p.text // it stands in the .forward of p
	}
	if n.action.User != "" {
		return n.action.User
	}
	return AliasUser
}

// lookupUser finds a user in the action's userbase, else in the system.
func (e *expansion) lookupUser(a *config.Action, name string) (User, *refusal) {
	if a.Userbase == nil {
		u, err := e.r.users.Lookup(name)
		switch {
		case errors.Is(err, ErrNoUser):
			return u, refuse(fmt.Errorf("%w: %q", ErrNoUser, name))
		case err != nil:
			return u, tryLater(err)
		}
		return u, nil
	}
	value, ok := "", false
	if name != "" {
		value, ok = a.Userbase.Lookup(name)
	}
	if !ok {
		return User{}, refuse(fmt.Errorf("%w: %q is not in table %s", ErrNoUser, name, a.Userbase.Name()))
	}
	info, err := table.ParseUserinfo(value)
	if err != nil {
		return User{}, tryLater(fmt.Errorf("table %s, user %q: %w", a.Userbase.Name(), name, err))
	}
	return User{Name: name, UID: int(info.UID), GID: int(info.GID), Home: info.Home}, nil
}
