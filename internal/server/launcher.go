package server

import (
	"net"
	"os"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/mailflow/filter"
	"github.com/weirmail/weir/internal/privsep"
)

// launcher starts the processes of filters and knows what applies to them.
type launcher interface {
	filter.Launcher
	For(cfg *config.Config) launcher           // of another configuration
	Show(pid int) (admin.FilterProcess, error) // read back from the system
	Guard(net.Listener) net.Listener           // hangs up on filters
	Close()                                    // after the last process
}

// ownLauncher makes filters children of our own.
type ownLauncher struct{ *privsep.Launcher }

func (l ownLauncher) Start(c *config.Proc, argv []string, stdio [3]*os.File) (filter.Process, error) {
	cmd, err := l.Launcher.Start(c, argv, stdio)
	if err != nil {
		return nil, err
	}
	return filter.Child(cmd, l.End), nil
}

func (l ownLauncher) For(cfg *config.Config) launcher { return ownLauncher{l.Launcher.For(cfg)} }
