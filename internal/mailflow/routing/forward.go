package routing

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Limits of the files that expansion reads; beyond them it is TryLater.
const (
	MaxForwardSize  = 64 << 10 // bytes of a .forward
	MaxForwardNodes = 100      // items of a .forward
	MaxIncludeSize  = 1 << 20  // bytes of an :include: file
)

var (
	errUnsafe  = errors.New("unsafe")
	errTooBig  = errors.New("too large")
	errNotFile = errors.New("not a regular file")
)

const groupOrOthersWrite fs.FileMode = 0o022

// Files opens the files that a Router reads besides those of tables. It is
// safe for concurrent use; the Router closes what it gives.
type Files interface {
	// Forward gives the .forward of u, nil if there is none.
	Forward(u User) (*os.File, error)

	// Include gives the file that an :include: of a table names.
	Include(path string) (*os.File, error)
}

// systemFiles opens files with the rights that we have.
type systemFiles struct{ log *slog.Logger }

// Forward implements Files.
func (s systemFiles) Forward(u User) (*os.File, error) {
	f, err := OpenForward(u)
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		// Without root there are homes that cannot be looked into.
		s.log.Warn(".forward cannot be read without root; ignored", "user", u.Name, "error", err)
		return nil, nil
	}
	return f, err
}

// Include implements Files.
func (systemFiles) Include(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

func forwardOf(home string) string { return home + "/.forward" }

// HasForward reports whether there may be a .forward in a home directory, for
// whoever opens it next: not only if there certainly is none, as far as the
// rights of the caller let it see.
func HasForward(home string) bool {
	if home == "" || home[0] != '/' {
		return false
	}
	var st unix.Stat_t
	return !errors.Is(unix.Lstat(forwardOf(home), &st), fs.ErrNotExist)
}

// OpenForward opens the .forward of u with the rights that the caller has; nil
// if there is none.
//
// Whoever can write that file has all mail of u and can run commands as u, so
// it counts only if it and the home directory belong to u or root and nobody
// else may write to them. An unsafe file is an error, hence TryLater, rather
// than skipped: mail that its owner wanted elsewhere waits until it is safe.
func OpenForward(u User) (*os.File, error) {
	if u.Home == "" || u.Home[0] != '/' {
		return nil, nil
	}
	path := forwardOf(u.Home)
	// Not through a symbolic link, which could lead to what only root may
	// read; not waiting for the writer of a fifo.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return nil, nil
	default:
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	if err := checkSafe(f, u); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readForward gives what stands in the .forward of u, nothing if there is none.
func (r *Router) readForward(u User) ([]item, error) {
	f, err := r.files.Forward(u)
	if err != nil || f == nil {
		return nil, err
	}
	defer f.Close()
	path := forwardOf(u.Home)
	text, err := readLimited(f, MaxForwardSize)
	if err != nil {
		return nil, err
	}
	items, err := parseLines(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(items) > MaxForwardNodes {
		return nil, fmt.Errorf("%s: %w: more than %d items", path, errTooBig, MaxForwardNodes)
	}
	return items, nil
}

// checkSafe looks at an open .forward and at the home directory it lies in.
func checkSafe(f *os.File, u User) error {
	file, err := f.Stat()
	if err != nil {
		return err
	}
	if !file.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", f.Name(), errNotFile)
	}
	home, err := os.Stat(u.Home)
	if err != nil {
		return err
	}
	for _, x := range []struct {
		path string
		info fs.FileInfo
	}{{f.Name(), file}, {u.Home, home}} {
		if mode := x.info.Mode().Perm(); mode&groupOrOthersWrite != 0 {
			return fmt.Errorf("%s: %w: others than its owner may write to it (mode %#o); chmod go-w", x.path, errUnsafe, mode)
		}
		owner, ok := ownerOf(x.info)
		if !ok || owner != u.UID && owner != 0 {
			return fmt.Errorf("%s: %w: it belongs to uid %d, not to uid %d or root", x.path, errUnsafe, owner, u.UID)
		}
	}
	return nil
}

// readInclude gives what stands in an :include: file. Its path comes from a
// table of the postmaster's, so its owner does not matter.
func (r *Router) readInclude(path string) ([]item, error) {
	f, err := r.files.Include(path)
	if err != nil {
		return nil, fmt.Errorf("reading :include: file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, errNotFile)
	}
	if err != nil {
		return nil, fmt.Errorf("reading :include: file: %w", err)
	}
	text, err := readLimited(f, MaxIncludeSize)
	if err != nil {
		return nil, fmt.Errorf("reading :include: file: %w", err)
	}
	items, err := parseLines(text)
	if err != nil {
		return nil, fmt.Errorf(":include: file %s: %w", path, err)
	}
	return items, nil
}

func readLimited(f *os.File, limit int64) (string, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", err
	}
	if int64(len(b)) > limit {
		return "", fmt.Errorf("%s: %w: more than %d bytes", f.Name(), errTooBig, limit)
	}
	return string(b), nil
}

// parseLines reads a file of items: "#" begins a comment unless a backslash
// is before it, and a backslash at the end of a line joins the next. An
// include within is skipped, as in the original: only tables may name files
// to be read with the server's rights.
func parseLines(text string) ([]item, error) {
	var items []item
	for text != "" {
		var line string
		line, text = logicalLine(text)
		more, err := parseItems(line)
		if err != nil {
			return nil, err
		}
		for _, it := range more {
			if it.kind != includeItem {
				items = append(items, it)
			}
		}
	}
	return items, nil
}

// logicalLine takes the first line of text, joined and without its comment.
func logicalLine(text string) (line, rest string) {
	var joined strings.Builder
	for {
		line, rest, _ = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		stripped, comment := cutComment(line)
		body, continues := strings.CutSuffix(stripped, "\\")
		if comment || !continues || escapedEnd(body) {
			joined.WriteString(stripped)
			return joined.String(), rest
		}
		joined.WriteString(body)
		if rest == "" {
			return joined.String(), ""
		}
		text = rest
	}
}

// cutComment cuts from the first "#" without a backslash before it.
func cutComment(line string) (string, bool) {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '#':
			return line[:i], true
		}
	}
	return line, false
}

// escapedEnd reports whether s ends in an odd number of backslashes, so that
// one more is itself escaped.
func escapedEnd(s string) bool {
	n := len(s) - len(strings.TrimRight(s, "\\"))
	return n%2 == 1
}

// ownerOf gives the numeric owner of a file.
func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, false
	}
	return int(st.Uid), true
}
