package server

import (
	"github.com/weirmail/weir/internal/mailflow/delivery"
)

// The calls of an engine to its parent. docs/decisions/privilege-separation.md
// says what the parent looks at before it does what is asked.
const (
	callLoad    = "load"    // loadArgs; loaded with the snapshot and, if there are keys, the signer's channel
	callUse     = "use"     // useArgs: that configuration is in force
	callDrop    = "drop"    // useArgs: nobody needs that configuration any more
	callSigner  = "signer"  // useArgs: another signer of that configuration; its channel
	callReady   = "ready"   // the engine serves
	callBind    = "bind"    // bindArgs; bound with the sockets
	callControl = "control" // nothing; the control socket
	callOpen    = "open"    // openArgs; a file to be read
	callUser    = "user"    // nameArgs; foundUser
	callForward = "forward" // nameArgs; found, with the file
	callWorker  = "worker"  // delivery.Account; a connection to delivery.Work
	callMailbox = "mailbox" // delivery.Account; openMailbox with the file
	callLock    = "lock"    // boxArgs; held
	callRelease = "release" // boxArgs
	callStart   = "start"   // startArgs with three descriptors; started
	callSignal  = "signal"  // signalArgs
	callWait    = "wait"    // runArgs; ended
	callShow    = "show"    // processArgs; shown
	callCaller  = "caller"  // processArgs; nameArgs
)

// callConnection is the call of a parent to a process that delivers: one more
// connection to delivery.Work.
const callConnection = "connection"

type loadArgs struct{ Fresh bool } // read the files again
type loaded struct {
	Generation int
	Signer     bool
}
type useArgs struct{ Generation int }
type bindArgs struct{ Generation, Listener int }
type bound struct{ Sockets []boundSocket }
type boundSocket struct {
	Place    string
	Loopback bool
}
type openArgs struct{ Path string }
type nameArgs struct{ Name string }
type foundUser struct {
	Found bool
	User  delivery.Account
}
type found struct{ Found bool }
type openMailbox struct {
	ID      uint64
	Outcome delivery.Outcome // why it is not open; ID is 0 then
}
type boxArgs struct{ ID uint64 }
type held struct{ Held bool }
type startArgs struct {
	Generation int
	Name       string
}
type started struct {
	ID  uint64 // for signal and wait: a PID can be another's by then
	PID int
}
type runArgs struct{ ID uint64 }
type signalArgs struct {
	ID     uint64
	Signal int
}
type processArgs struct{ PID int }
type ended struct{ How string }

// engineArgs is what the parent tells an engine on its command line.
type engineArgs struct {
	Debug   bool
	Version string
	Grace   int64 // nanoseconds
	Strict  bool
}
