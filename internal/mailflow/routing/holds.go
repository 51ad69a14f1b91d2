package routing

import (
	"strings"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
)

// unknownName stands for the name of a client that has none, in tables of
// rdns conditions as in the lines that filters get.
const unknownName = "<unknown>"

// localSource stands for the client address of the local socket, and of mail
// that aliases send on, in tables of src conditions.
const localSource = "local"

// Holds reports whether all of conds hold for f; no conditions hold for
// everything. What f does not know yet (a helo name before HELO, say) is in no
// table, so that a condition on it does not hold and its negation does.
//
// It is safe for concurrent use and allocates only to spell an address for a
// regular expression.
func Holds(conds []config.Condition, f *Facts) bool {
	for i := range conds {
		if !holds(&conds[i], f) {
			return false
		}
	}
	return true
}

// holds evaluates c. A condition that does not apply to f does not hold, and
// neither does its negation: "!from rdns <x>" accepts nobody without a name.
func holds(c *config.Condition, f *Facts) bool {
	is, applies := test(c, f)
	return applies && is != c.Not
}

// test evaluates c without its negation.
func test(c *config.Condition, f *Facts) (is, applies bool) {
	switch c.Kind {
	case config.CondForAny, config.CondFromAny:
		return true, true
	case config.CondForLocal:
		return f.here.isLocal(f.RcptTo.Domain), true
	case config.CondForDomain:
		return matchName(c, f.RcptTo.Domain), true
	case config.CondForRcptTo, config.CondRcptTo:
		return matchRcpt(c, f), true
	case config.CondFromLocal:
		return f.Local || f.Socket || f.internal, true
	case config.CondFromSocket:
		return f.Socket, !f.internal
	case config.CondFromRdns:
		return fromRdns(c, f)
	case config.CondFromMailFrom, config.CondMailFrom:
		return f.HasMail && matchAddress(c, f.MailFrom), true
	case config.CondFromSrc, config.CondSrc:
		return matchSource(c, f), true
	case config.CondFromAuth, config.CondAuth:
		return f.Auth && (c.Operand == nil || matchUser(c, f.AuthUser)), true
	case config.CondFcrdns:
		return f.Fcrdns, true
	case config.CondRdns:
		return matchRdns(c, f.Rdns), true
	case config.CondHelo:
		return f.Helo != "" && matchName(c, f.Helo), true
	case config.CondTag:
		return matchText(c, f.Tag), true
	case config.CondTLS:
		return f.TLS, true
	}
	return false, false
}

// fromRdns is "from rdns": of mail that aliases send on, the name is "local".
func fromRdns(c *config.Condition, f *Facts) (is, applies bool) {
	switch {
	case c.Operand == nil:
		return f.Rdns != "", !f.internal
	case f.internal:
		return matchName(c, localSource), true
	case f.Rdns == "":
		return false, false
	}
	return matchName(c, f.Rdns), true
}

// matchRdns is the condition of filters, which sees a missing name as "<unknown>".
func matchRdns(c *config.Condition, rdns string) bool {
	switch {
	case c.Operand == nil:
		return rdns != ""
	case rdns == "":
		return matchName(c, unknownName)
	}
	return matchName(c, rdns)
}

func matchSource(c *config.Condition, f *Facts) bool {
	switch {
	case f.internal || !f.Src.IsValid():
		return (f.internal || f.Socket) && matchText(c, localSource)
	case c.Regex:
		return c.Operand.MatchRegexp(f.Src.Unmap().String())
	}
	return c.Operand.MatchNetAddr(f.Src.Unmap())
}

// matchUser looks an authenticated name up: one with an "@" may stand in the table
// as an address pattern ("@example.org"), as in the original.
func matchUser(c *config.Condition, name string) bool {
	if matchText(c, name) {
		return true
	}
	i := strings.LastIndexByte(name, '@')
	return i >= 0 && !c.Regex && c.Operand.MatchMailAddr(mail.Address{Local: name[:i], Domain: name[i+1:]})
}

func matchName(c *config.Condition, s string) bool {
	if c.Regex {
		return c.Operand.MatchRegexp(s)
	}
	return c.Operand.MatchDomain(s)
}

func matchText(c *config.Condition, s string) bool {
	if c.Operand == nil {
		return false
	}
	if c.Regex {
		return c.Operand.MatchRegexp(s)
	}
	return c.Operand.Has(s)
}

func matchAddress(c *config.Condition, a mail.Address) bool {
	if c.Regex {
		return c.Operand.MatchRegexp(a.String())
	}
	return c.Operand.MatchMailAddr(a)
}

// matchRcpt looks at the recipient under question. At DATA and after it there
// is none: then one of those that were accepted is enough.
func matchRcpt(c *config.Condition, f *Facts) bool {
	if f.HasRcpt {
		return matchAddress(c, f.RcptTo)
	}
	for _, a := range f.Accepted {
		if matchAddress(c, a) {
			return true
		}
	}
	return false
}
