package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/admin"
)

func reloadCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "reload",
		Short: "Have the running server read its configuration again",
		Long: `Have the running server read its configuration again: the file and the macros
that it was started with. A configuration with an error changes nothing, and
this command shows the error as FILE:LINE:COLUMN.

Sessions that have begun end with the filters, rules and limits that they began
with; new ones get the new. Filters that are defined as before keep their
processes, new ones are ready before anybody gets them, and old ones end with
their last session. A filter that does not become ready is named; what its
on-failure says applies until it does. Listeners that stay refuse nobody.
Certificates are loaded again. The queue's path and user cannot change.
weir.conf(5) has the details.`,
		Example: `  weir check && weir reload
  kill -HUP PID                         the same; errors are in the log`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := o.dial()
			if err != nil {
				return unchanged(err)
			}
			defer client.Close()
			var done admin.Reloaded
			if err := client.Call(c.Context(), admin.MethodReload, nil, &done); err != nil {
				return unchanged(err)
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is in force\nfilters: %d kept, %d started, %d ending\nlisteners: %d kept, %d opened, %d closed\n",
				done.Config, done.FiltersKept, done.FiltersStarted, done.FiltersEnding,
				done.ListenersKept, done.ListenersOpened, done.ListenersClosed)
			for _, why := range done.FiltersFailing {
				fmt.Fprintf(c.ErrOrStderr(), "not ready, so its on-failure applies: %s\n", printable(why))
			}
			return nil
		},
	}
	addQueueFlag(c, o)
	return c
}

// unchanged says of an error of the configuration, ours or the server's, that
// it has had no effect.
func unchanged(err error) error {
	var exit *exitError
	switch {
	case errors.Is(err, admin.ErrNoServer):
		return fmt.Errorf("%w; if one runs and the queue path was changed: that takes a stop and a start", err)
	case errors.As(err, new(admin.Error)):
		return exitWith(exitConfig, fmt.Errorf("nothing has changed: %w", err))
	case errors.As(err, &exit) && exit.code == exitConfig:
		return exitWith(exitConfig, fmt.Errorf("nothing has changed: %w", exit.err))
	}
	return err
}
