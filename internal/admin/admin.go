// Package admin is the control socket: how weir's commands talk to the server
// that runs.
//
// A request is one line of JSON on a unix socket, {"method":...,"args":...};
// the answer is any number of lines {"item":...} and then one line
// {"result":...} or {"error":"text"}. A connection may carry one request after
// the other. Lines, connections and waiting are bounded; who may open the
// socket is decided by its file mode, 0600.
//
// The package carries calls and holds the types of the calls that exist
// (types.go). It does not know the queue or the filters: package server
// registers what answers on a Mux.
package admin

import (
	"encoding/json"
	"errors"
	"time"
)

// The bounds of a conversation.
const (
	MaxLine        = 1 << 20          // bytes of one line, either way, with its line end
	MaxConnections = 16               // served at once; further ones wait in the kernel's backlog
	IdleTimeout    = 30 * time.Second // for a request to arrive, and for each line of an answer to leave
)

// Socket is the name of the control socket in the queue's directory.
const Socket = "control.sock"

// ErrNoServer is wrapped by the error of Dial when nothing listens on the
// socket: it does not exist, or the server that made it is gone.
var ErrNoServer = errors.New("no server is running")

// Error is a call's failure as the server told it.
type Error string

// Error gives the server's text.
func (e Error) Error() string { return string(e) }

// call is a request line.
type call struct {
	Method string          `json:"method"`
	Args   json.RawMessage `json:"args,omitempty"`
}

// answer is one line of an answer; exactly one of its fields is set, none for
// an empty result.
type answer struct {
	Item   json.RawMessage `json:"item,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
}
