package sqlite

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	moderncsqlite "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/weirmail/weir/internal/mailflow/queue"
)

// ErrDamaged says that the database cannot be read any more.
var ErrDamaged = errors.New("the queue database is damaged")

var errClosed = errors.New("the queue store is closed")

// nearlyFull is the free space in bytes below which a failed write is taken
// for one that found no room.
const nearlyFull = 1 << 20

// explain gives err the meaning that callers look for: queue.ErrNoSpace,
// ErrDamaged with what to do.
func (s *Store) explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", queue.ErrNoSpace, err)
	}
	code := resultCode(err)
	switch code & 0xff {
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: %w", queue.ErrNoSpace, err)
	case lib.SQLITE_IOERR:
		// SQLite tells a quota, or a full disk met by its shared memory
		// file, only as an I/O error.
		if free(s.dir) < nearlyFull {
			return fmt.Errorf("%w: %w", queue.ErrNoSpace, err)
		}
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return s.damaged(err)
	}
	return err
}

// damaged says what to do about a damaged database.
func (s *Store) damaged(err error) error {
	return fmt.Errorf("%w: %w. Stop weir, keep a copy of %s, and run: "+
		"cd %s && sqlite3 %s .recover | sqlite3 recovered.db && mv recovered.db %s && rm -f %s-wal %s-shm",
		ErrDamaged, err, s.dir, s.dir, databaseName, databaseName, databaseName, databaseName)
}

// resultCode gives SQLite's extended result code, 0 if err has none.
func resultCode(err error) int {
	var e *moderncsqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}
