package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/rehearse"
)

func filterReplayCommand() *cobra.Command {
	var r filterRun
	var changed bool
	c := &cobra.Command{
		Use:   "replay [--changed] [--json] RECORDING [--] COMMAND [ARGUMENT]...",
		Short: "Play a recorded exchange to a filter and compare its answers",
		Long: `Play a recorded exchange to a filter and show what it answers beside what was
answered then. A recording is text: "< " begins a line of the server, "> " one
of the filter, "#" and "!" begin notes. Sessions and tokens are taken as they
are. What the filter does not register now is not sent to it.

Lines are shown with a mark: < was sent, = is answered now as then, - was
answered then and is not now, + is answered now and was not then.

The exit status is 0 if all answers are the same, 1 if not, or if the filter
did something wrong, 2 if it could not be run or the recording not be read.`,
		Example: `  weir filter replay protocol/transcripts/article.txt -- ./myfilter
  weir filter replay --changed last-tuesday.txt -- ./myfilter -v`,
		Args: usageArgs(cobra.MinimumNArgs(2)),
	}
	asJSON := addJSONFlag(c)
	r.flags(c)
	c.Flags().BoolVar(&changed, "changed", false, "show only what is different")
	c.RunE = func(c *cobra.Command, args []string) error {
		argv := args[1:]
		if argv[0] == "--" { // behind RECORDING the flags have ended already
			argv = argv[1:]
		}
		o, err := r.options(c, argv)
		if err != nil {
			return err
		}
		sc, err := readRecording(args[0])
		if err != nil {
			return exitWith(exitNotRun, err)
		}
		got, err := rehearse.Replay(c.Context(), o, sc)
		if err != nil {
			return exitWith(exitNotRun, err)
		}
		if err := printComparison(c.OutOrStdout(), got, changed, *asJSON); err != nil {
			return err
		}
		if !got.Same() {
			return exitWith(exitFailure, errors.New("the answers are not those of "+args[0]))
		}
		return nil
	}
	return c
}

func readRecording(name string) (*rehearse.Scene, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the recording: %w", err)
	}
	defer f.Close()
	return rehearse.ReadScene(name, f)
}

// comparedLine is a line of replay --json.
type comparedLine struct {
	Mark string `json:"mark"`
	Line string `json:"line"`
}

func printComparison(out io.Writer, got *rehearse.Comparison, changed, asJSON bool) error {
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, l := range got.Lines {
		if changed && (l.Mark == rehearse.Sent || l.Mark == rehearse.Same) {
			continue
		}
		if asJSON {
			if err := enc.Encode(comparedLine{string(rune(l.Mark)), l.Line}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintln(w, printable(l.String()))
	}
	for _, f := range got.Findings {
		if asJSON {
			if err := enc.Encode(f); err != nil {
				return err
			}
			continue
		}
		fmt.Fprint(w, f)
	}
	return w.Flush()
}
