package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/server"
)

func runCommand(o *options) *cobra.Command {
	var debug bool
	c := &cobra.Command{
		Use:   "run [-d] [-c FILE] [-D NAME=VALUE]...",
		Short: "Run the server in the foreground",
		Long: `Run the server in the foreground, with its log on standard error.

SIGTERM or SIGINT ends it: it takes no more sessions, lets transactions that
have begun come to their end, and waits for deliveries under way. What it has
accepted is in the queue and is delivered after the next start. A second signal
ends it at once.`,
		Example: `  weir run
  weir run -d -c etc/quickstart.conf -D dir=$PWD/run -D user=$USER`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(o.config, o.macros.clone())
			if err != nil {
				return exitWith(exitConfig, err)
			}
			s, err := server.New(cfg, server.Options{
				Log:     newLog(debug),
				Version: programVersion(),
			})
			if err != nil {
				return err
			}
			return s.Run(c.Context())
		},
	}
	c.Flags().BoolVarP(&debug, "debug", "d", false, "log every event")
	return c
}

// newLog gives the log of the server: one line for each event, key=value.
func newLog(debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
