package main

import (
	"fmt"
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/config"
)

// options are what all commands share.
type options struct {
	config string
	macros macros
	queue  string // -q: the queue's directory, instead of asking the configuration
}

func newRoot() *cobra.Command {
	o := &options{config: config.DefaultPath}
	root := &cobra.Command{
		Use:   "weir",
		Short: "A mail server built around filters",
		Long: `weir is a mail server built around filters.

It accepts mail over SMTP, asks filters at each step of a session, keeps what
it accepted in a durable queue and delivers it. weir(8) describes the commands,
weir.conf(5) the configuration.`,
		Example: `  weir check -c /etc/weir/weir.conf     is the configuration good?
  weir run                              run the server in the foreground
  weir filter order                     who is asked, on which listener, when
  weir queue list                       what waits for delivery
  echo hello | weir send alice          hand a message in`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return exitWith(exitUsage, fmt.Errorf("%w; see: %s --help", err, c.CommandPath()))
	})
	f := root.PersistentFlags()
	f.StringVarP(&o.config, "config", "c", o.config, "configuration `file`")
	f.VarP(&o.macros, "define", "D", "define a macro for the configuration, `name=value`; may be repeated")
	root.AddCommand(
		runCommand(o), reloadCommand(o), checkCommand(o), sendCommand(o), sendmailCommand(o),
		filterCommand(o), queueCommand(o), versionCommand(o), newaliasesCommand(),
	)
	return root
}

// usageArgs makes the exit code of a wrong number of arguments that of a
// wrong usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return exitWith(exitUsage, fmt.Errorf("%w; see: %s --help", err, c.CommandPath()))
		}
		return nil
	}
}

// group makes a command that only holds others, and says so when it is called
// without one or with one that it does not have.
func group(use, short, long, example string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return exitWith(exitUsage, fmt.Errorf("%s has no command %q; see: %s --help", c.CommandPath(), args[0], c.CommandPath()))
		},
	}
	c.AddCommand(children...)
	return c
}

// macros is the value of -D.
type macros map[string]string

// Set takes one name=value.
func (m *macros) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return fmt.Errorf("expected name=value")
	}
	if *m == nil {
		*m = make(macros)
	}
	(*m)[name] = value
	return nil
}

// String gives nothing: no macro is defined by default.
func (m *macros) String() string { return "" }

// Type names the value in help texts.
func (m *macros) Type() string { return "name=value" }

func (m macros) clone() map[string]string { return maps.Clone(m) }
