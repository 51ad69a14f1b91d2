package dialogs

import (
	"os"
	"testing"

	"github.com/weirmail/weir/test/weirtest"
)

// TestMain lets the test binary be a filter too: the server starts it as
// "dialogs.test echo-filter".
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == echoFilter {
		runEchoFilter(os.Stdin, os.Stdout)
		return
	}
	code := m.Run()
	weirtest.Clean()
	os.Exit(code)
}
