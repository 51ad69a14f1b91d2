package main

import (
	"os"
	"testing"

	"github.com/weirmail/weir/internal/privsep"
)

// TestMain lets the test binary become a filter, as the program does.
func TestMain(m *testing.M) {
	privsep.Main()
	os.Exit(m.Run())
}
