package privsep

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// Root without capabilities still owns most of the system: what it may write
// makes it root again, by the next program that root runs. So a filter that is
// root since there is nobody else does not write to systemDirs, nor to
// homeDirs unless it lives there, opens no devices, and does not see secrets.
var (
	systemDirs = []string{
		"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/etc", "/boot", "/dev", "/proc", "/sys", "/run/systemd", "/run/udev",
		"/var/lib/dpkg", "/var/lib/rpm", "/var/lib/systemd", "/var/spool/cron", "/var/spool/anacron", "/var/spool/at",
	}
	homeDirs = []string{"/root", "/opt"}
	secrets  = []string{"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssl/private", "/root/.ssh"}
)

// demote takes what is the system's from a filter that is root, with its own
// program in own.
func (sp *spec) demote(own []string) {
	sp.Protect = slices.Clone(systemDirs)
	for _, home := range homeDirs {
		if !slices.ContainsFunc(own, func(path string) bool { return within(path, home) }) {
			sp.Protect = append(sp.Protect, home)
		}
	}
	keys, _ := filepath.Glob("/etc/ssh/ssh_host_*_key")
	sp.Hide = slices.Concat(sp.Hide, secrets, keys)
}

// allowRest adds everything to what may be used, but devices, and Protect for
// writing.
func (c *change) allowRest(ruleset int, handled uint64) error {
	const devices = "/dev"
	read := handled & (mayRead | mayExecute)
	err := allowBut(ruleset, read, "/", []string{devices})
	if err == nil {
		err = allowBut(ruleset, handled&mayChange, "/", c.Protect)
	}
	if err == nil && c.shm {
		err = allow(ruleset, handled&(mayRead|mayChange), "/dev/shm")
	}
	allow(ruleset, syscall.AccessFSReadDir, devices)
	for _, path := range append([]string{"/dev/urandom", "/dev/random"}, systemDevices...) {
		allow(ruleset, handled&(mayRead|syscall.AccessFSWriteFile), path)
	}
	return err
}

// allowBut adds a directory without what is in but, which are absolute paths:
// all else that is there now.
func allowBut(ruleset int, access uint64, dir string, but []string) error {
	in := slices.DeleteFunc(slices.Clone(but), func(path string) bool { return !within(path, dir) })
	if len(in) == 0 {
		return allow(ruleset, access, dir)
	}
	if slices.Contains(in, dir) {
		return nil
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		path := filepath.Join(dir, n.Name())
		if n.Type()&os.ModeSymlink != 0 {
			continue // what it leads to has its own rule
		}
		if err := allowBut(ruleset, access, path, in); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
