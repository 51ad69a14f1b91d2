package server

import (
	"os"
	"testing"

	"github.com/weirmail/weir/internal/privsep"
)

// TestMain lets the test binary become the filters that its servers start.
func TestMain(m *testing.M) {
	privsep.Main(Roles()...)
	os.Exit(m.Run())
}
