package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/config"
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

Of a good configuration it is also tried whether this machine has the addresses,
the users and the programs of filters that it names, and whether the kernel and
the rights of whoever runs this allow all that isolates filters. What is not
there or not allowed is told on standard error. It is no error: the server would
run.`,
		Example: `  weir check
  weir check -c etc/quickstart.conf -D dir=$PWD/run -D user=$USER -D home=$PWD`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(o.config, o.macros.clone())
			if err != nil {
				return exitWith(exitConfig, err)
			}
			lines, err := server.Check(c.Context(), cfg)
			if err != nil {
				return exitWith(exitConfig, err)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is good: %s, %s, %s, %s\n", o.config,
				plural(len(cfg.Listeners), "listener"), plural(len(cfg.Filters), "filter"),
				plural(len(cfg.Actions), "action"), plural(len(cfg.Matches), "rule"))
			for _, line := range lines {
				fmt.Fprintln(c.ErrOrStderr(), line)
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
