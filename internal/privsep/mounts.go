package privsep

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// tmpSize is how much a filter may keep in a /tmp of its own, which is memory,
// and again in a /dev/shm.
const tmpSize = 64 << 20

// protect makes mounts read-only: what the system tells of itself and lets be
// changed through files, which a filter's user may own, and with a view all but
// what is in Write. Landlock knows of modes, owners and times nothing.
func (c *change) protect() error {
	switch {
	case !c.mounts:
		return nil
	case c.View == nil && c.KeepCaps: // it is meant
		return nil
	case c.View == nil || c.Chroot == "" && slices.Contains(c.View.Write, "/"):
		return c.protectSome(append([]string{"/proc", "/sys"}, c.Protect...))
	}
	write, ok, err := c.keepWritable()
	defer func() {
		for _, w := range write {
			unix.Close(w.tree)
		}
	}()
	if err != nil || !ok {
		return err
	}
	err = unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	switch {
	case isRefused(err): // Linux before 5.12, or / is no mount
		return nil
	case err != nil:
		return fmt.Errorf("make all read-only: %w", err)
	}
	for _, w := range write {
		err := unix.MoveMount(w.tree, "", unix.AT_FDCWD, w.path, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
		if err != nil {
			return fmt.Errorf("keep %s writable: %w", w.path, err)
		}
	}
	c.readOnly = true
	return nil
}

// protectSome makes paths read-only, if they are directories.
func (c *change) protectSome(paths []string) error {
	for _, path := range paths {
		path = filepath.Join("/", c.Chroot, path)
		if fi, err := os.Lstat(path); err != nil || !fi.IsDir() {
			continue
		}
		tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err == nil {
			defer unix.Close(tree)
			err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		}
		if err == nil {
			err = unix.MoveMount(tree, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
		}
		switch {
		case isRefused(err): // Linux before 5.12
			return nil
		case err != nil:
			return fmt.Errorf("make %s read-only: %w", path, err)
		}
	}
	c.readOnly = true
	return nil
}

// mounted is a path with what is, or is to be, mounted there and below.
type mounted struct {
	path string
	tree int
}

// keepWritable takes what is in the view's Write, to be put back; ok is false if
// the kernel cannot do that.
func (c *change) keepWritable() (all []mounted, ok bool, err error) {
	for _, path := range slices.Sorted(slices.Values(c.View.Write)) { // a directory before what is in it
		path = filepath.Join("/", c.Chroot, path)
		tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		switch {
		case err == nil:
			all = append(all, mounted{path, tree})
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EACCES): // the view tells
		case isRefused(err):
			return all, false, nil
		default:
			return all, false, fmt.Errorf("keep %s writable: %w", path, err)
		}
	}
	return all, true, nil
}

// hide covers what the filter must not see by mounts that only it has, and
// gives it a /tmp and a /dev/shm of its own.
func (c *change) hide() error {
	if !c.mounts {
		c.noteShown()
		return nil
	}
	for _, path := range c.Hide {
		err := c.cover(path)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		case err != nil && (isRefused(err)):
			// Without the right to mount, or to reach the path: then the filter
			// cannot reach it either, unless that is only us.
			c.mounts = false
			c.noteShown()
			return nil
		case err != nil:
			return fmt.Errorf("hide %s: %w", path, err)
		}
	}
	if err := c.ownShm(); err != nil {
		return err
	}
	return c.ownTmp()
}

// noteShown says what is not hidden by mounts. Files of another user are not
// to be read anyway, and what is not in a view is not seen.
func (c *change) noteShown() {
	if c.View != nil {
		c.note("no mount namespace is allowed, so filters with read or write have no /tmp of their own")
		return
	}
	c.note("no mount namespace is allowed, so filters without read or write share /tmp with everybody")
	if c.UID == os.Geteuid() {
		c.note("no mount namespace is allowed, so filters of the server's own user can read the queue and the keys; give them read or write, or a user")
	}
}

// cover puts an empty thing in the place of path.
func (c *change) cover(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, unix.EACCES) {
			return unix.ENOENT // nobody of us gets there
		}
		return err
	}
	if !fi.IsDir() {
		err := unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
		if err == nil {
			// It is the one of all, whose mode root without capabilities may change.
			err = unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NOEXEC, "")
		}
		return err
	}
	// The sockets to keep are held open by their paths, and come back as mounts.
	keep := make(map[string]int)
	for _, socket := range c.Keep {
		if filepath.Dir(socket) != filepath.Clean(path) {
			continue
		}
		fd, err := unix.Open(socket, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		defer unix.Close(fd)
		keep[socket] = fd
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("weir", path, "tmpfs", flags, "mode=0755,size=64k,nr_inodes=64"); err != nil {
		return err
	}
	for socket, fd := range keep {
		f, err := os.OpenFile(socket, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		f.Close()
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), socket, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|flags, "")
}

// ownTmp mounts an empty /tmp. For a filter with a view that is memory, and only
// if nothing below the one of all is in that view.
func (c *change) ownTmp() error {
	if c.View == nil {
		return c.privateTmp()
	}
	own, err := c.ownDir("/tmp")
	if isRefused(err) {
		c.mounts = false
		c.noteShown()
		return nil
	}
	c.tmp = own
	return err
}

// ownShm mounts an empty /dev/shm, so that memory is neither shared with other
// filters of the same user nor without a bound.
func (c *change) ownShm() (err error) {
	if c.View == nil && c.KeepCaps {
		return nil
	}
	c.shm, err = c.ownDir("/dev/shm")
	if isRefused(err) {
		c.note("no /dev/shm of their own is allowed for filters: %v", err)
		return nil
	}
	return err
}

// ownDir mounts an empty directory for temporary files, unless something in it
// is in the view.
func (c *change) ownDir(dir string) (bool, error) {
	if c.View != nil && slices.ContainsFunc(slices.Concat(c.View.Read, c.View.Write, c.View.Own), func(p string) bool { return within(p, dir) }) {
		return false, nil
	}
	dir = filepath.Join("/", c.Chroot, dir)
	err := unix.Mount("weir", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", tmpSize))
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil && !isRefused(err):
		err = fmt.Errorf("own %s: %w", dir, err)
	}
	return err == nil, err
}
