package admin

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirmail/weir/internal/mail"
)

// The methods of a server. The comment gives the type of arguments (none if
// not named) and of the result; "items" are sent one by one.
const (
	MethodVersion     = "version"      // Version
	MethodReload      = "reload"       // Reloaded: the new configuration is in force
	MethodFilterList  = "filter.list"  // items Filter
	MethodFilterOrder = "filter.order" // items Order, one for each listener
	MethodFilterShow  = "filter.show"  // Name; items FilterProcess
	MethodQueueList   = "queue.list"   // Selection; items Envelope
	MethodQueueCount  = "queue.count"  // Count
	MethodQueueShow   = "queue.show"   // Selection; items Message
	MethodQueueRemove = "queue.remove" // Selection; Changed
	MethodQueueRetry  = "queue.retry"  // Selection; Changed

	MethodQueueRelease  = "queue.release"  // Selection; Changed: held envelopes are due
	MethodFilterRestart = "filter.restart" // Name; nothing: new processes are ready, or an error
	MethodFilterPause   = "filter.pause"   // Name; nothing: its policy applies
	MethodFilterResume  = "filter.resume"  // Name; nothing
)

// Version says what runs.
type Version struct {
	Version string    `json:"version"`
	Go      string    `json:"go"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Config  string    `json:"config"` // path of the configuration in force
}

// Reloaded says what a reload has changed. Filters are those with processes.
type Reloaded struct {
	Config          string `json:"config"` // path of what is in force now
	FiltersKept     int    `json:"filtersKept"`
	FiltersStarted  int    `json:"filtersStarted"`
	FiltersEnding   int    `json:"filtersEnding"` // with the last session that has them
	ListenersKept   int    `json:"listenersKept"` // sockets, of which a "listen on" may have several
	ListenersOpened int    `json:"listenersOpened"`
	ListenersClosed int    `json:"listenersClosed"`

	FiltersFailing []string `json:"filtersFailing,omitempty"` // why each that is not ready is not; its policy applies
}

// Filter is one filter of the configuration and how it fares.
type Filter struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`              // proc, builtin, chain
	Proc     string   `json:"proc,omitempty"`    // proc: the process's name, if it is another
	Detail   string   `json:"detail"`            // command, rule or members, as configured
	State    string   `json:"state,omitempty"`   // proc: starting, ready, restarting, ending, stopped, paused
	PIDs     []int    `json:"pids,omitempty"`    // proc: one for each worker that runs
	Restarts int      `json:"restarts"`          // proc: since the server started
	Reports  []string `json:"reports,omitempty"` // proc: registered events
	Phases   []string `json:"phases,omitempty"`  // proc: registered phases; builtin: its phase
	LastErr  string   `json:"lastError,omitempty"`
	Load     *Load    `json:"load,omitempty"` // proc: what it was asked
}

// Load is what a filter has been asked since the server started.
type Load struct {
	Uptime    time.Duration     `json:"uptimeNs"` // of the process that is there for the shortest time
	Questions uint64            `json:"questions"`
	Decisions map[string]uint64 `json:"decisions,omitempty"` // how many answers of each kind
	P50       time.Duration     `json:"p50Ns"`               // half of the answers took no longer
	P99       time.Duration     `json:"p99Ns"`               // 99 of 100
}

// Order says who is asked on one listener, and in which order.
type Order struct {
	Listener string  `json:"listener"` // address:port, or path of the socket
	Tag      string  `json:"tag,omitempty"`
	Filter   string  `json:"filter,omitempty"` // name after "filter" in the configuration; none if empty
	Phases   []Phase `json:"phases"`           // in the order of a session; those where somebody is asked
}

// Phase is one row of an Order.
type Phase struct {
	Phase   string `json:"phase"`
	Filters []Step `json:"filters"` // in the order in which they are asked
}

// Step is one filter at one phase.
type Step struct {
	Filter string `json:"filter"`
	When   string `json:"when,omitempty"` // its condition as configured; always asked if empty
}

// Envelope is one envelope of the queue. Ids are hex digits as in replies and
// logs.
type Envelope struct {
	ID       string    `json:"id"`      // 16 digits, of which the first 8 are the message's
	Message  string    `json:"message"` // 8 digits
	Sender   string    `json:"sender"`  // reverse-path; empty for the null one
	Rcpt     string    `json:"rcpt"`    // as the client gave it
	Dest     string    `json:"dest"`    // where it goes after aliases and virtual tables
	Action   string    `json:"action"`
	Size     int64     `json:"size"` // bytes of the message
	Received time.Time `json:"received"`
	Expires  time.Time `json:"expires"`
	Next     time.Time `json:"next"`  // next attempt
	State    string    `json:"state"` // waiting, active, held
	Attempts int       `json:"attempts"`
	LastErr  string    `json:"lastError,omitempty"`
}

// Message is one message of the queue with its envelopes.
type Message struct {
	ID        string     `json:"id"` // 8 digits
	Sender    string     `json:"sender"`
	Size      int64      `json:"size"`
	Received  time.Time  `json:"received"`
	Session   string     `json:"session"` // session that brought it
	Helo      string     `json:"helo"`
	Source    string     `json:"source"`
	AuthUser  string     `json:"authUser,omitempty"`
	Tag       string     `json:"tag,omitempty"`
	Header    string     `json:"header"` // header section, cut after MaxHeader bytes
	Envelopes []Envelope `json:"envelopes"`
}

// MaxHeader is how much of a message's header section queue.show gives.
const MaxHeader = 64 << 10

// Count is how full the queue is.
type Count struct {
	Messages  int `json:"messages"`
	Envelopes int `json:"envelopes"`
	Active    int `json:"active"` // envelopes that are being delivered
	Held      int `json:"held"`   // envelopes that wait for somebody to release them
}

// Changed is what a call did.
type Changed struct {
	Envelopes int      `json:"envelopes"`         // how many were removed or scheduled
	Unknown   []string `json:"unknown,omitempty"` // ids that are not in the queue
}

// Selection names messages and envelopes of the queue. The zero Selection is
// nothing; for queue.list that stands for all.
type Selection struct {
	All bool     `json:"all,omitempty"`
	IDs []string `json:"ids,omitempty"` // 8 hex digits: a message; 16: an envelope
}

// ParseSelection reads the arguments of a command: ids, or the word "all".
func ParseSelection(args []string) (Selection, error) {
	if len(args) == 1 && args[0] == "all" {
		return Selection{All: true}, nil
	}
	s := Selection{IDs: make([]string, len(args))}
	for i, a := range args {
		s.IDs[i] = strings.ToLower(a)
	}
	if _, _, err := s.Resolve(); err != nil {
		return Selection{}, err
	}
	return s, nil
}

// Resolve gives the ids as numbers. An id of another form is an error.
func (s Selection) Resolve() (messages []mail.MessageID, envelopes []mail.EnvelopeID, err error) {
	for _, id := range s.IDs {
		n, err := strconv.ParseUint(id, 16, 64)
		switch {
		case err != nil || len(id) != 8 && len(id) != 16:
			return nil, nil, fmt.Errorf("%q is no id of the queue: a message has 8 hex digits, an envelope 16", id)
		case len(id) == 8:
			messages = append(messages, mail.MessageID(n))
		default:
			envelopes = append(envelopes, mail.EnvelopeID(n))
		}
	}
	return messages, envelopes, nil
}

// Name is the argument of methods about one thing that has a name.
type Name struct {
	Name string `json:"name"`
}

// FilterProcess is what applies to one process of a filter, as the system
// tells of the running process. Ids and limits are as the system writes them.
type FilterProcess struct {
	PID          int               `json:"pid"`
	UIDs         []string          `json:"uids"` // real, effective, saved, for files
	GIDs         []string          `json:"gids"`
	Groups       []string          `json:"groups"`
	Capabilities string            `json:"capabilities"` // effective, in hex
	Bounding     string            `json:"bounding"`     // that it could get, in hex
	NoNewPrivs   bool              `json:"noNewPrivs"`
	Seccomp      bool              `json:"seccomp"` // system calls are filtered
	Session      int               `json:"session"`
	Group        int               `json:"group"`
	Root         string            `json:"root"`
	OwnTmp       bool              `json:"ownTmp"`      // its /tmp is not that of the system
	Namespaces   []string          `json:"namespaces"`  // that it does not share with the server
	Descriptors  []string          `json:"descriptors"` // "NUMBER WHAT"
	Limits       map[string]string `json:"limits"`      // cpu memory processes files core

	// What the system does not tell of a process, from when it was started.
	Landlock int      `json:"landlock"` // version of the interface, 0: none
	Hidden   []string `json:"hidden"`   // paths
	View     bool     `json:"view"`     // the next two, and the system's files, are all it sees
	Read     []string `json:"read,omitempty"`
	Write    []string `json:"write,omitempty"`
	Notes    []string `json:"notes,omitempty"` // what could not be done
}
