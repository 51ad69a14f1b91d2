package config

import (
	"fmt"
	"net/netip"
)

const (
	maxTag = 32 // bytes of a tag, as in OpenSMTPD
	maxPKI = 32 // certificates of one listener, as in OpenSMTPD
)

var socketOptions = map[string]func(*parser, *Listener){
	"filter":   (*parser).listenFilter,
	"mask-src": func(_ *parser, l *Listener) { l.MaskSrc = true },
	"no-dsn":   func(_ *parser, l *Listener) { l.NoDSN = true },
	"tag":      (*parser).listenTag,
}

var listenOptions = map[string]func(*parser, *Listener){
	"auth":          func(p *parser, l *Listener) { p.listenAuth(l, AuthRequire) },
	"auth-optional": func(p *parser, l *Listener) { p.listenAuth(l, AuthOptional) },
	"bare-lf":       func(_ *parser, l *Listener) { l.BareLF = true },
	"filter":        (*parser).listenFilter,
	"hostname":      func(p *parser, l *Listener) { l.Hostname = p.host("the name to greet with") },
	"hostnames":     func(p *parser, l *Listener) { l.Hostnames = p.operand(useHostnames) },
	"inet4":         func(p *parser, l *Listener) { p.listenFamily(l, 4) },
	"inet6":         func(p *parser, l *Listener) { p.listenFamily(l, 6) },
	"mask-src":      func(_ *parser, l *Listener) { l.MaskSrc = true },
	"no-dsn":        func(_ *parser, l *Listener) { l.NoDSN = true },
	"pki":           (*parser).listenPKI,
	"port":          func(p *parser, l *Listener) { l.Port = p.port() },
	"smtps":         func(p *parser, l *Listener) { p.listenTLS(l, TLSImplicit) },
	"tag":           (*parser).listenTag,
	"tls":           func(p *parser, l *Listener) { p.listenTLS(l, TLSOffer) },
	"tls-require":   func(p *parser, l *Listener) { p.listenTLS(l, TLSRequire) },
}

var listenNotYet = []string{"ca", "ciphers", "masquerade", "protocols", "proxy-v2", "received-auth", "senders", "verify"}

// portUnset marks a listener whose port was not given; 0 means any free one.
const portUnset = -1

// listen reads `listen on socket OPTIONS` and `listen on INTERFACE OPTIONS`.
func (p *parser) listen() {
	start := p.toks[0]
	p.want("on")
	l := &Listener{Pos: start.pos, Port: portUnset}
	if p.accept("socket") {
		l.Socket, l.Port = true, 0
		for _, other := range p.cfg.Listeners {
			if other.Socket {
				p.failf(start, "listen on socket stands twice, first at %s", other.Pos)
			}
		}
		options(p, l, socketOptions, nil)
	} else {
		l.Interface = p.str("an interface, an address, a name or socket").text
		options(p, l, listenOptions, listenNotYet, "pki")
		p.checkListener(start, l)
	}
	if !p.failed {
		p.cfg.Listeners = append(p.cfg.Listeners, l)
	}
}

// checkListener looks at what options mean together.
func (p *parser) checkListener(start token, l *Listener) {
	switch {
	case l.Auth != AuthNone && l.TLS == TLSNone:
		// RFC 4954 s4: no plain text passwords on an open line.
		p.failf(start, "auth needs one of tls, tls-require, smtps")
	case len(l.PKI) > 0 && l.TLS == TLSNone:
		p.failf(start, "pki needs one of tls, tls-require, smtps")
	case len(l.PKI) == 0 && l.TLS != TLSNone:
		p.failf(start, "tls, tls-require and smtps need a pki with a certificate")
	}
	if a, err := netip.ParseAddr(l.Interface); err == nil && l.Family != 0 && a.Unmap().Is4() != (l.Family == 4) {
		p.failf(start, "%s is no address of family inet%d", l.Interface, l.Family)
	}
	if l.Port == portUnset {
		l.Port = DefaultPort
		if l.TLS == TLSImplicit {
			l.Port = DefaultSMTPSPort
		}
	}
	for _, other := range p.cfg.Listeners {
		if !other.Socket && other.Interface == l.Interface && other.Port == l.Port && l.Port != 0 &&
			(other.Family == l.Family || other.Family == 0 || l.Family == 0) {
			p.failf(start, "%s port %d is listened on already, at %s", l.Interface, l.Port, other.Pos)
		}
	}
}

func (p *parser) listenFamily(l *Listener, family int) {
	if l.Family != 0 {
		p.failf(p.toks[p.i-1], "inet4 and inet6 exclude each other; without them there are both")
		return
	}
	l.Family = family
}

func (p *parser) listenTLS(l *Listener, mode TLSMode) {
	if l.TLS != TLSNone {
		p.failf(p.toks[p.i-1], "tls, tls-require and smtps exclude each other")
		return
	}
	l.TLS = mode
}

func (p *parser) listenAuth(l *Listener, mode AuthMode) {
	at := p.toks[p.i-1]
	if l.Auth != AuthNone {
		p.failf(at, "auth and auth-optional exclude each other")
		return
	}
	l.Auth = mode
	if !p.isOperand() {
		p.failf(at, "%q without a table of credentials is not supported yet", at.text)
		return
	}
	l.AuthTable = p.operand(useCredentials)
}

func (p *parser) listenPKI(l *Listener) {
	name := p.str("a pki name")
	if p.failed {
		return
	}
	pki := p.cfg.PKI[lower(name.text)]
	switch {
	case pki == nil:
		p.failf(name, "pki %q is not declared above", name.text)
	case len(l.PKI) == maxPKI:
		p.failf(name, "more than %d pki on one listener", maxPKI)
	default:
		l.PKI = append(l.PKI, pki)
	}
}

func (p *parser) listenTag(l *Listener) {
	tag := p.str("a tag")
	if !p.failed && (tag.text == "" || len(tag.text) > maxTag || !isPrintable(tag.text)) {
		p.failf(tag, "found %q, expected a tag of 1 to %d bytes", tag.text, maxTag)
	}
	l.Tag = tag.text
}

// listenFilter reads `filter NAME` and `filter { a, b when C }`, a chain
// without a name of its own.
func (p *parser) listenFilter(l *Listener) {
	if !p.peek().is("{") {
		name := p.str(`a filter name or "{"`)
		if !p.failed && p.findFilter(name) != nil {
			l.Filter = name.text
		}
		return
	}
	pos := p.peek().pos
	links := p.links()
	if p.failed {
		return
	}
	for l.Filter == "" || p.cfg.Filters[l.Filter] != nil {
		p.chains++
		l.Filter = fmt.Sprintf("<chain %d>", p.chains)
	}
	p.addFilter(&Filter{Pos: pos, Name: l.Filter, Chain: links})
}
