package table

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/weirmail/weir/internal/mail"
)

// domainIndex answers MatchDomain. Patterns of the form "*.suffix" are nearly
// all there are, so they are found by walking the labels of the name.
type domainIndex struct {
	exact    map[string]struct{}
	suffixes map[string]struct{} // ".example.org"
	globs    []string
}

func (d *domainIndex) add(pattern string) {
	switch {
	case strings.IndexByte(pattern, '*') < 0:
		d.exact[pattern] = struct{}{}
	case strings.HasPrefix(pattern, "*.") && strings.IndexByte(pattern[1:], '*') < 0:
		d.suffixes[pattern[1:]] = struct{}{}
	default:
		d.globs = append(d.globs, pattern)
	}
}

func (d *domainIndex) match(name string) bool {
	if name == "" {
		return false
	}
	if _, ok := d.exact[name]; ok {
		return true
	}
	if len(d.suffixes) > 0 {
		for i := 0; i < len(name); i++ {
			if name[i] != '.' {
				continue
			}
			if _, ok := d.suffixes[name[i:]]; ok {
				return true
			}
		}
	}
	for _, g := range d.globs {
		if glob(g, name) {
			return true
		}
	}
	return false
}

func newDomainIndex() *domainIndex {
	return &domainIndex{exact: map[string]struct{}{}, suffixes: map[string]struct{}{}}
}

func (s *snapshot) indexDomains() *domainIndex {
	d := newDomainIndex()
	for _, e := range s.entries {
		d.add(fold(e.Key))
	}
	return d
}

// MatchDomain reports whether name is one of the domains of the table. "*"
// in an entry stands for any characters: "*.example.org" is every host below
// example.org, but not example.org. An empty name matches nothing.
func (t *Table) MatchDomain(name string) bool {
	return t.current().domains().match(fold(name))
}

// CheckDomain reports the first entry that cannot be a domain. "<unknown>",
// which stands for a client without a name, can be one.
func (t *Table) CheckDomain() error { return t.checkKeys("domain", checkDomain) }

func checkDomain(s string) error {
	if s == "<unknown>" {
		return nil
	}
	if s == "" {
		return errors.New("not a domain: it is empty")
	}
	if strings.ContainsAny(s, " \t@<>,;") {
		return errors.New("not a domain")
	}
	return nil
}

// glob matches s against a pattern in which "*" stands for any characters,
// in time proportional to the product of their lengths at worst.
func glob(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// addrIndex answers MatchMailAddr.
type addrIndex struct {
	all     bool                      // the entry "@"
	users   map[string]struct{}       // "user"
	exact   map[mail.Address]struct{} // "user@domain"
	domains *domainIndex              // "@domain", "@*.domain"
	globs   map[string]*domainIndex   // "user@*.domain" by user
}

func (s *snapshot) indexAddrs() *addrIndex {
	x := &addrIndex{
		users:   map[string]struct{}{},
		exact:   map[mail.Address]struct{}{},
		domains: newDomainIndex(),
		globs:   map[string]*domainIndex{},
	}
	for _, e := range s.entries {
		user, domain := splitAddr(fold(e.Key))
		switch {
		case user == "" && domain == "":
			x.all = true
		case domain == "":
			x.users[user] = struct{}{}
		case user == "":
			x.domains.add(domain)
		case strings.IndexByte(domain, '*') < 0:
			x.exact[mail.Address{Local: user, Domain: domain}] = struct{}{}
		default:
			if x.globs[user] == nil {
				x.globs[user] = newDomainIndex()
			}
			x.globs[user].add(domain)
		}
	}
	return x
}

func splitAddr(s string) (user, domain string) {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

func (x *addrIndex) match(user, domain string) bool {
	if _, ok := x.users[user]; ok && user != "" {
		return true
	}
	if _, ok := x.exact[mail.Address{Local: user, Domain: domain}]; ok {
		return true
	}
	g := x.globs[user]
	return g != nil && g.match(domain)
}

// MatchMailAddr reports whether the table has a: as "user", "user@domain",
// "@domain" or "@" (everything, the null reverse-path too), with "*" in the
// domain standing for any characters. The sub-address of a does not count
// unless the entry has one itself: "bob" matches bob+list, "bob+list" does not
// match bob. Local parts are compared without regard to case.
func (t *Table) MatchMailAddr(a mail.Address) bool {
	x := t.current().addrs()
	if x.all {
		return true
	}
	user, domain := fold(a.Local), fold(a.Domain)
	if x.domains.match(domain) || x.match(user, domain) {
		return true
	}
	i := strings.IndexByte(user, t.delim)
	return i >= 0 && x.match(user[:i], domain)
}

// CheckMailAddr reports the first entry that cannot be an address.
func (t *Table) CheckMailAddr() error {
	return t.checkKeys("mailaddr", func(s string) error {
		if s == "" {
			return errors.New("not an address: it is empty")
		}
		user, domain := splitAddr(s)
		if domain != "" && checkDomain(domain) != nil || strings.ContainsAny(s, " \t<>") || strings.Contains(user, "*") {
			return errors.New("not an address; expected user, @domain, user@domain or user@*.domain")
		}
		return nil
	})
}

// regexpIndex answers MatchRegexp.
type regexpIndex struct{ list []*regexp.Regexp }

func (s *snapshot) indexRegexps() *regexpIndex {
	x := &regexpIndex{}
	for _, e := range s.entries {
		if re, err := compile(e.Key); err == nil {
			x.list = append(x.list, re)
		}
	}
	return x
}

// MatchRegexp reports whether a regular expression of the table matches
// somewhere in s. They are POSIX extended ones, matched without regard to
// case as OpenSMTPD does; \d, \s, \w, \b and (?:...) are understood as well.
func (t *Table) MatchRegexp(s string) bool {
	for _, re := range t.current().regexps().list {
		if re.MatchString(s) {
			return true
		}
	}
	return false
}

// CheckRegexp reports the first entry that is not a regular expression.
func (t *Table) CheckRegexp() error {
	return t.checkKeys("regexp", func(s string) error {
		_, err := compile(s)
		return err
	})
}

// compile reads an expression with the flags of regcomp(REG_EXTENDED): "."
// and "[^a]" match a newline, "^" and "$" only the ends. Package regexp has no
// way to say so, but it takes the printed form of what its parser gives.
func compile(expr string) (*regexp.Regexp, error) {
	const flags = syntax.FoldCase | syntax.ClassNL | syntax.OneLine | syntax.DotNL | syntax.PerlX
	re, err := syntax.Parse(expr, flags)
	if err != nil {
		var se *syntax.Error
		if errors.As(err, &se) {
			return nil, errors.New("not a regular expression: " + se.Code.String() + ": " + se.Expr)
		}
		return nil, err
	}
	return regexp.Compile(re.String())
}
