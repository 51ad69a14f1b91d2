package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/server"
)

func runCommand(o *options) *cobra.Command {
	var debug, strict bool
	c := &cobra.Command{
		Use:   "run [-d] [--strict] [-c FILE] [-D NAME=VALUE]...",
		Short: "Run the server in the foreground",
		Long: `Run the server in the foreground, with its log on standard error.

SIGTERM or SIGINT ends it: it takes no more sessions, lets transactions that
have begun come to their end, and waits for deliveries under way. What it has
accepted is in the queue and is delivered after the next start. A second signal
ends it at once.

SIGHUP has it read its configuration again, as weir reload does; what is wrong
with that is in the log.

A filter that is not ready is started again, and mail gets what its on-failure
says. With --strict the server does not start at all if a filter is not ready
whose on-failure is tempfail or reject.`,
		Example: `  weir run
  weir run -d -c etc/quickstart.conf -D dir=$PWD/run -D user=$USER -D home=$PWD`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), debug, strict) },
	}
	c.Flags().BoolVarP(&debug, "debug", "d", false, "log every event")
	c.Flags().BoolVar(&strict, "strict", false, "do not start without the filters that mail is refused without")
	return c
}

// run is the server until ctx ends: one process, or as root, where there is a
// user for it, a parent with an engine that has no rights.
func (o *options) run(ctx context.Context, debug, strict bool) error {
	// Nobody else writes to what the server, filters and deliveries make.
	syscall.Umask(syscall.Umask(0o077) | 0o022)
	hangup := make(chan os.Signal, 1) // until it is heard SIGHUP would end us
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	cfg, snap, err := o.snapshot()
	if err != nil {
		return exitWith(exitConfig, err)
	}
	log := server.NewLog(debug)
	user, separate, note, err := server.Separate(cfg)
	if err != nil {
		return exitWith(exitConfig, err)
	}
	if separate {
		p, err := server.NewParent(cfg, snap, user, server.ParentOptions{
			Log: log, Debug: debug, Version: programVersion(), Strict: strict, Load: o.snapshot,
		})
		if err != nil {
			return err
		}
		go func() {
			for range hangup {
				p.Hangup()
			}
		}()
		return p.Run(ctx)
	}
	if note != "" {
		log.Warn(note)
	}
	s, err := server.New(cfg, server.Options{
		Log:     log,
		Version: programVersion(),
		Strict:  strict,
		Load:    func() (*config.Config, error) { return config.Load(o.config, o.macros.clone()) },
	})
	if err != nil {
		return err
	}
	go s.ReloadOn(ctx, hangup)
	return s.Run(ctx)
}

// snapshot reads the configuration for a server that is to be several
// processes.
func (o *options) snapshot() (*config.Config, *config.Snapshot, error) {
	return config.LoadSnapshot(o.config, o.macros.clone())
}
