package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A full disk must not keep mail from leaving: a deletion writes to the log
// first, and without room for that the queue would stay full for ever. So a
// file keeps some room. When a change that lets mail out finds none, the file
// is emptied, the log is written back, and the change is tried again. No new
// mail is taken until the room is back, or it would use it up.
const (
	reserveName = "reserve"

	// reserveSize in bytes is enough to write the whole log back, whose
	// pages may all be new to the database, and to go on logging.
	reserveSize = 16 << 20

	// reserveMargin is the room in bytes that must be free besides.
	reserveMargin = 1 << 20

	// reserveEvery bounds how often it is looked whether there is room.
	reserveEvery = time.Second
)

// reserve is the file. The writer's goroutine alone uses it.
type reserve struct {
	dir   string
	held  bool
	tried time.Time
}

// take fills the file. Without room for it there is no reserve yet.
func (r *reserve) take() error {
	r.tried = time.Now()
	f, err := os.OpenFile(filepath.Join(r.dir, reserveName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if r.held = allocated(f); r.held {
		return nil
	}
	if free(r.dir) < reserveSize+reserveMargin {
		return nil
	}
	if err := allocate(f); err != nil {
		_ = f.Truncate(0) // half a reserve is none
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return nil
		}
		return err
	}
	r.held = true
	return f.Sync()
}

// ready reports whether the reserve is there, so that new mail may be taken.
func (r *reserve) ready() bool {
	if !r.held && time.Since(r.tried) >= reserveEvery {
		_ = r.take() // there is none, that is all
	}
	return r.held
}

// use empties the file.
func (r *reserve) use() error {
	r.held = false
	r.tried = time.Now()
	err := os.Truncate(filepath.Join(r.dir, reserveName), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// allocated reports whether the file has its blocks.
func allocated(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Size == reserveSize && st.Blocks*512 >= reserveSize
}

// allocate gives the file its blocks.
func allocate(f *os.File) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, reserveSize)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < reserveSize; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, off); err != nil {
			return err
		}
	}
	return nil
}

// free gives the bytes that the file system of dir has left for us; plenty
// if it does not say.
func free(dir string) uint64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 1 << 62
	}
	return st.Bavail * uint64(st.Bsize)
}
