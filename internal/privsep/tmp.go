package privsep

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A filter without a view has a /tmp of its own, too: a directory that is made
// for the process and removed after its end. It is on the disk, not in memory as
// that of a view: a filter of old may keep whole messages there.

// tmpPrefix begins the name of such a directory.
const tmpPrefix = "weir-tmp-"

// makeTmp makes the directory, if the process can get it, and gives what to
// remove in the end, nil if there is nothing.
func (l *Launcher) makeTmp(sp *spec) (outer *os.File) {
	sp.Tmp, sp.TmpKeep = "", nil
	if sp.View != nil || sp.KeepCaps || os.Geteuid() != 0 && !sp.OwnMounts {
		return nil
	}
	keep, ok := tmpDirs(filepath.Join("/", sp.Chroot, "tmp"), slices.Concat(sp.Argv, sp.Env, l.near))
	if !ok {
		return nil // it is the /tmp of everybody that the filter works with
	}
	l.sweep.Do(sweepTmp)
	dir, err := os.MkdirTemp("", tmpPrefix)
	if err == nil {
		outer, err = lockDir(dir)
	}
	if err == nil {
		inner := filepath.Join(dir, "tmp") // the outer one keeps others from it
		err = errors.Join(os.Mkdir(inner, 0o700), os.Chmod(inner, os.ModeSticky|0o777))
		for _, name := range keep {
			err = errors.Join(err, os.Mkdir(filepath.Join(inner, name), 0o700))
		}
		sp.Tmp, sp.TmpKeep = inner, keep
	}
	if err != nil {
		os.RemoveAll(dir)
		if outer != nil {
			outer.Close()
		}
		l.note(sp.Name, []string{fmt.Sprintf("filters have no /tmp of their own: %v", err)})
		sp.Tmp, sp.TmpKeep = "", nil
		return nil
	}
	return outer
}

// lockDir opens a directory and locks it for as long as it is open: the system
// ends the lock with the server, however that ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: dir, Err: err}
	}
	return f, nil
}

// tmpDirs gives the directories in tmp, the host's path of a filter's /tmp, that
// words name as /tmp/NAME/...: the filter is to find them. ok is false if they
// name something in /tmp that is no directory there, or not yet.
func tmpDirs(tmp string, words []string) (names []string, ok bool) {
	const path = "/tmp/"
	for _, w := range words {
		for i := 0; i < len(w); {
			at := strings.Index(w[i:], path)
			if at < 0 {
				break
			}
			begin := i + at
			rest := w[begin+len(path):]
			name := rest[:len(rest)-len(strings.TrimLeftFunc(rest, inName))]
			i = begin + len(path)
			if name == "" || begin > 0 && inName(rune(w[begin-1])) {
				continue // /tmp itself, or /var/tmp/...
			}
			if fi, err := os.Lstat(filepath.Join(tmp, name)); err != nil || !fi.IsDir() || name == "." || name == ".." {
				return nil, false
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

// inName reports whether a character of a command is part of a file's name, as
// far as can be told.
func inName(c rune) bool { return !strings.ContainsRune("/ \t\n\"'`:;,=&|<>()", c) }

// removeTmp removes what makeTmp has made.
func removeTmp(outer *os.File) {
	if outer != nil {
		os.RemoveAll(outer.Name()) // it follows no symbolic link
		outer.Close()
	}
}

// tmpYoung is the age up to which a directory may not be locked yet.
const tmpYoung = time.Minute

// sweepTmp removes what servers have left that were killed: what is ours and
// nobody's lock is on.
func sweepTmp() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), tmpPrefix+"*"))
	for _, dir := range dirs {
		fi, err := os.Lstat(dir)
		if err != nil || !fi.IsDir() || fi.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) || time.Since(fi.ModTime()) < tmpYoung {
			continue
		}
		if f, err := lockDir(dir); err == nil {
			removeTmp(f)
		}
	}
}

// privateTmp puts Tmp in the place of /tmp, with what is to be found in it.
func (c *change) privateTmp() error {
	if c.Tmp == "" {
		return nil
	}
	at := filepath.Join("/", c.Chroot, "tmp")
	trees, err := c.tmpTrees(at)
	defer func() {
		for _, w := range trees {
			unix.Close(w.tree)
		}
	}()
	for i := 0; err == nil && i < len(trees); i++ {
		err = unix.MoveMount(trees[i].tree, "", unix.AT_FDCWD, trees[i].path, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	switch {
	case err == nil:
		c.tmp = true
	case errors.Is(err, unix.ENOENT): // a chroot without /tmp
	case isRefused(err): // Linux before 5.12
		c.note("no /tmp of their own is allowed for filters: %v", err)
	default:
		return fmt.Errorf("own /tmp: %w", err)
	}
	return nil
}

// tmpTrees takes what is to be mounted at and in /tmp, in this order.
func (c *change) tmpTrees(at string) (trees []mounted, err error) {
	for _, name := range append([]string{""}, c.TmpKeep...) {
		from, flags := filepath.Join(at, name), uint(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if name == "" {
			from = c.Tmp
		}
		tree, err := unix.OpenTree(unix.AT_FDCWD, from, flags)
		if err != nil {
			return trees, err
		}
		trees = append(trees, mounted{filepath.Join(at, name), tree})
		if name == "" {
			err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
			if err != nil {
				return trees, err
			}
		}
	}
	return trees, nil
}
