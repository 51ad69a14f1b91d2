package main

import (
	"os"
	"testing"

	"github.com/weirmail/weir/internal/privsep"
	"github.com/weirmail/weir/internal/server"
)

// TestMain lets the test binary become a filter, as the program does.
func TestMain(m *testing.M) {
	privsep.Main(server.Roles()...)
	os.Exit(m.Run())
}
