package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/admin"
	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/server"
)

// addQueueFlag gives c, and the commands below it, the flag -q.
func addQueueFlag(c *cobra.Command, o *options) {
	c.PersistentFlags().StringVarP(&o.queue, "queue", "q", "",
		"`directory` of the server's queue, instead of looking it up in the configuration")
}

// place is where the server is to be found, and what it calls itself.
type place struct {
	dir  string // of the queue
	host string
}

// locate finds the server of -q, or else that of the configuration.
func (o *options) locate() (place, error) {
	if o.queue != "" {
		return place{dir: o.queue, host: hostname()}, nil
	}
	cfg, err := config.Load(o.config, o.macros.clone())
	if err != nil {
		// Everybody may send mail, but not everybody may read the keys and
		// tables that the configuration names; and somebody may just be
		// editing it. What it says of the queue will do if a server is there,
		// and where it says nothing the default.
		dir := config.QueuePath(o.config, o.macros.clone())
		if dir == "" && o.config == config.DefaultPath {
			dir = config.DefaultQueuePath
		}
		if _, e := os.Stat(filepath.Join(dir, server.SMTPSocket)); e == nil && dir != "" {
			return place{dir: dir, host: hostname()}, nil
		}
		return place{}, exitWith(exitConfig, fmt.Errorf("where is the server? %w\n(-q DIR names its queue directly)", err))
	}
	return place{dir: cfg.Queue.Path, host: cfg.Hostname}, nil
}

// hostname is what a server of this machine is called if its configuration
// does not say otherwise.
func hostname() string {
	if cfg, err := config.LoadBytes("", nil, nil); err == nil {
		return cfg.Hostname
	}
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "localhost"
}

// dial connects to the control socket of the running server.
func (o *options) dial() (*admin.Client, error) {
	p, err := o.locate()
	if err != nil {
		return nil, err
	}
	client, err := admin.Dial(filepath.Join(p.dir, admin.Socket))
	return client, o.explain(err)
}

// explain adds to an error of a missing server what to do.
func (o *options) explain(err error) error {
	if !errors.Is(err, admin.ErrNoServer) {
		return err
	}
	return exitWith(exitTempFail, fmt.Errorf("%w; start it with: weir run -c %s", err, o.config))
}
