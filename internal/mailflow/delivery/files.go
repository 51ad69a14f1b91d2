package delivery

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// fileSystem is what local delivery asks of the system; tests put their own
// in to see the order of the calls and to make each of them fail.
//
// Descriptors are plain: os.File would add calls to each short-lived file.
type fileSystem interface {
	Open(path string, flags int, perm uint32) (fd int, err error)
	Write(fd int, parts [2][]byte) error // all bytes of both parts, or an error
	Sync(fd int) error
	Close(fd int) error
	Rename(from, to string) error
	Remove(path string) error
	Mkdir(path string, perm uint32) error
}

// unixFS is the system itself.
type unixFS struct{}

// retry calls f again as long as a signal interrupts it.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func (unixFS) Open(path string, flags int, perm uint32) (fd int, err error) {
	err = retry(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, perm)
		return err
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// Write writes both parts with one call where it can.
func (unixFS) Write(fd int, parts [2][]byte) error {
	for len(parts[0])+len(parts[1]) > 0 {
		var n int
		err := retry(func() (err error) {
			if len(parts[0]) == 0 {
				n, err = unix.Write(fd, parts[1])
			} else {
				n, err = writev(fd, parts)
			}
			return err
		})
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		k := min(n, len(parts[0]))
		parts[0], parts[1] = parts[0][k:], parts[1][n-k:]
	}
	return nil
}

// Sync makes file or directory durable. A file system that has nothing to do
// for a directory answers EINVAL.
func (unixFS) Sync(fd int) error {
	err := retry(func() error { return unix.Fsync(fd) })
	if err == unix.EINVAL {
		return nil
	}
	return os.NewSyscallError("fsync", err)
}

// Close is not repeated after EINTR: the descriptor is gone either way.
func (unixFS) Close(fd int) error {
	if err := unix.Close(fd); err != unix.EINTR {
		return os.NewSyscallError("close", err)
	}
	return nil
}

func (unixFS) Rename(from, to string) error {
	if err := retry(func() error { return unix.Rename(from, to) }); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func (unixFS) Remove(path string) error {
	if err := retry(func() error { return unix.Unlink(path) }); err != nil {
		return &os.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

func (unixFS) Mkdir(path string, perm uint32) error {
	if err := retry(func() error { return unix.Mkdir(path, perm) }); err != nil {
		return &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	return nil
}

// syncDir makes the entries of a directory durable. A directory that may be
// written but not read cannot be opened for it; the file system's own order
// has to do there.
func syncDir(sys fileSystem, dir string) error {
	fd, err := sys.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if os.IsPermission(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = sys.Sync(fd)
	if cerr := sys.Close(fd); err == nil {
		err = cerr
	}
	return err
}
