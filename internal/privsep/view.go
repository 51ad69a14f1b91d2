package privsep

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// What Landlock can say of files, as of the version of its interface in which
// each came.
const (
	mayRead    uint64 = syscall.AccessFSReadFile | syscall.AccessFSReadDir
	mayExecute uint64 = syscall.AccessFSExecute
	mayChange  uint64 = syscall.AccessFSWriteFile | syscall.AccessFSRemoveDir | syscall.AccessFSRemoveFile |
		syscall.AccessFSMakeDir | syscall.AccessFSMakeReg | syscall.AccessFSMakeSock | syscall.AccessFSMakeFifo | syscall.AccessFSMakeSym |
		syscall.AccessFSRefer | syscall.AccessFSTruncate
	mayDevices uint64 = syscall.AccessFSMakeChar | syscall.AccessFSMakeBlock

	onFiles uint64 = syscall.AccessFSReadFile | syscall.AccessFSExecute | syscall.AccessFSWriteFile | syscall.AccessFSTruncate
)

// The versions of Landlock that brought something.
const (
	abiRefer    = 2
	abiTruncate = 3
	abiScopes   = 6
)

// programDirs, and systemFiles for reading alone, are what every program may
// need: itself, its libraries, who is who, where is what. Nothing here is
// anybody's secret.
var (
	programDirs = []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/opt", "/nix/store", "/gnu/store"}
	systemFiles = []string{
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/alternatives",
		"/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/services", "/etc/protocols", "/etc/mime.types",
		"/etc/hosts", "/etc/host.conf", "/etc/gai.conf", "/etc/resolv.conf", "/run/systemd/resolve", "/etc/hostname", "/etc/mailname",
		"/etc/localtime", "/etc/timezone", "/etc/locale.alias", "/etc/locale.conf", "/etc/os-release",
		"/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki/tls/certs", "/etc/pki/ca-trust", "/etc/crypto-policies",
		"/etc/perl", "/etc/python3", "/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup",
		"/dev/urandom", "/dev/random",
	}
	systemDevices = []string{"/dev/null", "/dev/zero", "/dev/full"}
)

// restrictFiles puts the process into a Landlock domain. That alone keeps it
// from looking into processes outside, and from changing mounts.
func (c *change) restrictFiles() error {
	abi, err := syscall.LandlockGetABIVersion()
	if err != nil || abi <= 0 {
		if c.View != nil {
			return fmt.Errorf("read and write need Landlock, which this kernel does not have or has not enabled (%v)", err)
		}
		c.note("the kernel has no Landlock, so filters can look into and signal other processes of their user")
		return nil
	}
	c.landlock = abi
	handled := mayRead | mayExecute | mayChange | mayDevices
	if abi < abiTruncate {
		handled &^= syscall.AccessFSTruncate
	}
	if abi < abiRefer {
		handled &^= syscall.AccessFSRefer
	}
	var scoped uint64
	if abi >= abiScopes {
		scoped = syscall.ScopeSignal
		if c.NetworkOff {
			scoped |= syscall.ScopeAbstractUnixSocket
		}
	} else {
		c.note("the kernel's Landlock, version %d, does not keep filters from signalling other processes of their user", abi)
	}
	return c.enterDomain(&syscall.RulesetAttr{HandledAccessFS: handled, Scoped: scoped})
}

// enterDomain restricts this thread, which becomes the filter. The library's
// own function for that is for programs that go on: it reaches all threads, and
// needs /proc, which a chroot seldom has.
func (c *change) enterDomain(attr *syscall.RulesetAttr) error {
	ruleset, err := syscall.LandlockCreateRuleset(attr, 0)
	if err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	defer unix.Close(ruleset)
	switch handled := attr.HandledAccessFS; {
	case c.View != nil:
		err = c.allowView(ruleset, handled)
	case c.Protect != nil:
		err = c.allowRest(ruleset, handled)
	default:
		err = allow(ruleset, handled&^mayDevices, "/")
	}
	if err != nil {
		return err
	}
	if err := syscall.LandlockRestrictSelf(ruleset, 0); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return nil
}

// allow adds a path to what may be used, with as much of access as it can have.
func allow(ruleset int, access uint64, path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= onFiles
	}
	rule := syscall.PathBeneathAttr{AllowedAccess: access, ParentFd: fd}
	if err := syscall.LandlockAddPathBeneathRule(ruleset, &rule, 0); err != nil {
		return &os.PathError{Op: "landlock", Path: path, Err: err}
	}
	return nil
}

// allowView adds what a filter with a view may use.
func (c *change) allowView(ruleset int, handled uint64) error {
	for _, set := range []struct {
		access uint64
		paths  []string
		must   bool
	}{
		{mayRead | mayExecute, programDirs, false},
		{mayRead, systemFiles, false},
		{mayRead | syscall.AccessFSWriteFile, systemDevices, false},
		{mayRead | mayExecute, c.ownProgram(), true},
		{mayRead | mayExecute, c.View.Read, true},
		{mayRead | mayChange, c.View.Write, true},
	} {
		for _, path := range set.paths {
			if err := allow(ruleset, set.access&handled, path); err != nil && set.must {
				return fmt.Errorf("read or write: %w", err)
			}
		}
	}
	for dir, own := range map[string]bool{"/tmp": c.tmp, "/dev/shm": c.shm} {
		if !own {
			continue
		}
		if err := allow(ruleset, (mayRead|mayExecute|mayChange)&handled, dir); err != nil {
			return err
		}
	}
	return nil
}

// ownProgram gives what is the filter's own program. Where nothing can be
// hidden, a directory with something to hide in it is left out.
func (c *change) ownProgram() []string {
	if c.mounts {
		return c.View.Own
	}
	for _, path := range slices.Concat(c.View.Read, c.View.Write) {
		if c.exposes(path) {
			c.note("no mount namespace is allowed, so filters see what is in %s, also what is the server's", path)
		}
	}
	return slices.DeleteFunc(slices.Clone(c.View.Own), func(path string) bool {
		exposes := c.exposes(path)
		if exposes {
			c.note("no mount namespace is allowed, so filters do not see what is beside their program in %s, where the server's is", path)
		}
		return exposes
	})
}

// exposes reports whether something to hide is below a path of the view.
func (c *change) exposes(path string) bool {
	return slices.ContainsFunc(c.Hide, func(hide string) bool { return within(hide, filepath.Join("/", c.Chroot, path)) })
}
