package config

import (
	"math"
	"strings"
)

// maxWarnIntervals is how many delays bounce warn-interval takes.
const maxWarnIntervals = 4

// admd reads `admd NAME`.
func (p *parser) admd() {
	t := p.str("a name")
	if !p.failed && (t.text == "" || !isPrintable(t.text)) {
		p.failf(t, "found %q, expected a name without control characters", t.text)
	}
	p.cfg.ADMD = t.text
}

// bounce reads `bounce warn-interval DELAY, ...`.
func (p *parser) bounce() {
	p.want("warn-interval")
	p.cfg.WarnIntervals = nil
	for !p.failed {
		at := p.peek()
		p.cfg.WarnIntervals = append(p.cfg.WarnIntervals, p.duration())
		if len(p.cfg.WarnIntervals) > maxWarnIntervals {
			p.failf(at, "more than %d delays", maxWarnIntervals)
		}
		if !p.accept(",") {
			return
		}
	}
}

// mta reads `mta max-deferred N`.
func (p *parser) mta() {
	if t := p.peek(); t.is("limit") {
		p.notYet(t)
		return
	}
	p.want("max-deferred")
	p.cfg.MaxDeferred = p.number(0, math.MaxInt32)
}

var pkiOptions = map[string]func(*parser, *PKI){
	"cert": func(p *parser, k *PKI) { k.Cert = p.str("a file in quotes").text },
	"key":  func(p *parser, k *PKI) { k.Key = p.str("a file in quotes").text },
}

// pki reads `pki NAME cert FILE`, `pki NAME key FILE` or both in one.
func (p *parser) pki() {
	name := p.str("a pki name")
	if p.failed {
		return
	}
	if name.text != "*" && !isHostname(name.text) {
		p.failf(name, "found %q, expected a host name", name.text)
		return
	}
	k := p.cfg.PKI[lower(name.text)]
	if k == nil {
		k = &PKI{Name: lower(name.text), Pos: name.pos}
	}
	if p.done() {
		p.expected(p.peek(), sortedKeys(pkiOptions)...)
	}
	options(p, k, pkiOptions, []string{"dhe"})
	if !p.failed {
		p.cfg.PKI[k.Name] = k
	}
}

var queueOptions = map[string]func(*parser){
	"path": func(p *parser) { // ours
		if dir := p.path(); !p.failed {
			p.cfg.Queue.Path = dir
		}
	},
	"ttl":  func(p *parser) { p.cfg.Queue.TTL = p.duration() },
	"user": (*parser).queueUser, // ours
}

// queue reads `queue path DIR`, `queue ttl DELAY` and `queue user NAME`.
func (p *parser) queue() { p.setting(queueOptions, "compression", "encryption") }

func (p *parser) queueUser() {
	t := p.str("a user name")
	p.cfg.Queue.User, p.cfg.Queue.UserPos = t.text, t.pos
}

var smtpOptions = map[string]func(*parser){
	"limit":            (*parser).smtpLimit,
	"max-message-size": func(p *parser) { p.cfg.SMTP.MaxMessageSize = p.size() },
	"sub-addr-delim":   (*parser).subAddrDelim,
	"timeout":          func(p *parser) { p.cfg.SMTP.Timeout = p.duration() }, // ours
}

// smtp reads `smtp limit ...` and the other settings of sessions.
func (p *parser) smtp() { p.setting(smtpOptions, "ciphers") }

// setting reads one word of opts with what belongs to it.
func (p *parser) setting(opts map[string]func(*parser), notYet ...string) {
	t := p.next()
	read := opts[t.text]
	if t.kind == tokWord && !t.quoted && read != nil {
		read(p)
		return
	}
	for _, w := range notYet {
		if t.is(w) {
			p.notYet(t)
		}
	}
	p.expected(t, sortedKeys(opts)...)
}

var limits = map[string]func(*parser, *SMTP){
	"max-mails": func(p *parser, s *SMTP) { s.MaxMails = p.limit() },
	"max-rcpt":  func(p *parser, s *SMTP) { s.MaxRcpt = p.limit() },

	// Ours.
	"max-errors":              func(p *parser, s *SMTP) { s.MaxErrors = p.limit() },
	"max-sessions":            func(p *parser, s *SMTP) { s.MaxSessions = p.limit() },
	"max-sessions-per-source": func(p *parser, s *SMTP) { s.MaxSessionsPerSource, s.FreeLoopback = p.limit(), false },
}

// limit reads a number that is not zero: nothing would pass.
func (p *parser) limit() int { return p.number(1, math.MaxInt32) }

func (p *parser) smtpLimit() {
	if p.done() {
		p.expected(p.peek(), sortedKeys(limits)...)
	}
	options(p, &p.cfg.SMTP, limits, nil)
}

func (p *parser) subAddrDelim() {
	t := p.str("one character in quotes")
	if p.failed {
		return
	}
	if len(t.text) != 1 || t.text[0] <= ' ' || t.text[0] >= 0x7f || t.text == "@" {
		p.failf(t, "found %q, expected one character that is neither white space nor @", t.text)
		return
	}
	p.cfg.SMTP.SubAddrDelim = t.text[0]
}

// lower gives s with its ASCII letters in lower case.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}
