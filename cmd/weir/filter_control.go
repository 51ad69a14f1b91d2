package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/admin"
)

// filterControl is a command that does something to one filter.
type filterControl struct {
	method, use, short, long, example, done string
}

var filterRestart = filterControl{
	method: admin.MethodFilterRestart,
	use:    "restart NAME",
	short:  "Start a filter's processes again, one after the other",
	long: `Start a filter's processes again, one after the other. Each new process is ready
before sessions go over to it, and the old one ends when the transactions that
began on it are over, or after ten minutes, so no mail is refused. If a new
process does not become ready the old one goes on, and this command says why.`,
	example: `  make install && weir filter restart rspamd`,
	done:    "restarted",
}

var filterPause = filterControl{
	method: admin.MethodFilterPause,
	use:    "pause NAME",
	short:  "Stop asking a filter: its failure policy applies",
	long: `Stop asking a filter. Mail that it would have been asked about gets what its
on-failure says: with tempfail, the default, the client is told to come again,
with accept the filter is passed over, with hold mail waits in the queue. Its
processes go on. The pause ends with weir filter resume, with a reload in which
the filter is defined differently, or with the server, also if that crashes.`,
	example: `  weir filter pause rspamd`,
	done:    "paused",
}

var filterResume = filterControl{
	method:  admin.MethodFilterResume,
	use:     "resume NAME",
	short:   "Ask a filter again that was paused",
	long:    `Ask a filter again that was paused.`,
	example: `  weir filter resume rspamd`,
	done:    "resumed",
}

func filterControlCommand(o *options, f filterControl) *cobra.Command {
	return &cobra.Command{
		Use: f.use, Short: f.short, Long: f.long, Example: f.example,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := o.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			if err := client.Call(c.Context(), f.method, admin.Name{Name: args[0]}, nil); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %s\n", args[0], f.done)
			return nil
		},
	}
}

// loadText gives what a filter was asked and how it answered.
func loadText(l *admin.Load) string {
	if l == nil || l.Questions == 0 {
		return ""
	}
	text := "asked " + plural(int(l.Questions), "time")
	if len(l.Decisions) > 0 {
		var all []string
		for _, d := range slices.Sorted(maps.Keys(l.Decisions)) {
			all = append(all, fmt.Sprintf("%s %d", d, l.Decisions[d]))
		}
		text += ": " + strings.Join(all, ", ")
	}
	if l.P50 > 0 {
		text += fmt.Sprintf("; half within %v, 99 of 100 within %v", round(l.P50), round(l.P99))
	}
	return text
}

// round leaves two digits of a time.
func round(d time.Duration) time.Duration {
	step := time.Duration(1)
	for d/step >= 100 {
		step *= 10
	}
	return d.Round(step)
}
