package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/config"
	"github.com/weirmail/weir/internal/privsep"
	"github.com/weirmail/weir/internal/server"
)

func checkCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "check [-c FILE] [-D NAME=VALUE]...",
		Short: "Check the configuration without running it",
		Long: `Check the configuration without running it: its grammar, its tables, its
certificates and, for root, the queue's user. Every error is shown as
FILE:LINE:COLUMN with what was found and what was expected; the exit status is
then 78.

Of a good configuration it is also tried whether filters could be started, but
for their programs, with the rights of whoever runs this: a user or a directory
that does not exist, and what the kernel does not allow of what isolates
filters, is told on standard error. It is no error: the server would run.`,
		Example: `  weir check
  weir check -c etc/quickstart.conf -D dir=$PWD/run -D user=$USER -D home=$PWD`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(o.config, o.macros.clone())
			if err != nil {
				return exitWith(exitConfig, err)
			}
			_, _, note, err := server.Separate(cfg)
			if err != nil {
				return exitWith(exitConfig, err)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is good: %s, %s, %s, %s\n", o.config,
				plural(len(cfg.Listeners), "listener"), plural(len(cfg.Filters), "filter"),
				plural(len(cfg.Actions), "action"), plural(len(cfg.Matches), "rule"))
			if note != "" {
				fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", o.config, note)
			}
			for _, line := range privsep.New(cfg, slog.New(slog.DiscardHandler)).Check() {
				fmt.Fprintf(c.ErrOrStderr(), "%s (for the user who checks)\n", line)
			}
			return nil
		},
	}
}

// plural gives "1 rule", "2 rules".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
