package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/admin"
)

func filterShowCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "show NAME [--json]",
		Short: "Show what the processes of a filter may do",
		Long: `Show the rights and limits of the running processes of a filter: users,
capabilities, root directory, namespaces, limits and open files, as the system
tells them of the process itself; and what is hidden from it, or is all that it
sees. A line "not done" has what the kernel or the rights of the server did not
allow.`,
		Example: `  weir filter show rspamd
  weir filter show rspamd --json | jq .capabilities`,
		Args: usageArgs(cobra.ExactArgs(1)),
	}
	asJSON := addJSONFlag(c)
	l := listing[admin.FilterProcess]{method: admin.MethodFilterShow, text: printFilterProcess, empty: "it has no process now"}
	c.RunE = func(c *cobra.Command, args []string) error { return l.print(c, o, admin.Name{Name: args[0]}, *asJSON) }
	return c
}

// noCapabilities is the set of none, as the system writes it.
const noCapabilities = "0000000000000000"

func printFilterProcess(w io.Writer, p admin.FilterProcess) {
	fmt.Fprintf(w, "process %d\n", p.PID)
	row := func(name string, values ...string) {
		fmt.Fprintf(w, "    %-14s %s\n", name, printable(strings.Join(values, " ")))
	}
	row("user", same(p.UIDs))
	row("group", same(p.GIDs))
	row("groups", p.Groups...)
	row("capabilities", orNone(p.Capabilities, noCapabilities), "(bounded by "+orNone(p.Bounding, noCapabilities)+")")
	row("new privileges", yesNo(!p.NoNewPrivs))
	row("system calls", map[bool]string{true: "filtered", false: "all"}[p.Seccomp])
	landlock := "none"
	if p.Landlock > 0 {
		landlock = fmt.Sprintf("version %d", p.Landlock)
	}
	row("landlock", landlock)
	row("session", map[bool]string{true: "its own", false: fmt.Sprintf("%d, group %d", p.Session, p.Group)}[p.Session == p.PID && p.Group == p.PID])
	row("root", p.Root)
	row("/tmp", map[bool]string{true: "its own", false: "everybody's"}[p.OwnTmp])
	row("namespaces", orNone(strings.Join(p.Namespaces, " "), ""))
	var limits []string
	for name, value := range p.Limits {
		limits = append(limits, name+" "+value)
	}
	slices.Sort(limits)
	row("limits", strings.Join(limits, ", "))
	row("descriptors", strings.Join(p.Descriptors, ", "))
	if p.View {
		row("reads", p.Read...)
		row("writes", orNone(strings.Join(p.Write, " "), ""))
	} else {
		row("sees", "what its user may, but what is hidden")
	}
	row("hidden", p.Hidden...)
	for _, n := range p.Notes {
		row("not done", n)
	}
}

// same gives the ids of a process, real to file system's, as one if they are.
func same(ids []string) string {
	if len(slices.Compact(slices.Clone(ids))) == 1 {
		return ids[0]
	}
	return strings.Join(ids, " ")
}

func orNone(s, none string) string {
	if s == none {
		return "none"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
