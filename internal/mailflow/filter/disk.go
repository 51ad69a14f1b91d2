package filter

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// keptFree is how many bytes of a disk spools leave to others, the queue among
// them, and keptPart which part of a small one.
const (
	keptFree = 256 << 20
	keptPart = 20
)

// errDisk says that a spool is not to grow any more.
var errDisk = errors.New("too little room on the disk for what waits of a message")

// roomFor reports whether the disk that f is on has room for more. A filter that
// makes much of little could otherwise fill it, and it is the queue's, too.
func roomFor(f *os.File) error {
	var st unix.Statfs_t
	if statfs(int(f.Fd()), &st) != nil {
		return nil // then the disk says so itself
	}
	return room(&st)
}

var statfs = unix.Fstatfs // tests have full disks

func room(st *unix.Statfs_t) error {
	size := uint64(st.Bsize)
	if free := st.Bavail * size; free < min(keptFree, st.Blocks*size/keptPart) {
		return errDisk
	}
	return nil
}
