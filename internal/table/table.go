// Package table holds the lists and mappings of table(5): static ones from the
// configuration and plain text files.
//
// A file is read when the table is opened and again when it has changed on
// disk; a file that cannot be read again leaves the old content in force and
// the failure in the log. A Table is safe for concurrent use. What the entries
// mean (domains, networks, addresses, credentials) is said by the caller's
// choice of method: each meaning has a Match method, which skips entries that
// it cannot read, and a Check method, which finds them when the configuration
// is loaded. Looking up allocates nothing beyond folding a key that has upper
// case letters.
package table

import (
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultSubAddrDelim separates a mailbox from its sub-address unless
// SetSubAddrDelim says otherwise.
const DefaultSubAddrDelim = '+'

// Pair is one entry of a mapping.
type Pair struct {
	Key   string
	Value string
}

// Table is a list of keys, or a mapping from keys to values. Keys are compared
// without regard to the case of ASCII letters; of equal keys the last counts.
type Table struct {
	name  string
	path  string // "" for a static table
	open  Opener
	log   *slog.Logger
	delim byte

	data    atomic.Pointer[snapshot]
	checkAt atomic.Int64         // unix time in ns before which the file is not looked at
	mu      sync.Mutex           // held by the goroutine that looks at the file
	stamp   stamp                // state of the file at the last attempt to read it; guarded by mu
	checks  map[string]checkFunc // made when the configuration was loaded; guarded by mu
}

// checkFunc says what is wrong with an entry, and with which part of it.
type checkFunc func(Pair) (string, error)

// entry is one line of a table, as written.
type entry struct {
	Pair
	line int // of the file, from 1; 0 in a static table
}

// snapshot is the content of a table at one time. It is never changed; what
// the entries mean is worked out at the first lookup that asks for it.
type snapshot struct {
	mapping bool
	entries []entry
	index   map[string]int // folded key to place in entries

	domains func() *domainIndex
	nets    func() *netIndex
	addrs   func() *addrIndex
	regexps func() *regexpIndex
	dummy   func() string // a hash for users that are not in the table
}

// NewList makes a static list. The name is for messages only.
func NewList(name string, values []string) *Table {
	entries := make([]entry, len(values))
	for i, v := range values {
		entries[i].Key = v
	}
	return newTable(name, newSnapshot(entries, false))
}

// NewMapping makes a static mapping. The name is for messages only.
func NewMapping(name string, pairs []Pair) *Table {
	entries := make([]entry, len(pairs))
	for i, p := range pairs {
		entries[i].Pair = p
	}
	return newTable(name, newSnapshot(entries, true))
}

func newTable(name string, s *snapshot) *Table {
	t := &Table{name: name, delim: DefaultSubAddrDelim, log: slog.New(slog.DiscardHandler)}
	t.data.Store(s)
	return t
}

func newSnapshot(entries []entry, mapping bool) *snapshot {
	s := &snapshot{mapping: mapping, entries: entries, index: make(map[string]int, len(entries))}
	for i := range entries {
		s.index[fold(entries[i].Key)] = i
	}
	s.domains = sync.OnceValue(s.indexDomains)
	s.nets = sync.OnceValue(s.indexNets)
	s.addrs = sync.OnceValue(s.indexAddrs)
	s.regexps = sync.OnceValue(s.indexRegexps)
	s.dummy = sync.OnceValue(s.pickDummy)
	return s
}

// Name gives the name under which the table was declared.
func (t *Table) Name() string { return t.name }

// Path gives the file that the table is read from, "" for a static table.
func (t *Table) Path() string { return t.path }

// IsMapping reports whether the entries have values.
func (t *Table) IsMapping() bool { return t.current().mapping }

// Len gives the number of entries.
func (t *Table) Len() int { return len(t.current().entries) }

// SetSubAddrDelim sets the character that begins the sub-address of a
// mailbox in MatchMailAddr. It must be called before the table is shared.
func (t *Table) SetSubAddrDelim(c byte) { t.delim = c }

// SetLogger sets the log for files that are read again. It must be called
// before the table is shared.
func (t *Table) SetLogger(log *slog.Logger) { t.log = log }

// Lookup gives the value of key. In a list every value is "".
func (t *Table) Lookup(key string) (string, bool) {
	s := t.current()
	i, ok := s.index[fold(key)]
	if !ok {
		return "", false
	}
	return s.entries[i].Value, true
}

// Has reports whether key is in the table.
func (t *Table) Has(key string) bool {
	_, ok := t.current().index[fold(key)]
	return ok
}

// Keys gives the keys as written, in the order of the table.
func (t *Table) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range t.All() {
			if !yield(k) {
				return
			}
		}
	}
}

// All gives the keys as written with their values, in the order of the table.
func (t *Table) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, e := range t.current().entries {
			if !yield(e.Key, e.Value) {
				return
			}
		}
	}
}

// EntryError is an entry that does not mean what the table is used for.
type EntryError struct {
	Index int    // place of the entry, from 0
	Entry string // key or value at fault
	Path  string // file, "" for a static table
	Line  int    // line of the file, from 1; 0 for a static table
	Err   error  // what is wrong
}

// Error names file, line, entry and fault.
func (e *EntryError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%q: %v", e.Entry, e.Err)
	}
	return fmt.Sprintf("%s:%d: %q: %v", e.Path, e.Line, e.Entry, e.Err)
}

// Unwrap gives the fault alone.
func (e *EntryError) Unwrap() error { return e.Err }

// check calls f with each entry and reports the first that it refuses. A file
// is checked so again whenever it is read again; kind names the check.
func (t *Table) check(kind string, f checkFunc) error {
	if t.path != "" {
		t.mu.Lock()
		if t.checks == nil {
			t.checks = map[string]checkFunc{}
		}
		t.checks[kind] = f
		t.mu.Unlock()
	}
	return t.checkSnapshot(t.current(), f)
}

func (t *Table) checkSnapshot(s *snapshot, f checkFunc) error {
	for i, e := range s.entries {
		if at, err := f(e.Pair); err != nil {
			return &EntryError{Index: i, Entry: at, Path: t.path, Line: e.line, Err: err}
		}
	}
	return nil
}

// checkKeys is check for tables whose keys carry the meaning.
func (t *Table) checkKeys(kind string, f func(string) error) error {
	return t.check(kind, func(p Pair) (string, error) { return p.Key, f(p.Key) })
}

// fold gives s with its ASCII letters in lower case; it allocates only if s
// has upper case letters.
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			return foldFrom(s, i)
		}
	}
	return s
}

func foldFrom(s string, i int) string {
	var b strings.Builder
	b.Grow(len(s))
	b.WriteString(s[:i])
	for ; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

// current gives the content in force, read again first if the file changed.
func (t *Table) current() *snapshot {
	if t.path != "" {
		if now := time.Now().UnixNano(); now >= t.checkAt.Load() {
			t.refresh(now)
		}
	}
	return t.data.Load()
}
