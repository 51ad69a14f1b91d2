package config

import (
	"fmt"
	"time"

	"github.com/weirmail/weir/internal/table"
)

// DefaultPath is the file that commands read without -c.
const DefaultPath = "/etc/weir/weir.conf"

// Config is one checked configuration: every name in it resolves, every value
// is in its range. It is not changed after Load; all goroutines may read it.
type Config struct {
	Path      string // file that it was read from
	Hostname  string // server name: mailname file, else the machine's name
	ADMD      string // admd, by default Hostname
	Listeners []*Listener
	Procs     []*Proc // in order of declaration; proc-exec, python and perl filters have one each
	Filters   map[string]*Filter
	FilterSeq []string // names of Filters in order of declaration
	Actions   map[string]*Action
	Matches   []*Match
	Tables    map[string]*table.Table
	PKI       map[string]*PKI
	SMTP      SMTP
	Queue     Queue

	WarnIntervals []time.Duration // bounce warn-interval; default 4h
	MaxDeferred   int             // mta max-deferred; default 100
}

// Pos is a place in a configuration file. Line and Column count from 1;
// Column counts bytes.
type Pos struct {
	File   string
	Line   int
	Column int
}

// String gives "file:line:column".
func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// SMTP holds the limits of "smtp ...".
type SMTP struct {
	MaxMails       int   // smtp limit max-mails; messages in one session; default 100
	MaxRcpt        int   // smtp limit max-rcpt; recipients of one transaction; default 1000
	MaxMessageSize int64 // smtp max-message-size; bytes; default 35M
	SubAddrDelim   byte  // smtp sub-addr-delim; default '+'

	// Ours: words "smtp limit max-errors N", "max-sessions N" (all listeners),
	// "max-sessions-per-source N", and "smtp timeout DURATION".
	MaxErrors            int           // 4xx and 5xx replies to one session before 421; default 50
	MaxSessions          int           // sessions at once; default 10000
	MaxSessionsPerSource int           // sessions at once from one address (IPv6: one /64); default 200
	FreeLoopback         bool          // but not from loopback addresses, because that limit was not written
	Timeout              time.Duration // silence of a client before 421; default 5m (RFC 5321 s4.5.3.2.7)
}

// Queue holds "queue ...".
type Queue struct {
	Path string        // queue path "DIR"; default /var/spool/weir
	TTL  time.Duration // queue ttl; default 4 days
	User string        // queue user "NAME": who owns the queue and runs the server, if root starts it; "" for the default

	UserPos Pos // of User
}

// PKI is a certificate with its key; both files were loaded once when the
// configuration was checked.
type PKI struct {
	Name string
	Cert string // path
	Key  string // path
	Pos  Pos
}

// TLSMode says how a listener offers TLS.
type TLSMode uint8

// The ways of a listener with TLS.
const (
	TLSNone     TLSMode = iota
	TLSOffer            // tls: STARTTLS is offered
	TLSRequire          // tls-require: no transaction without
	TLSImplicit         // smtps
)

// AuthMode says how a listener offers AUTH.
type AuthMode uint8

// The ways of a listener with AUTH.
const (
	AuthNone AuthMode = iota
	AuthOptional
	AuthRequire
)

// Listener is one "listen on". Interface, name and address families are
// resolved by package listener when it binds.
type Listener struct {
	Pos       Pos
	Socket    bool   // listen on socket
	Interface string // interface, address or name as written
	Family    int    // 0 both, 4, 6
	Port      int    // 25 by default, 465 with smtps; 0 binds any free port (tests)
	Hostname  string // greeting name, by default Config.Hostname
	Hostnames *table.Table
	Filter    string // name in Config.Filters, "" for none
	Tag       string
	MaskSrc   bool
	NoDSN     bool
	BareLF    bool // bare-lf: for people who type into the listener
	PKI       []*PKI
	TLS       TLSMode
	Auth      AuthMode
	AuthTable *table.Table // nil: the system's users (not supported yet)
	Default   bool         // the socket listener that exists without being written
}

// Proc is one filter process, or several alike with Workers above 1.
type Proc struct {
	Pos      Pos
	Name     string
	Command  string // run by /bin/sh -c, after its first word was resolved (see package filter)
	Python   string // script for filter-python; Command is empty
	Perl     string // script for filter-perl; Command is empty
	User     string // "" for the default
	Group    string
	Chroot   string
	Workers  int    // 1 by default
	Protocol string // "0.7" by default, or "0.6"

	Timeout   time.Duration // for one answer, for a message from the last line sent, for the start; default 60s
	OnFailure OnFailure     // what mail gets whose filter failed; default Tempfail

	Sandbox Sandbox
}

// Sandbox says what the processes of a filter may do, besides what everything
// but the server's own files allows to their user. The zero Sandbox has no
// limits. Package privsep honours it.
type Sandbox struct {
	NetworkOff bool // network off

	// With a path in either the processes see these and what every program
	// needs, else all that is not the server's or another filter's.
	Read  []string // absolute, clean; a directory is all below it
	Write []string // read and write

	Memory    int64         // limit memory: bytes of one process; 0: no limit
	CPU       time.Duration // limit cpu: whole seconds of processor time of one process
	Files     int           // limit files: open at once in one process
	Processes int           // limit processes: processes and threads at once

	Env []string // "NAME=VALUE", besides the few that every filter has
}

// OnFailure is what a filter's failure means to the transaction that waits
// for it.
type OnFailure uint8

// The policies of "on-failure".
const (
	Tempfail OnFailure = iota // 451, so that the client comes again
	Reject                    // 550
	Accept                    // as if the filter were not there
	Hold                      // the same, and the message waits in the queue until it is released
)

var onFailureNames = [...]string{Tempfail: "tempfail", Reject: "reject", Accept: "accept", Hold: "hold"}

// String gives the word of the configuration.
func (f OnFailure) String() string {
	if int(f) >= len(onFailureNames) {
		return "?"
	}
	return onFailureNames[f]
}

// Filter is one "filter NAME ...": exactly one of Proc, Builtin and Chain is set.
type Filter struct {
	Pos     Pos
	Name    string
	Proc    *Proc
	Builtin *Builtin
	Chain   []Link
}

// Link is one filter of a chain with the conditions of its "when"; all of
// them must hold for the filter to be asked, as must When of a filter that
// is attached by itself.
type Link struct {
	Filter *Filter // never itself a chain
	When   []Condition
}

// Builtin is a filter that the server evaluates itself: "phase P match C... D".
type Builtin struct {
	Phase      string // connect helo ehlo mail-from rcpt-to data commit (also starttls auth rset quit noop)
	Conditions []Condition
	Decision   string // bypass disconnect junk reject report rewrite
	Param      string // reply text, report text or new value
}

// ConditionKind is what a condition looks at.
type ConditionKind uint8

// The conditions of match, of built-in filters and of when. ForX and FromX
// occur in match only; Fcrdns only in filters.
const (
	CondFcrdns   ConditionKind = iota + 1
	CondRdns                   // Operand nil: there is one
	CondSrc                    // netaddr table
	CondHelo                   // domain table
	CondAuth                   // Operand nil: any user
	CondMailFrom               // mailaddr table
	CondRcptTo                 // mailaddr table
	CondTag
	CondTLS
	CondForAny
	CondForLocal
	CondForDomain
	CondForRcptTo
	CondFromAny
	CondFromLocal
	CondFromSocket
	CondFromAuth
	CondFromMailFrom
	CondFromRdns
	CondFromSrc
)

// Condition is one test of a rule or filter.
type Condition struct {
	Pos     Pos
	Kind    ConditionKind
	Not     bool
	Operand *table.Table // inline values make an anonymous list; nil where the kind allows none
	Regex   bool         // Operand's entries are regular expressions
	Text    string       // as written, for listings: `!src <lan>`
}

// Match is one rule: the first whose conditions all hold decides. A rule with
// no for-condition has CondForLocal, one with no from-condition CondFromLocal,
// both added by Load.
type Match struct {
	Pos        Pos
	Conditions []Condition
	Action     *Action // nil: reject
	Text       string  // the rule as written, for logs and listings
}

// Method is how an action delivers.
type Method uint8

// The delivery methods.
const (
	Maildir Method = iota + 1
	Mbox
	MDA
	LMTP
	Relay
	ExpandOnly
	ForwardOnly
)

// Action is one "action NAME method options".
type Action struct {
	Pos    Pos
	Name   string
	Method Method

	// Local methods.
	Path      string        // Maildir: path with format specifiers, "" for ~/Maildir
	Junk      bool          // Maildir: X-Spam goes to Junk
	Command   string        // MDA: command with format specifiers
	LMTPDest  string        // LMTP: "host:port" or "/path"
	LMTPRcpt  bool          // LMTP: rcpt-to, the address instead of the user
	User      string        // deliver as this user
	Userbase  *table.Table  // instead of getpwnam; values "uid:gid:home"
	Alias     *table.Table  // aliases(5) of the primary domain
	Virtual   *table.Table  // virtual domains
	TTL       time.Duration // 0: Queue.TTL
	Host      *RelayHost    // Relay: host; nil means by MX (not supported yet)
	Helo      string        // Relay: name to greet with, "" for Config.Hostname
	MailFrom  string        // Relay: reverse-path to use, "" for the message's own
	SourceIPs *table.Table  // Relay: src
}

// RelayHost is a relay URL: [proto://[label@]]host[:port].
type RelayHost struct {
	Proto string // smtp, smtp+notls, lmtp
	Host  string
	Port  int
}
