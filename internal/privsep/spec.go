package privsep

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// maxSpec bounds a spec as it is sent, in bytes.
const maxSpec = 1 << 20

// maxID is the largest id of a user or group; the one above means "none".
const maxID = 1<<32 - 2

// spec is what a process of ours has to do to itself before it becomes a
// filter. It goes through a pipe as JSON, once.
type spec struct {
	Name   string // of the filter
	Argv   []string
	Env    []string
	Parent int  // process id of the server: if it is gone, so are we
	Probe  bool // do all but run the program

	ChangeIDs bool // to the next three; needs root
	UID, GID  int
	Groups    []int
	KeepCaps  bool   // root on purpose
	Chroot    string // "": none

	OwnMounts  bool // the process has a mount namespace of its own already
	OwnNetwork bool // and one for the network
	NetworkOff bool

	Memory    int64 // bytes, 0: no limit; so are the others
	CPU       int64 // seconds
	Files     int
	Processes int

	Tmp     string   // what becomes /tmp, without a view; "": the one of all stays
	TmpKeep []string // directories of the one of all that are found in it

	Hide []string // files and directories, as the server sees them
	Keep []string // sockets within those that stay
	View *view    // nil: everything

	Protect []string // without a view: what is not written to, within Chroot; devices are not opened then
}

// view is what a filter sees of the file system, besides the system. Paths are
// within Chroot.
type view struct {
	Read, Write []string
	Own         []string // its program, and what that names; a directory after what is in it
}

// reply is what the process says of it. Without Error the filter runs.
type reply struct {
	Error    string
	Notes    []string
	Landlock int // version of the interface, 0: not there
}

// decodeSpec reads a spec and checks it.
func decodeSpec(r io.Reader) (*spec, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSpec+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSpec {
		return nil, fmt.Errorf("longer than %d bytes", maxSpec)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	sp := &spec{}
	if err := dec.Decode(sp); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something follows it")
	}
	return sp, sp.validate()
}

// validate refuses what no configuration gives.
func (sp *spec) validate() error {
	if len(sp.Argv) == 0 || !filepath.IsAbs(sp.Argv[0]) {
		return errors.New("the program has no absolute path")
	}
	for _, list := range [][]string{sp.Argv, sp.Env, sp.paths(), {sp.Name}} {
		for _, s := range list {
			if strings.ContainsRune(s, 0) {
				return fmt.Errorf("%q has a null byte", s)
			}
		}
	}
	for _, path := range sp.paths() {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("path %q does not begin with /", path)
		}
	}
	for _, name := range sp.TmpKeep {
		if name != filepath.Base(name) || name == ".." || name == "." || name == "/" {
			return fmt.Errorf("%q is no name of a directory", name)
		}
	}
	for _, v := range sp.Env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" {
			return fmt.Errorf("%q is no variable with its value", v)
		}
	}
	for _, id := range append([]int{sp.UID, sp.GID}, sp.Groups...) {
		if id < 0 || id > maxID {
			return fmt.Errorf("%d is no id of a user or group", id)
		}
	}
	if sp.Memory < 0 || sp.CPU < 0 || sp.Files < 0 || sp.Processes < 0 {
		return errors.New("a limit is below zero")
	}
	return nil
}

// paths gives all paths of the spec but that of the program.
func (sp *spec) paths() []string {
	var all []string
	all = append(append(append(all, sp.Hide...), sp.Keep...), sp.Protect...)
	if sp.View != nil {
		all = append(append(append(all, sp.View.Read...), sp.View.Write...), sp.View.Own...)
	}
	for _, path := range []string{sp.Chroot, sp.Tmp} {
		if path != "" {
			all = append(all, path)
		}
	}
	return all
}

// within reports whether path is dir or below it; both are absolute and clean.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}
