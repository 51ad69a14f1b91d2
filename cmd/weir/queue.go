package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/admin"
)

func queueCommand(o *options) *cobra.Command {
	c := group("queue", "See and change the queue of the running server",
		`See and change the queue of the running server.

A message has an id of 8 hex digits, the one in the reply to its sender and in
the log. Each of its copies on the way to a recipient is an envelope with an id
of 16, which begins with the message's. Where a command takes ids, both do, and
the word all.`,
		`  weir queue list
  weir queue show 0d5deb10
  weir queue retry all
  weir queue remove 0d5deb10ae58decf`,
		queueListCommand(o), queueCountCommand(o), queueShowCommand(o),
		queueChangeCommand(o, queueRemove), queueChangeCommand(o, queueRetry), queueChangeCommand(o, queueRelease))
	addQueueFlag(c, o)
	return c
}

func queueListCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "list [--json] [ID...|all]",
		Short: "List what waits for delivery",
		Long: `List the envelopes that wait for delivery, oldest first: id, state, size, age,
attempts made, when the next one is due, reverse-path, recipient and what the
last attempt ended with. Also called mailq.`,
		Example: `  weir queue list
  weir queue list 0d5deb10
  weir queue list --json | jq -r 'select(.attempts > 3).id'`,
	}
	asJSON := addJSONFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		sel, err := selection(c, args)
		if err != nil {
			return err
		}
		l := queueListing(time.Now())
		if len(args) > 0 && !sel.All {
			l.empty = "no such envelope in the queue"
		}
		return l.print(c, o, sel, *asJSON)
	}
	return c
}

func queueListing(now time.Time) listing[admin.Envelope] {
	return listing[admin.Envelope]{
		method: admin.MethodQueueList,
		text:   func(w io.Writer, e admin.Envelope) { printEnvelope(w, e, now) },
		empty:  "the queue is empty",
	}
}

// selection reads ids; a wrong one is wrong usage.
func selection(c *cobra.Command, args []string) (admin.Selection, error) {
	sel, err := admin.ParseSelection(args)
	if err != nil {
		return sel, exitWith(exitUsage, fmt.Errorf("%w; see: %s --help", err, c.CommandPath()))
	}
	return sel, nil
}

func printEnvelope(w io.Writer, e admin.Envelope, now time.Time) {
	next := "now"
	switch {
	case e.State == "active", e.State == "held":
		next = "-"
	case e.Next.After(now):
		next = "in " + span(e.Next.Sub(now))
	}
	fmt.Fprintf(w, "%s %-7s %6s %4s old, %d tried, next %-6s <%s> -> <%s>",
		e.ID, e.State, size(e.Size), span(now.Sub(e.Received)), e.Attempts, next, printable(e.Sender), printable(e.Rcpt))
	if e.Dest != e.Rcpt {
		fmt.Fprintf(w, " as <%s>", printable(e.Dest))
	}
	if e.LastErr != "" {
		fmt.Fprintf(w, ": %s", printable(e.LastErr))
	}
	fmt.Fprintln(w)
}

func queueCountCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "count [--json]",
		Short: "Count what waits for delivery",
		Example: `  weir queue count
  weir queue count --json | jq .envelopes`,
		Args: usageArgs(cobra.NoArgs),
	}
	asJSON := addJSONFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		client, err := o.dial()
		if err != nil {
			return err
		}
		defer client.Close()
		var n admin.Count
		if err := client.Call(c.Context(), admin.MethodQueueCount, nil, &n); err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(c.OutOrStdout()).Encode(n)
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s, %s, of which %d under delivery and %d held\n",
			plural(n.Messages, "message"), plural(n.Envelopes, "envelope"), n.Active, n.Held)
		return err
	}
	return c
}

func queueShowCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "show [--json] ID...",
		Short: "Show messages: where they came from, their header, their envelopes",
		Long: `Show messages of the queue: where they came from, their header section and
their envelopes. The id of an envelope shows its message.`,
		Example: `  weir queue show 0d5deb10`,
		Args:    usageArgs(cobra.MinimumNArgs(1)),
	}
	asJSON := addJSONFlag(c)
	now := time.Now()
	l := listing[admin.Message]{
		method: admin.MethodQueueShow,
		text:   func(w io.Writer, m admin.Message) { printMessage(w, m, now) },
		empty:  "no such message in the queue",
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		sel, err := selection(c, args)
		if err != nil {
			return err
		}
		return l.print(c, o, sel, *asJSON)
	}
	return c
}

func printMessage(w io.Writer, m admin.Message, now time.Time) {
	fmt.Fprintf(w, "message %s from <%s>, %d bytes, %s old\n", m.ID, printable(m.Sender), m.Size, span(now.Sub(m.Received)))
	if m.Source != "" {
		fmt.Fprintf(w, "received from %s (%s) in session %s", printable(m.Source), printable(m.Helo), m.Session)
		if m.AuthUser != "" {
			fmt.Fprintf(w, ", authenticated as %s", printable(m.AuthUser))
		}
		if m.Tag != "" {
			fmt.Fprintf(w, ", listener tagged %s", m.Tag)
		}
		fmt.Fprintln(w)
	}
	for _, e := range m.Envelopes {
		printEnvelope(w, e, now)
	}
	for line := range strings.Lines(m.Header) {
		fmt.Fprintf(w, "    %s\n", printable(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    ")))
	}
}

// queueChange is a command that changes the queue.
type queueChange struct {
	method, use, short, long, example, done string
}

var queueRemove = queueChange{
	method: admin.MethodQueueRemove,
	use:    "remove ID...|all",
	short:  "Remove messages or single envelopes; nobody is told",
	long: `Remove messages, or single envelopes, from the queue. Their senders are not
told. An attempt under way may still deliver what it carries.`,
	example: `  weir queue remove 0d5deb10
  weir queue remove 0d5deb10ae58decf
  weir queue list --json | jq -r 'select(.rcpt == "old@example.org").id' | xargs weir queue remove`,
	done: "removed",
}

var queueRetry = queueChange{
	method: admin.MethodQueueRetry,
	use:    "retry ID...|all",
	short:  "Try delivery now instead of when it is due",
	example: `  weir queue retry all
  weir queue retry 0d5deb10`,
	long: `Try delivery of messages, or single envelopes, now instead of when their next
attempt is due.`,
	done: "scheduled",
}

var queueRelease = queueChange{
	method: admin.MethodQueueRelease,
	use:    "release ID...|all",
	short:  "Let held messages or single envelopes go",
	example: `  weir queue release all
  weir queue release 0d5deb10`,
	long: `Let messages, or single envelopes, go that are held: because a filter with
on-failure hold could not have its say on them. Their delivery is due at once.
Why an envelope is held, weir queue list shows.`,
	done: "released",
}

func queueChangeCommand(o *options, q queueChange) *cobra.Command {
	c := &cobra.Command{
		Use: q.use, Short: q.short, Long: q.long, Example: q.example,
		Args: usageArgs(cobra.MinimumNArgs(1)),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		sel, err := selection(c, args)
		if err != nil {
			return err
		}
		return q.do(c, o, sel)
	}
	return c
}

// do makes the change and says what it was.
func (q queueChange) do(c *cobra.Command, o *options, sel admin.Selection) error {
	client, err := o.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	var n admin.Changed
	if err := client.Call(c.Context(), q.method, sel, &n); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s %s\n", plural(n.Envelopes, "envelope"), q.done)
	if len(n.Unknown) > 0 {
		return fmt.Errorf("not in the queue: %s", strings.Join(n.Unknown, " "))
	}
	return nil
}
