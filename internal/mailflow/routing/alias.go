package routing

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/table"
)

// itemKind is what one entry of an alias or .forward names.
type itemKind uint8

const (
	addressItem itemKind = iota + 1 // user@domain: through the rules again
	userItem                        // user: of the same rule
	fileItem                        // /path: an mbox
	commandItem                     // |command
	errorItem                       // error:550 text
	includeItem                     // :include:/path, a file with more of them
)

// item is one entry; text is what its kind names, addr is set for addresses.
type item struct {
	kind itemKind
	text string
	addr mail.Address
}

var (
	errQuote   = errors.New("a quote or backslash is not closed")
	errSyntax  = errors.New("not a user, an address, /file, |command, :include:/file or error:550 text")
	errControl = errors.New("control byte in it")
)

// parseItems reads the value of an alias, or one line of a list: items
// separated by commas, except within single or double quotes. A backslash
// takes its meaning from the next byte and goes.
func parseItems(value string) ([]item, error) {
	var items []item
	var b []byte
	var quote byte
	escaped := false
	end := func() error {
		s := strings.TrimSpace(string(b))
		b = b[:0]
		if s == "" {
			return nil
		}
		it, err := parseItem(s)
		if err != nil {
			return fmt.Errorf("%q: %w", s, err)
		}
		items = append(items, it)
		return nil
	}
	for i := range len(value) {
		c := value[i]
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
			continue
		case c == ',' && quote == 0:
			if err := end(); err != nil {
				return nil, err
			}
			continue
		case quote == c:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		}
		b = append(b, c)
	}
	if escaped || quote != 0 {
		return nil, fmt.Errorf("%q: %w", value, errQuote)
	}
	if err := end(); err != nil {
		return nil, err
	}
	return items, nil
}

// parseItem reads one item without its commas and outer blanks.
func parseItem(s string) (item, error) {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return item{}, errControl
		}
	}
	if n := len(s); n > 2 && s[0] == '"' && s[n-1] == '"' && strings.IndexByte("|/:", s[1]) >= 0 {
		s = s[1 : n-1] // "|command with, comma"
	}
	if rest, ok := cutPrefixFold(s, "error:"); ok {
		return parseError(rest)
	}
	if rest, ok := cutPrefixFold(s, "include:"); ok {
		if !strings.HasPrefix(rest, "/") {
			return item{}, errSyntax
		}
		return item{kind: includeItem, text: rest}, nil
	}
	switch {
	case s[0] == '|':
		if strings.TrimSpace(s[1:]) == "" {
			return item{}, errSyntax
		}
		return item{kind: commandItem, text: s[1:]}, nil
	case s[0] == '/':
		return item{kind: fileItem, text: s}, nil
	}
	local, domain, at := strings.Cut(s, "@")
	switch {
	case at && madeOf(local, "!#$%*/?|^{}`~&'+-=_.") && madeOf(domain, "-."):
		return item{kind: addressItem, addr: mail.Address{Local: local, Domain: domain}}, nil
	case !at && madeOf(s, "_.-+"):
		return item{kind: userItem, text: lower(s)}, nil
	}
	return item{}, errSyntax
}

// parseError reads what follows "error:", a reply of three digits and text.
func parseError(s string) (item, error) {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	if len(s) < 5 || s[0] != '4' && s[0] != '5' || !digit(s[1]) || !digit(s[2]) || s[3] != ' ' || !madeOf(s[4:5], "") {
		return item{}, errSyntax
	}
	return item{kind: errorItem, text: s}, nil
}

// cutPrefixFold cuts prefix, with or without a colon before it, in any case.
func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	s = strings.TrimPrefix(s, ":")
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// madeOf reports whether s is letters, digits, bytes of UTF-8 (RFC 6531) and
// others, and not empty.
func madeOf(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && c < 0x80 && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return s != ""
}

// lookupVirtual expands an address by the virtual table of its rule. The most
// specific key wins: with the tag of the sub-address before without, the
// whole address before the user alone, and these before the catch-alls
// "@domain" and "@".
func (e *expansion) lookupVirtual(i int, local, domain string) (found bool, no *refusal) {
	t := e.nodes[i].action.Virtual
	user, tag := e.cutTag(local)
	for step := range virtualKeys {
		key := virtualKey(step, local, user, tag, domain)
		if key == "" {
			continue
		}
		if found, no = e.lookupIn(i, t, key); found || no != nil {
			return found, no
		}
	}
	return false, nil
}

// virtualKeys is how many keys an address has in a virtual table.
const virtualKeys = 6

// virtualKey gives one of them, "" where the address has none of that form.
func virtualKey(step int, local, user, tag, domain string) string {
	switch {
	case step == 0 && tag != "" && domain != "":
		return local + "@" + domain
	case step == 1 && user != "" && domain != "":
		return user + "@" + domain
	case step == 2 && tag != "":
		return local
	case step == 3:
		return user
	case step == 4 && domain != "":
		return "@" + domain
	case step == 5 && domain != "":
		return "@"
	}
	return ""
}

// lookupAliases expands a user by the alias table of the rule, and what came
// out of a virtual table by that table again.
func (e *expansion) lookupAliases(i int) (found bool, no *refusal) {
	n := &e.nodes[i]
	a, name := n.action, n.text
	if a.Alias != nil {
		user, tag := e.cutTag(name)
		if tag != "" {
			found, no = e.lookupIn(i, a.Alias, name)
		}
		if !found && no == nil && user != "" {
			found, no = e.lookupIn(i, a.Alias, user)
		}
	}
	if a.Virtual != nil && !found && no == nil {
		return e.lookupVirtual(i, name, "")
	}
	return found, no
}

// cutTag splits "user+tag".
func (e *expansion) cutTag(local string) (user, tag string) {
	if i := strings.IndexByte(local, e.r.delim); i >= 0 {
		return local[:i], local[i+1:]
	}
	return local, ""
}

// lookupIn adds what key stands for in t, if it stands there. An entry that
// cannot be read is TryLater: the mail waits until it is mended.
func (e *expansion) lookupIn(i int, t *table.Table, key string) (found bool, no *refusal) {
	value, ok := t.Lookup(key)
	if !ok {
		return false, nil
	}
	items, err := parseItems(value)
	if err != nil {
		return false, tryLater(fmt.Errorf("table %s, key %q: %w", t.Name(), key, err))
	}
	for _, it := range items {
		if it.kind == includeItem {
			no = e.include(i, it.text)
		} else {
			no = e.add(i, it)
		}
		if no != nil {
			return true, no
		}
	}
	return len(items) > 0, nil
}

// include adds what stands in an :include: file of an alias. One that cannot
// be read is TryLater, so that a list does not lose its members in silence.
func (e *expansion) include(i int, path string) *refusal {
	items, err := e.r.readInclude(path)
	if err != nil {
		return tryLater(err)
	}
	for _, it := range items {
		if no := e.add(i, it); no != nil {
			return no
		}
	}
	return nil
}

// Includes reports whether an alias or virtual table of cfg has :include: of
// that path.
func Includes(cfg *config.Config, path string) bool {
	for _, a := range cfg.Actions {
		for _, t := range []*table.Table{a.Alias, a.Virtual} {
			if t == nil {
				continue
			}
			for _, value := range t.All() {
				if !strings.Contains(value, path) {
					continue
				}
				items, _ := parseItems(value)
				if slices.ContainsFunc(items, func(it item) bool { return it.kind == includeItem && it.text == path }) {
					return true
				}
			}
		}
	}
	return false
}

// Check reports the entries of the alias and virtual tables of cfg that cannot
// be read, joined; nil if all can. Load cannot see them, and a server that
// runs defers the mail of each.
func Check(cfg *config.Config) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(cfg.Actions)) {
		a := cfg.Actions[name]
		for _, t := range []*table.Table{a.Alias, a.Virtual} {
			if t == nil {
				continue
			}
			for key, value := range t.All() {
				if _, err := parseItems(value); err != nil {
					errs = append(errs, fmt.Errorf("action %q: table %s, key %q: %w", name, t.Name(), key, err))
				}
			}
		}
	}
	return errors.Join(errs...)
}
