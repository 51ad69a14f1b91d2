// Package sqlite is the embedded store of the queue: an SQLite database, with
// larger bodies in files beside it.
//
// One goroutine writes. What waits for it goes into one transaction, so that
// many sessions share one fsync (D6). The database is in WAL mode with
// synchronous=FULL: what Apply has returned survives a crash of the machine.
//
// The directory belongs to one process, which holds its lock:
//
//	lock        locked with flock(2) by the process that uses the queue; has its pid
//	queue.db    the database, with queue.db-wal and queue.db-shm
//	reserve     room that is given up when the disk is full; see reserve.go
//	body/xx/ID  the body of message ID; xx are the last two digits of ID
//
// It does not share the queue between machines and must not be on a network
// file system, where neither flock nor WAL can be relied on.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/weirmail/weir/internal/mail"
	"github.com/weirmail/weir/internal/mailflow/queue"
)

const (
	databaseName = "queue.db"
	lockName     = "lock"
	bodyName     = "body"
)

// Sizes of SQLite's work.
const (
	pageCacheKB    = 32 << 10 // of the writing connection
	readCacheKB    = 4 << 10  // of each reading one
	readers        = 4
	checkpoint     = 2000     // pages in the log from which on it is written back
	walLimit       = 64 << 20 // bytes that the log keeps on disk
	quickCheckSize = 8 << 20  // bytes of database that are checked at start; larger ones would delay it
)

// Options says how a Store works.
type Options struct {
	Log *slog.Logger // told what happens in the background; nothing without

	maxPages int64 // tests: a database that gets full
}

// Store is a queue.Store in a directory.
type Store struct {
	dir  string
	key  queue.Key
	log  *slog.Logger
	lock *os.File
	read *sql.DB
	w    *writer
	rows rowCounts

	mu       sync.Mutex
	spooling map[mail.MessageID]struct{} // bodies in files that no row may name yet
	closed   bool
	submits  sync.WaitGroup // callers that hand something to the writer

	stop       chan struct{} // ends the sweep
	background sync.WaitGroup
}

var _ queue.Store = (*Store)(nil)

// Open opens the queue in dir, which is made if it is missing. It fails if
// another process has it open. Envelopes that were claimed when the last
// process ended wait again.
func Open(dir string, opt Options) (*Store, error) {
	s := &Store{
		dir: dir, log: opt.Log,
		spooling: make(map[mail.MessageID]struct{}),
		stop:     make(chan struct{}),
		rows:     rowCounts{known: make(chan struct{})},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(opt); err != nil {
		s.free()
		return nil, fmt.Errorf("queue in %s: %w", dir, s.explain(err))
	}
	s.background.Go(s.sweep)
	return s, nil
}

func (s *Store) open(opt Options) error {
	if err := s.makeDirs(); err != nil {
		return err
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	path := filepath.Join(s.dir, databaseName)
	if err := keepPrivate(path); err != nil {
		return err
	}
	c, err := openConn(dsn(path, pageCacheKB))
	if err != nil {
		return err
	}
	s.w = newWriter(s, c)
	if err := s.prepare(c, path, opt); err != nil {
		return err
	}
	if err := s.w.reserve.take(); err != nil {
		return err
	}
	if !s.w.reserve.held {
		s.log.Error("the disk of the queue is nearly full; no mail is accepted", "dir", s.dir, "needed", reserveSize+reserveMargin)
	}
	s.read, err = sql.Open("sqlite", dsn(path, readCacheKB)+"&_pragma=query_only(1)")
	if err != nil {
		return err
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	if err := s.takeCounts(c); err != nil {
		return err
	}
	return s.w.start()
}

// keepPrivate makes the database one that only its owner reads; its log gets
// the same mode from it. The directory lets everybody pass, for the sockets.
func keepPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = f.Chmod(0o600)
	return errors.Join(err, f.Close())
}

func dsn(path string, cacheKB int) string {
	u := url.URL{Scheme: "file", OmitHost: true, Path: path}
	pragmas := []string{
		"busy_timeout(10000)", "synchronous(FULL)", fmt.Sprintf("cache_size(-%d)", cacheKB),
		fmt.Sprintf("wal_autocheckpoint(%d)", checkpoint), fmt.Sprintf("journal_size_limit(%d)", walLimit),
		"trusted_schema(0)",
	}
	return u.String() + "?_pragma=" + strings.Join(pragmas, "&_pragma=")
}

// prepare checks the database and brings it up to date.
func (s *Store) prepare(c *conn, path string, opt Options) error {
	// RFC 5321 s4.2.5: responsibility begins with the reply, so everything
	// that was told must be on disk; WAL lets readers go on meanwhile.
	if err := c.exec("PRAGMA journal_mode=WAL"); err != nil {
		return err
	}
	if fi, err := os.Stat(path); err == nil && fi.Size() <= quickCheckSize {
		if err := s.quickCheck(c); err != nil {
			return err
		}
	}
	if err := migrate(c, path); err != nil {
		return err
	}
	if err := s.readKey(c); err != nil {
		return err
	}
	if opt.maxPages > 0 {
		if err := c.exec(fmt.Sprintf("PRAGMA max_page_count=%d", opt.maxPages)); err != nil {
			return err
		}
	}
	// Nobody else has the lock, so nobody works on what was claimed.
	return s.withRoom(func() error { return c.exec(endClaims) })
}

// withRoom does what writes little, with the reserve if the disk is full: a
// server that starts on a full disk lets mail out.
func (s *Store) withRoom(do func() error) error {
	err := do()
	if errors.Is(s.explain(err), queue.ErrNoSpace) && s.w.makeRoom() {
		err = do()
	}
	return err
}

var endClaims = fmt.Sprintf("UPDATE envelope SET due = CASE held WHEN 0 THEN next ELSE %d END WHERE due = %d", dueHeld, dueClaimed)

// readKey reads the key, by which messages are found.
func (s *Store) readKey(c *conn) error {
	st, err := c.prepare("SELECT value FROM meta WHERE name = 'key'")
	if err != nil {
		return err
	}
	found := false
	err = st.query(func(v []driver.Value) error {
		key, _ := v[0].([]byte)
		found = copy(s.key[:], key) == len(s.key) && len(key) == len(s.key)
		return nil
	})
	if err == nil && !found {
		return s.damaged(errors.New("it has no key"))
	}
	return err
}

// seq gives the key of a message's row.
func (s *Store) seq(id mail.MessageID) int64 { return int64(s.key.Number(id)) }

func (s *Store) quickCheck(c *conn) error {
	st, err := c.prepare("PRAGMA quick_check(1)")
	if err != nil {
		return err
	}
	return st.query(func(v []driver.Value) error {
		if found, _ := v[0].(string); found != "ok" {
			return s.damaged(errors.New(strings.ReplaceAll(found, "\n", " ")))
		}
		return nil
	})
}

// makeDirs makes the directory and those of the bodies. Nobody but weir may
// look into them: mail is private.
func (s *Store) makeDirs() error {
	made := false
	for i := range 256 {
		dir := filepath.Join(s.dir, bodyName, fmt.Sprintf("%02x", i))
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		made = true
	}
	if !made {
		return nil
	}
	above := syncDir(filepath.Dir(s.dir))
	if errors.Is(above, os.ErrPermission) {
		above = nil // then it was not us who made our directory in it
	}
	return errors.Join(syncDir(filepath.Join(s.dir, bodyName)), syncDir(s.dir), above)
}

// takeLock makes the directory this process's own.
func (s *Store) takeLock() error {
	f, err := os.OpenFile(filepath.Join(s.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid := make([]byte, 16)
		n, _ := f.Read(pid) // only for the message
		f.Close()
		return fmt.Errorf("another server (process %s) uses it; stop that one, or give this one another queue path",
			strings.TrimSpace(string(pid[:n])))
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	s.lock = f
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	return err
}

// Close implements queue.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.submits.Wait()
	s.w.end()
	s.background.Wait()
	return errors.Join(s.leaveCounts(), s.free())
}

// free closes what is open; the lock last.
func (s *Store) free() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.w != nil {
		errs = append(errs, s.w.c.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// Reserve implements queue.Store.
func (s *Store) Reserve(ctx context.Context, n int) (queue.Block, error) {
	if n <= 0 {
		return queue.Block{}, fmt.Errorf("reserving %d numbers", n)
	}
	b := queue.Block{Key: s.key}
	err := s.submit(ctx, grow, func(w *writer) error {
		return w.st.reserve.query(func(v []driver.Value) error {
			last, _ := v[0].(int64)
			b.First = uint64(last) - uint64(n)
			return nil
		}, int64(n))
	})
	return b, err
}
