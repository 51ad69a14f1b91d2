package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/admin"
)

func filterCommand(o *options) *cobra.Command {
	c := group("filter", "See and control the running server's filters, and write and try new ones",
		`See the filters of the running server: which there are and how they fare,
who is asked at which step of a session, and what each may do (list, order,
show). Start a filter again, or stop asking it for a while (restart, pause,
resume). Or write a filter and try it without a server (new, check, replay).`,
		`  weir filter list
  weir filter order
  weir filter restart rspamd
  weir filter new refuse --lang python
  weir filter check -- ./refuse.sh`,
		filterListCommand(o), filterOrderCommand(o), filterShowCommand(o),
		filterControlCommand(o, filterRestart), filterControlCommand(o, filterPause), filterControlCommand(o, filterResume),
		filterCheckCommand(), filterReplayCommand(), filterNewCommand())
	addQueueFlag(c, o)
	return c
}

func filterListCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the filters, with the state of their processes",
		Long: `List the filters in the order of the configuration. For a filter that is a
process: its state (starting, ready, restarting, ending, paused), process ids,
for how long it has been ready, how often it had to be started again, for what
it registered, what it was asked and how it answered: how many answers of each
kind, within which time half and 99 of 100 of them came, and its last failure.`,
		Example: `  weir filter list
  weir filter list --json | jq -r 'select(.restarts > 0).name'`,
		Args: usageArgs(cobra.NoArgs),
	}
	asJSON := addJSONFlag(c)
	l := listing[admin.Filter]{method: admin.MethodFilterList, text: printFilter, empty: "no filters are configured"}
	c.RunE = func(c *cobra.Command, _ []string) error { return l.print(c, o, nil, *asJSON) }
	return c
}

func printFilter(w io.Writer, f admin.Filter) {
	fmt.Fprintf(w, "%-16s %-8s", f.Name, f.Kind)
	if f.State != "" {
		fmt.Fprintf(w, " %s", f.State)
	}
	for i, pid := range f.PIDs {
		if i == 0 {
			fmt.Fprint(w, ", process")
		}
		fmt.Fprintf(w, " %d", pid)
	}
	if f.Load != nil && f.Load.Uptime > 0 {
		fmt.Fprintf(w, ", up %s", span(f.Load.Uptime))
	}
	if f.Restarts > 0 {
		fmt.Fprintf(w, ", restarted %s", plural(f.Restarts, "time"))
	}
	fmt.Fprintln(w)
	for _, row := range [][2]string{
		{procText(f.Proc), f.Detail},
		{"asked at ", strings.Join(f.Phases, " ")},
		{"told of ", strings.Join(f.Reports, " ")},
		{"", loadText(f.Load)},
		{"last failure: ", f.LastErr},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "    %s%s\n", row[0], printable(row[1]))
		}
	}
}

// procText leads over to the command of a process that has another name than its
// filter.
func procText(name string) string {
	if name == "" {
		return ""
	}
	return "proc " + name + ": "
}

func filterOrderCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "order [--json]",
		Short: "Show for each listener who is asked at which phase, in order",
		Long: `Show for each listener which filters are asked at each phase of a session, in
the order in which they are asked. A filter is listed where it registered (a
built-in one where it is configured); its condition follows it. The first that
does not say proceed decides, and those behind it are not asked.`,
		Example: `  weir filter order
  weir filter order --json`,
		Args: usageArgs(cobra.NoArgs),
	}
	asJSON := addJSONFlag(c)
	l := listing[admin.Order]{method: admin.MethodFilterOrder, text: printOrder, empty: "there are no listeners"}
	c.RunE = func(c *cobra.Command, _ []string) error { return l.print(c, o, nil, *asJSON) }
	return c
}

func printOrder(w io.Writer, ord admin.Order) {
	fmt.Fprint(w, ord.Listener)
	if ord.Tag != "" {
		fmt.Fprintf(w, " tag %s", ord.Tag)
	}
	if ord.Filter == "" {
		fmt.Fprintln(w, ": no filter")
		return
	}
	fmt.Fprintf(w, ": filter %s\n", ord.Filter)
	for _, p := range ord.Phases {
		steps := make([]string, len(p.Filters))
		for i, s := range p.Filters {
			steps[i] = s.Filter
			if s.When != "" {
				steps[i] += " (when " + s.When + ")"
			}
		}
		fmt.Fprintf(w, "    %-10s %s\n", p.Phase, strings.Join(steps, ", "))
	}
}
