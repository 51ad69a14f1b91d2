package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/rehearse"
)

func filterNewCommand() *cobra.Command {
	var lang string
	c := &cobra.Command{
		Use:   "new NAME --lang " + strings.Join(rehearse.Languages(), "|"),
		Short: "Write the beginning of a filter, with its test",
		Long: `Write the beginning of a filter into a new folder NAME: a program that refuses
mail from one domain, its test and a README. The line that plugs it into
weir.conf is printed.

NAME is lower-case letters, digits and dashes, and begins with a letter.`,
		Example: `  weir filter new refuse --lang python
  weir filter new refuse --lang sh && weir filter check refuse/refuse.sh`,
		Args: usageArgs(cobra.ExactArgs(1)),
	}
	c.Flags().StringVar(&lang, "lang", "", "its `language`: "+strings.Join(rehearse.Languages(), ", "))
	c.RunE = func(c *cobra.Command, args []string) error {
		if !slices.Contains(rehearse.Languages(), lang) {
			return exitWith(exitUsage, fmt.Errorf("in which language? expected --lang %s", strings.Join(rehearse.Languages(), "|")))
		}
		if !rehearse.PlausibleName(filepath.Base(args[0])) {
			return exitWith(exitUsage, fmt.Errorf("%q cannot be the name of a filter; see: %s --help", args[0], c.CommandPath()))
		}
		dir, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		made, err := rehearse.NewFilter(dir, lang)
		if err != nil {
			return err
		}
		w := c.OutOrStdout()
		for _, file := range made.Files {
			fmt.Fprintln(w, "wrote", filepath.Join(args[0], file))
		}
		fmt.Fprintf(w, "%s/README.md says how to test it. Into weir.conf goes:\n\n    %s\n", args[0], made.Config)
		return nil
	}
	return c
}
