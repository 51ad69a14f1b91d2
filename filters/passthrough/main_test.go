package main

import (
	"slices"
	"testing"

	"github.com/weirmail/weir/sdk/go/filter"
	"github.com/weirmail/weir/sdk/go/filter/filtertest"
)

func TestPassthrough(t *testing.T) {
	for _, lines := range []bool{true, false} {
		server := filtertest.Start(t, passthrough(lines))
		if got := slices.Contains(server.Registered(), "register|filter|smtp-in|data-line"); got != lines {
			t.Errorf("lines %v: asks for the lines: %v", lines, got)
		}
		c := server.Session()
		for _, phase := range []filter.Phase{filter.Connect, filter.Ehlo, filter.Auth, filter.RcptTo, filter.Quit} {
			if got := c.Ask(phase, "x|y"); got != "proceed" {
				t.Errorf("%s: %s", phase, got)
			}
		}
		const text = "Subject: x\n\n.\n..\n\xff\x00|\n\n"
		if got, answer := c.Mail("a@b", "c@d", text); got != text || answer != "proceed" {
			t.Errorf("lines %v: got %q, %q", lines, got, answer)
		}
		c.End()
	}
}
