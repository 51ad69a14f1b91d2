package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/rehearse"
)

// exitNotRun is the exit status of filter check and replay for a filter that
// could not be run at all, so that CI can tell it from a faulty one.
const exitNotRun = 2

// filterRun has the flags of the commands that run a filter.
type filterRun struct {
	timeout time.Duration
	start   time.Duration
	log     bool
}

func (r *filterRun) flags(c *cobra.Command) {
	f := c.Flags()
	f.SetInterspersed(false) // what follows the command is the command's
	f.DurationVar(&r.timeout, "timeout", rehearse.DefaultTimeout, "how long the filter may take for an `answer`")
	f.DurationVar(&r.start, "start-timeout", rehearse.DefaultStartTimeout, "how long it may take until register|ready")
	f.BoolVar(&r.log, "log", false, "show what the filter writes to standard error")
}

func (r *filterRun) options(c *cobra.Command, argv []string) (rehearse.Options, error) {
	if r.timeout <= 0 || r.start <= 0 {
		return rehearse.Options{}, exitWith(exitUsage, errors.New("a time limit must be more than 0"))
	}
	o := rehearse.Options{Argv: argv, Timeout: r.timeout, StartTimeout: r.start}
	if r.log {
		o.Log = c.ErrOrStderr()
	}
	return o, nil
}

func filterCheckCommand() *cobra.Command {
	var r filterRun
	c := &cobra.Command{
		Use:   "check [--json] [--timeout DURATION] [--] COMMAND [ARGUMENT]...",
		Short: "Run a filter without a server and say what it does wrong",
		Long: `Run a filter without a server and say what it does wrong: the handshake, whole
sessions, odd input (pipes in fields, 8-bit bytes, long lines, empty and large
messages), many sessions at once, clients that leave. What the filter decides
is its own affair; it is judged by the protocol alone.

Each fault is told by name, with the line, the session and what was expected.
Remarks are worth knowing and no faults. A filter whose faults repeat is not
played to the end.

The exit status is 0 if no fault was found, 1 if one was, 2 if the filter could
not be run.`,
		Example: `  weir filter check ./refuse.sh
  weir filter check -- python3 myfilter.py --strict
  weir filter check --timeout 60s --json -- ./slow | jq -r 'select(.name).name'`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
	}
	asJSON := addJSONFlag(c)
	r.flags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		o, err := r.options(c, args)
		if err != nil {
			return err
		}
		result, err := rehearse.Check(c.Context(), o)
		if err != nil {
			return exitWith(exitNotRun, err)
		}
		if err := printResult(c, result, *asJSON); err != nil {
			return err
		}
		if n := result.Faults(); n > 0 {
			return exitWith(exitFailure, fmt.Errorf("%s has %s", args[0], plural(n, "fault")))
		}
		return nil
	}
	return c
}

// summary is the last line of check --json.
type summary struct {
	Good       bool     `json:"good"`
	Registered []string `json:"registered"`
	Scenes     int      `json:"scenes"`
	NotPlayed  int      `json:"not_played"`
	Questions  int      `json:"questions"`
	Lines      int      `json:"lines"`
	Faults     int      `json:"faults"`
	Remarks    int      `json:"remarks"`
}

func printResult(c *cobra.Command, r *rehearse.Result, asJSON bool) error {
	w := c.OutOrStdout()
	if !asJSON {
		for _, f := range r.Findings {
			fmt.Fprint(w, f)
		}
		_, err := fmt.Fprintln(w, r.Summary())
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, f := range r.Findings {
		if err := enc.Encode(f); err != nil {
			return err
		}
	}
	faults := r.Faults()
	return enc.Encode(summary{
		Good: faults == 0, Registered: r.Registered, Scenes: r.Played, NotPlayed: r.NotPlayed,
		Questions: r.Questions, Lines: r.Lines, Faults: faults, Remarks: len(r.Findings) - faults,
	})
}
