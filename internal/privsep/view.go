package privsep

import (
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// What Landlock can say of files, as of the version of its interface in which
// each came.
const (
	mayRead    landlock.AccessFSSet = ll.AccessFSReadFile | ll.AccessFSReadDir
	mayExecute landlock.AccessFSSet = ll.AccessFSExecute
	mayChange  landlock.AccessFSSet = ll.AccessFSWriteFile | ll.AccessFSRemoveDir | ll.AccessFSRemoveFile |
		ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSock | ll.AccessFSMakeFifo | ll.AccessFSMakeSym |
		ll.AccessFSRefer | ll.AccessFSTruncate
	mayDevices landlock.AccessFSSet = ll.AccessFSMakeChar | ll.AccessFSMakeBlock

	onFiles landlock.AccessFSSet = ll.AccessFSReadFile | ll.AccessFSExecute | ll.AccessFSWriteFile | ll.AccessFSTruncate
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
	abi, err := ll.LandlockGetABIVersion()
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
		handled &^= ll.AccessFSTruncate
	}
	if abi < abiRefer {
		handled &^= ll.AccessFSRefer
	}
	var scoped landlock.ScopedSet
	if abi >= abiScopes {
		scoped = ll.ScopeSignal
		if c.NetworkOff {
			scoped |= ll.ScopeAbstractUnixSocket
		}
	} else {
		c.note("the kernel's Landlock, version %d, does not keep filters from signalling other processes of their user", abi)
	}
	rules, err := c.rules(handled)
	if err != nil {
		return err
	}
	cfg, err := landlock.NewConfig(handled, scoped)
	if err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if err := cfg.Restrict(rules...); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return nil
}

// rules gives what the filter may do where.
func (c *change) rules(handled landlock.AccessFSSet) ([]landlock.Rule, error) {
	if c.View == nil {
		return []landlock.Rule{landlock.PathAccess(handled&^mayDevices, "/")}, nil
	}
	var rules []landlock.Rule
	for _, set := range []struct {
		access landlock.AccessFSSet
		paths  []string
		must   bool
	}{
		{mayRead | mayExecute, programDirs, false},
		{mayRead, systemFiles, false},
		{mayRead | ll.AccessFSWriteFile, systemDevices, false},
		{mayRead | mayExecute, c.View.Read, true},
		{mayRead | mayChange, c.View.Write, true},
	} {
		for _, path := range set.paths {
			fi, err := os.Stat(path)
			if err != nil {
				if set.must {
					return nil, fmt.Errorf("read or write: %w", err)
				}
				continue
			}
			access := set.access & handled
			if !fi.IsDir() {
				access &= onFiles
			}
			rules = append(rules, landlock.PathAccess(access, path))
		}
	}
	if c.tmp {
		rules = append(rules, landlock.PathAccess((mayRead|mayExecute|mayChange)&handled, "/tmp"))
	}
	return rules, nil
}
