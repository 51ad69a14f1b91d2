package config

import "slices"

// finish fills in defaults that need the whole file, and checks what can only
// be checked then.
func (p *parser) finish() {
	p.finishNames()
	p.finishListeners()
	p.finishPKI()
	for _, t := range p.tables {
		t.SetSubAddrDelim(p.cfg.SMTP.SubAddrDelim)
	}
	slices.Sort(p.cfg.WarnIntervals)
	if len(p.cfg.Matches) == 0 && len(p.errs) == 0 {
		p.reportf(Pos{File: p.cfg.Path}, "there is no match rule, so no mail would be accepted; "+
			"begin with: match for local action NAME")
	}
}

// finishNames finds the server's name and uses it where no other was given.
func (p *parser) finishNames() {
	name, err := p.env.hostname()
	switch {
	case err != nil:
		p.reportf(Pos{File: p.cfg.Path}, "the server's name is not known: %v", err)
	case !isHostname(name):
		p.reportf(Pos{File: p.cfg.Path}, "the server's name %q is no host name; write one into %s", name, mailnameFiles[0])
	}
	p.cfg.Hostname = name
	if p.cfg.ADMD == "" {
		p.cfg.ADMD = name
	}
}

// finishListeners adds the socket, which is there even if nobody wrote it.
func (p *parser) finishListeners() {
	if !slices.ContainsFunc(p.cfg.Listeners, func(l *Listener) bool { return l.Socket }) {
		p.cfg.Listeners = append(p.cfg.Listeners, &Listener{
			Pos:    Pos{File: p.cfg.Path},
			Socket: true, Default: true,
		})
	}
	for _, l := range p.cfg.Listeners {
		if l.Hostname == "" {
			l.Hostname = p.cfg.Hostname
		}
	}
}

// finishPKI loads each certificate with its key once.
func (p *parser) finishPKI() {
	for _, name := range sortedKeys(p.cfg.PKI) {
		switch k := p.cfg.PKI[name]; {
		case k.Cert == "":
			p.reportf(k.Pos, "pki %q has no cert", name)
		case k.Key == "":
			p.reportf(k.Pos, "pki %q has no key", name)
		default:
			if err := p.env.keyPair(k.Cert, k.Key); err != nil {
				p.reportf(k.Pos, "pki %q: %v", name, err)
			}
		}
	}
}
