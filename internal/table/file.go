package table

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// checkInterval is how long a file is trusted without looking at it.
	checkInterval = time.Second

	// MaxFileSize is the largest table file, in bytes.
	MaxFileSize = 64 << 20
)

// stamp tells one state of a file from another. Size and time alone miss a
// file that was replaced within the resolution of its time.
type stamp struct {
	size  int64
	mtime time.Time
	inode uint64
	err   string // why the file could not be looked at, "" if it could
}

func stampOf(fi fs.FileInfo) stamp {
	s := stamp{size: fi.Size(), mtime: fi.ModTime()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.inode = st.Ino
	}
	return s
}

// OpenFile reads a table from a file: one entry on each line, "#" comments,
// and the continuation lines of aliases(5). The first entry decides what the
// table is: "key value" or "key: value" makes a mapping, a single word a
// list; a comment "# @list" before it makes a list in any case.
//
// The file is looked at again at most once a second, when the table is used,
// and read again if its size, time or inode changed. If that fails the old
// content stays in force and the failure is logged once; log may be nil.
func OpenFile(name, path string, log *slog.Logger) (*Table, error) {
	return OpenWith(name, path, log, func(path string) (*os.File, error) {
		return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // not waiting for the writer of a fifo
	})
}

// Opener opens a file to be read, as os.Open does.
type Opener func(path string) (*os.File, error)

// OpenWith is OpenFile for a process that cannot open the file itself: open
// does, each time that the file is looked at. It must be safe for concurrent
// use.
func OpenWith(name, path string, log *slog.Logger, open Opener) (*Table, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, st, err := readFile(f, path)
	if err != nil {
		return nil, err
	}
	t := newTable(name, s)
	t.path, t.log, t.stamp, t.open = path, log, st, open
	t.checkAt.Store(time.Now().Add(checkInterval).UnixNano())
	return t, nil
}

// refresh looks at the file and reads it if it changed. Only one goroutine
// does so; others go on with what there is.
func (t *Table) refresh(now int64) {
	if !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	if now < t.checkAt.Load() {
		return
	}
	t.checkAt.Store(now + int64(checkInterval))

	var st stamp
	var fi fs.FileInfo
	f, err := t.open(t.path)
	if err == nil {
		defer f.Close()
		fi, err = f.Stat()
	}
	if err != nil {
		st = stamp{err: err.Error()}
	} else {
		st = stampOf(fi)
	}
	if st == t.stamp {
		return
	}
	t.stamp = st
	var s *snapshot
	if err == nil {
		s, st, err = readFile(f, t.path)
	}
	if err != nil {
		t.log.Warn("table not read again, old content stays", "table", t.name, "file", t.path, "err", err)
		return
	}
	t.stamp = st
	t.data.Store(s)
	for _, check := range t.checks {
		if err := t.checkSnapshot(s, check); err != nil {
			t.log.Warn("table has an entry that counts for nothing", "table", t.name, "err", err)
		}
	}
	t.log.Info("table read again", "table", t.name, "file", t.path, "entries", len(s.entries))
}

// readFile reads an open file from its beginning; path is for messages.
func readFile(f *os.File, path string) (*snapshot, stamp, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, stamp{}, err
	}
	if !fi.Mode().IsRegular() {
		return nil, stamp{}, fmt.Errorf("%s: not a regular file", path)
	}
	// The file may grow between the two: the reader has the limit as well.
	tooLarge := fi.Size() > MaxFileSize
	var data []byte
	if !tooLarge {
		if data, err = io.ReadAll(io.LimitReader(f, MaxFileSize+1)); err != nil {
			return nil, stamp{}, err
		}
	}
	if tooLarge || len(data) > MaxFileSize {
		return nil, stamp{}, fmt.Errorf("%s: larger than %d bytes", path, MaxFileSize)
	}
	s, err := parseFile(path, string(data))
	return s, stampOf(fi), err
}

// blanks are the bytes that separate words in a table file.
const blanks = " \t\r\v\f"

// fileParser collects the entries of one file.
type fileParser struct {
	kind    kind
	entries []entry
	more    []string // value of the last entry with its continuation lines
}

type kind uint8

const (
	kindUnknown kind = iota
	kindList
	kindMapping
)

// parseFile reads the text of a table file; path is for messages.
func parseFile(path, text string) (*snapshot, error) {
	var p fileParser
	n := 0
	for line := range strings.Lines(text) {
		n++
		if err := p.line(strings.TrimSuffix(line, "\n"), n); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	p.join()
	for _, e := range p.entries {
		if p.kind == kindMapping && e.Value == "" {
			return nil, fmt.Errorf("%s:%d: key %q has no value", path, e.line, e.Key)
		}
	}
	// A file without entries may be used as either; most are aliases.
	return newSnapshot(p.entries, p.kind != kindList), nil
}

func (p *fileParser) line(raw string, n int) error {
	if strings.IndexByte(raw, 0) >= 0 {
		return errors.New("NUL byte in a table file")
	}
	text := strings.Trim(raw, blanks)
	if p.kind == kindUnknown && strings.HasPrefix(text, "#") && strings.Trim(text[1:], blanks) == "@list" {
		p.kind = kindList
	}
	text = cutComment(text)
	if text == "" {
		return nil
	}
	if strings.IndexByte(blanks, raw[0]) >= 0 && p.continues(text) {
		p.more = append(p.more, text)
		return nil
	}
	p.join()
	key, value, split := splitEntry(text)
	if p.kind == kindUnknown {
		p.kind = kindList
		if split {
			p.kind = kindMapping
		}
	}
	if p.kind == kindList {
		p.entries = append(p.entries, entry{Pair{Key: text}, n})
		return nil
	}
	if !split {
		return fmt.Errorf("key %q has no value", key)
	}
	if key == "" {
		return fmt.Errorf("no key before %q", value)
	}
	p.entries = append(p.entries, entry{Pair{key, value}, n})
	p.more = append(p.more[:0], value)
	return nil
}

// join gives the last entry all lines of its value.
func (p *fileParser) join() {
	if len(p.more) > 1 {
		p.entries[len(p.entries)-1].Value = strings.TrimLeft(strings.Join(p.more, " "), " ")
	}
	p.more = p.more[:0]
}

// continues reports whether an indented line belongs to the entry before it.
// aliases(5) says that all do; table(5) allows entries to be indented. What
// both agree on is a list of recipients that is not finished.
func (p *fileParser) continues(text string) bool {
	if len(p.more) == 0 {
		return false
	}
	last := p.more[len(p.more)-1]
	return last == "" || strings.HasSuffix(last, ",") || strings.HasPrefix(text, ",")
}

// splitEntry cuts a line at the white space or colon after its key. Colons
// of an address belong to the key, so that "::1 localhost" needs no quoting.
func splitEntry(text string) (key, value string, split bool) {
	end := strings.IndexAny(text, blanks)
	word := text
	if end >= 0 {
		word = text[:end]
	}
	if _, err := parseNet(strings.TrimSuffix(word, ":")); err == nil {
		word = strings.TrimSuffix(word, ":")
	} else if _, err := parseNet(word); err != nil {
		if i := strings.IndexByte(word, ':'); i >= 0 {
			word = word[:i]
		}
	}
	if word == text {
		return text, "", false
	}
	return word, strings.TrimLeft(text[len(word):], blanks+":"), true
}

// cutComment drops a comment: "#" at the start of a line, or after white
// space where no double quote is open.
func cutComment(text string) string {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '#' && (i == 0 || !quoted && strings.IndexByte(blanks, text[i-1]) >= 0):
			return strings.TrimRight(text[:i], blanks)
		}
	}
	return text
}
