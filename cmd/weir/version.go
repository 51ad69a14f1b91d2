package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/admin"
)

func versionCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Show the version, and that of the running server",
		Long: `Show the version of this program and, if a server runs, of that: after an
upgrade they differ until the server is started again.`,
		Example: `  weir version`,
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			out := c.OutOrStdout()
			fmt.Fprintf(out, "weir %s (%s, %s/%s)\n", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			client, err := o.dial()
			if err != nil {
				return nil // no server, or none that we may ask: the first line was the answer
			}
			defer client.Close()
			var v admin.Version
			if err := client.Call(c.Context(), admin.MethodVersion, nil, &v); err != nil {
				return err
			}
			fmt.Fprintf(out, "server: weir %s (%s), process %d, since %s, configuration %s\n",
				v.Version, v.Go, v.PID, v.Started.Local().Format(time.DateTime), v.Config)
			return nil
		},
	}
	addQueueFlag(c, o)
	return c
}
