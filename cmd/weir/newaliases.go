package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newaliasesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "newaliases",
		Short: "Do nothing: tables are read again when their file changes",
		Long: `Do nothing, successfully. Programs that change /etc/aliases call newaliases;
weir has no database to rebuild: it reads a table's file again when it has changed.`,
		Example: `  newaliases`,
		RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprintln(c.OutOrStdout(), "nothing to do: weir reads a table again when its file has changed")
			return nil
		},
	}
}
