package config

import "strings"

var methods = map[string]func(*parser, *Action){
	"expand-only":  func(_ *parser, a *Action) { a.Method = ExpandOnly },
	"forward-only": func(_ *parser, a *Action) { a.Method = ForwardOnly },
	"lmtp":         (*parser).lmtp,
	"maildir":      (*parser).maildir,
	"mbox":         func(_ *parser, a *Action) { a.Method = Mbox },
	"mda":          (*parser).mda,
	"relay":        func(_ *parser, a *Action) { a.Method = Relay },
}

var localOptions = map[string]func(*parser, *Action){
	"alias":    (*parser).actionAlias,
	"ttl":      func(p *parser, a *Action) { a.TTL = p.duration() },
	"user":     (*parser).actionUser,
	"userbase": func(p *parser, a *Action) { a.Userbase = p.operand(useUserinfo) },
	"virtual":  (*parser).actionVirtual,
}

var localNotYet = []string{"wrapper"}

var relayOptions = map[string]func(*parser, *Action){
	"helo":      func(p *parser, a *Action) { a.Helo = p.host("the name to greet with") },
	"host":      (*parser).relayHost,
	"mail-from": (*parser).relayMailFrom,
	"src":       func(p *parser, a *Action) { a.SourceIPs = p.operand(useSource) },
	"ttl":       func(p *parser, a *Action) { a.TTL = p.duration() },
}

var relayNotYet = []string{"auth", "backup", "ca", "ciphers", "domain", "filter", "helo-src", "pki", "protocols", "srs", "tls"}

// action reads `action NAME METHOD OPTIONS`.
func (p *parser) action() {
	name := p.str("an action name")
	if !p.failed && p.cfg.Actions[name.text] != nil {
		p.failf(name, "action %q is declared twice", name.text)
	}
	a := &Action{Pos: name.pos, Name: name.text}
	method := p.next()
	read := methods[method.text]
	if method.kind != tokWord || method.quoted || read == nil {
		p.expected(method, sortedKeys(methods)...)
		return
	}
	read(p, a)
	if a.Method == Relay {
		options(p, a, relayOptions, relayNotYet)
		if a.Host == nil {
			p.failf(method, "relay without host, which looks the MX of the domain up, is not supported yet")
		}
	} else {
		options(p, a, localOptions, localNotYet)
	}
	if !p.failed {
		p.cfg.Actions[name.text] = a
	}
}

// maildir reads `[PATH] [junk]`.
func (p *parser) maildir(a *Action) {
	a.Method = Maildir
	if isStr(p.peek()) {
		at := p.peek()
		a.Path = p.formatted("a path in quotes")
		if !strings.HasPrefix(a.Path, "/") && !strings.HasPrefix(a.Path, "~/") && !strings.HasPrefix(a.Path, "%{") {
			p.failf(at, "found %q, expected a path that begins with / or, at the user's home, with ~/", a.Path)
		}
	}
	a.Junk = p.accept("junk")
}

func (p *parser) mda(a *Action) {
	a.Method = MDA
	a.Command = p.formatted("a command in quotes")
}

// formatted reads a text with format specifiers.
func (p *parser) formatted(what string) string {
	t := p.str(what)
	if p.failed {
		return ""
	}
	if t.text == "" {
		p.failf(t, "found nothing in quotes, expected %s", what)
	} else if err := checkFormat(t.text); err != nil {
		p.failf(t, "%v", err)
	}
	return t.text
}

// lmtp reads `HOST:PORT [rcpt-to]` or `"/PATH" [rcpt-to]`.
func (p *parser) lmtp(a *Action) {
	const what = `host:port or the path of a socket`
	a.Method = LMTP
	t := p.str(what)
	if !strings.HasPrefix(t.text, "/") {
		if _, port, ok := parseHostPort(t.text); !ok || port < 0 {
			p.failf(t, "found %q, expected %s", t.text, what)
		}
	}
	a.LMTPDest = t.text
	a.LMTPRcpt = p.accept("rcpt-to")
}

func (p *parser) actionUser(a *Action) {
	at := p.toks[p.i-1]
	switch a.Method {
	case Mbox:
		p.failf(at, "mbox delivers as the recipient; user cannot be given")
	case ExpandOnly, ForwardOnly:
		p.failf(at, "expand-only and forward-only do not deliver; user cannot be given")
	}
	a.User = p.str("a user").text
}

func (p *parser) actionAlias(a *Action) {
	if a.Virtual != nil {
		p.failf(p.toks[p.i-1], "alias and virtual exclude each other")
	}
	a.Alias = p.operand(useAlias)
}

func (p *parser) actionVirtual(a *Action) {
	if a.Alias != nil {
		p.failf(p.toks[p.i-1], "alias and virtual exclude each other")
	}
	a.Virtual = p.operand(useAlias)
}

// relayPorts are the protocols of a relay URL with the port each goes to.
var relayPorts = map[string]int{"smtp": DefaultPort, "smtp+notls": DefaultPort, "lmtp": 0}

// relayHost reads `[PROTO://]HOST[:PORT]`.
func (p *parser) relayHost(a *Action) {
	if t := p.peek(); t.is("<") || t.is("{") {
		p.failf(t, "a table of hosts is not supported yet; expected a single host")
		return
	}
	t := p.str("a host such as smtp://mail.example.org:25")
	if p.failed {
		return
	}
	proto, rest, found := strings.Cut(t.text, "://")
	if !found {
		proto, rest = "smtp", t.text
	}
	proto = lower(proto)
	port, ok := relayPorts[proto]
	switch {
	case proto == "smtp+tls" || proto == "smtps":
		p.failf(t, "protocol %q of a relay host is not supported yet", proto)
		return
	case !ok:
		p.failf(t, "%q: the protocol of a relay host is one of: lmtp, smtp, smtp+notls", t.text)
		return
	case strings.Contains(rest, "@"):
		p.failf(t, "%q: a label for authentication is not supported yet", t.text)
		return
	}
	host, given, ok := parseHostPort(rest)
	if !ok {
		p.failf(t, "%q is no host; expected one such as smtp://mail.example.org:25 or lmtp://[::1]:24", t.text)
		return
	}
	if given > 0 {
		port = given
	}
	if port == 0 {
		p.failf(t, "%q: lmtp has no port of its own; add one, as in lmtp://localhost:24", t.text)
		return
	}
	a.Host = &RelayHost{Proto: proto, Host: host, Port: port}
}

func (p *parser) relayMailFrom(a *Action) {
	t := p.str("an address")
	if p.failed {
		return
	}
	local, domain, _ := strings.Cut(t.text, "@")
	if strings.ContainsAny(t.text, "<> \t") || !isPrintable(t.text) || local == "" || !isHostname(domain) && !isAddrLiteral(domain) {
		p.failf(t, "found %q, expected an address such as user@example.org", t.text)
	}
	a.MailFrom = t.text
}
