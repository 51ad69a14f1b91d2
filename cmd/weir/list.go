package main

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirmail/weir/internal/admin"
)

// listing is a command that prints the items of one method.
type listing[T any] struct {
	method string
	text   func(w io.Writer, item T) // one item for a person
	empty  string                    // what a person is told if there are none
}

// addJSONFlag gives c the flag --json.
func addJSONFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "print one JSON object a line, for programs")
}

// print asks for the items and prints each as it comes.
func (l listing[T]) print(c *cobra.Command, o *options, args any, asJSON bool) error {
	client, err := o.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	w := bufio.NewWriter(c.OutOrStdout())
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	n := 0
	err = admin.Each(c.Context(), client, l.method, args, func(item T) error {
		n++
		if asJSON {
			return enc.Encode(item)
		}
		l.text(w, item)
		return nil
	})
	if err == nil && n == 0 && !asJSON && l.empty != "" {
		w.WriteString(l.empty + "\n")
	}
	if e := w.Flush(); err == nil {
		err = e
	}
	return err
}

// printable replaces what could move a terminal's cursor: addresses and the
// answers of other servers are somebody else's bytes.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
