package privsep

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// tmpSize is how much a filter may keep in a /tmp of its own, which is memory.
const tmpSize = 64 << 20

// hide covers what the filter must not see by mounts that only it has, and
// gives it a /tmp of its own if it has a view of its own.
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
	return c.ownTmp()
}

// noteShown says what is not hidden by mounts. Files of another user are not
// to be read anyway, and what is not in a view is not seen.
func (c *change) noteShown() {
	if c.View != nil {
		c.note("no mount namespace is allowed, so filters with read or write have no /tmp of their own")
		return
	}
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
		return unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
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

// ownTmp mounts an empty /tmp for a filter with a view, if nothing below the
// one of all is in that view.
func (c *change) ownTmp() error {
	if c.View == nil {
		return nil
	}
	tmp := filepath.Join("/", c.Chroot, "tmp")
	if slices.ContainsFunc(slices.Concat(c.View.Read, c.View.Write), func(p string) bool { return within(p, "/tmp") }) {
		return nil
	}
	err := unix.Mount("weir", tmp, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", tmpSize))
	switch {
	case err == nil:
		c.tmp = true
	case errors.Is(err, unix.ENOENT):
	case isRefused(err):
		c.mounts = false
		c.noteShown()
	default:
		return fmt.Errorf("own %s: %w", tmp, err)
	}
	return nil
}
