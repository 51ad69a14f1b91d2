package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

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
ends it at once.

SIGHUP has it read its configuration again, as weir reload does; what is wrong
with that is in the log.`,
		Example: `  weir run
  weir run -d -c etc/quickstart.conf -D dir=$PWD/run -D user=$USER`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			hangup := make(chan os.Signal, 1) // until it is heard SIGHUP would end us
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			load := func() (*config.Config, error) { return config.Load(o.config, o.macros.clone()) }
			cfg, err := load()
			if err != nil {
				return exitWith(exitConfig, err)
			}
			s, err := server.New(cfg, server.Options{
				Log:     newLog(debug),
				Version: programVersion(),
				Load:    load,
			})
			if err != nil {
				return err
			}
			go reloadOn(c.Context(), hangup, s)
			return s.Run(c.Context())
		},
	}
	c.Flags().BoolVarP(&debug, "debug", "d", false, "log every event")
	return c
}

// reloadOn reloads the configuration at each signal until ctx ends. Signals
// that come while one is heeded count as one.
func reloadOn(ctx context.Context, hangup <-chan os.Signal, s *server.Server) {
	for {
		select {
		case <-hangup:
			s.Reload(ctx) // logs what is wrong
		case <-ctx.Done():
			return
		}
	}
}

// newLog gives the log of the server: one line for each event, key=value.
func newLog(debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
