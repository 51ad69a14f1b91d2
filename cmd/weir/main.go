// Command weir is the mail server and everything that belongs to it on the
// command line: it runs the server, checks its configuration, hands mail in,
// and asks the running server about its filters and its queue.
//
// Under the names sendmail, mailq and newaliases it takes the arguments that
// programs have given to those for decades. Each command is one file here;
// what they do is elsewhere: package server runs, config checks, admin carries
// the questions to the running server. weir(8) is the manual.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/weirmail/weir/internal/privsep"
	"github.com/weirmail/weir/internal/server"
)

// version is set by the Makefile; without it the module's version counts.
var version string

// Exit codes: those of sysexits.h, which the callers of sendmail look at.
const (
	exitFailure     = 1  // a command of weir failed
	exitUsage       = 64 // EX_USAGE
	exitDataErr     = 65 // EX_DATAERR: the message cannot be sent as it is
	exitNoUser      = 67 // EX_NOUSER: a recipient does not exist
	exitUnavailable = 69 // EX_UNAVAILABLE: refused for good
	exitSoftware    = 70 // EX_SOFTWARE
	exitTempFail    = 75 // EX_TEMPFAIL: try again
	exitConfig      = 78 // EX_CONFIG
)

// exitError is an error that chooses the exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// exitWith gives err an exit code; nil stays nil.
func exitWith(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

// The first thread is what the system shows of a process, and looks at when it
// asks who that is. It stays main's: threads that start processes give up what
// those are not to have, and end with them.
func init() { runtime.LockOSThread() }

func main() {
	privsep.Main(server.Roles()...) // does not return where we are another process of a server
	os.Exit(execute(os.Args))
}

// execute runs the command that argv names and gives the exit code.
func execute(argv []string) int {
	// The first signal asks to end, so that transactions can; the second ends.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	name, args := filepath.Base(argv[0]), argv[1:]
	switch name {
	case "sendmail":
		args = append([]string{"sendmail"}, args...)
	case "mailq":
		args = append([]string{"queue", "list"}, args...)
	case "newaliases":
		args = append([]string{"newaliases"}, args...)
	default:
		name = "weir"
		if len(args) > 0 && args[0] == "sendmail" {
			name = "sendmail" // its callers read what it says
		}
	}
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return exitFailure
}

// programVersion gives the version that was built in.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
