// Package config reads the configuration: the grammar of smtpd.conf(5) as of
// OpenSMTPD 7.8 with added words, into one checked Config.
//
// Errors carry file, line and column, what was found and what was expected;
// all errors of a file are reported, not only the first. Words that are known
// and not supported yet are refused as such, never ignored. The package opens
// tables and looks at certificates, and does nothing else with what it reads:
// interfaces, users, hosts and programs may come and go while the server runs.
package config

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/weirmail/weir/internal/table"
)

// The defaults of what a configuration leaves out.
const (
	DefaultQueuePath            = "/var/spool/weir"
	DefaultTTL                  = 4 * 24 * time.Hour
	DefaultWarnInterval         = 4 * time.Hour
	DefaultMaxDeferred          = 100
	DefaultMaxMails             = 100
	DefaultMaxRcpt              = 1000
	DefaultMaxMessageSize       = 35 << 20
	DefaultMaxErrors            = 50
	DefaultMaxSessions          = 10000
	DefaultMaxSessionsPerSource = 200
	DefaultTimeout              = 5 * time.Minute // RFC 5321 s4.5.3.2.7
	DefaultPort                 = 25
	DefaultSMTPSPort            = 465 // RFC 8314 s7.3
)

// Load reads and checks the configuration in the file path. Macros are those
// of the command line; they go before macros of the same name in the file. If
// the file could be read, the error is of type Errors.
func Load(path string, macros map[string]string) (*Config, error) {
	env := system
	text, err := env.readFile(path)
	if err != nil {
		return nil, err
	}
	return load(env, path, text, macros)
}

// QueuePath gives the directory of the queue that the file path names, or the
// default, whatever else is wrong with the file: where a running server is can
// be asked while somebody edits its configuration. It is "" if the file cannot
// be read.
func QueuePath(path string, macros map[string]string) string {
	env := system
	text, err := env.readFile(path)
	if err != nil {
		return ""
	}
	return parse(env, path, text, macros).cfg.Queue.Path
}

// LoadBytes is Load for a text in memory; name stands for the file in
// positions, and relative paths of include begin at its directory.
func LoadBytes(name string, text []byte, macros map[string]string) (*Config, error) {
	return load(system, name, text, macros)
}

// SetLogger sets the log of the tables, which say there when a file could not
// be read again. It must be called before the configuration is shared.
func (c *Config) SetLogger(log *slog.Logger) {
	for _, t := range c.Tables {
		t.SetLogger(log)
	}
}

// environment is what the package needs of the machine.
type environment struct {
	readFile  func(path string) ([]byte, error)
	openTable func(name, path string) (*table.Table, error)
	keyPair   func(cert, key string) error
	hostname  func() (string, error)
}

var system = environment{
	readFile:  readFile,
	openTable: func(name, path string) (*table.Table, error) { return table.OpenFile(name, path, nil) },
	keyPair: func(cert, key string) error {
		_, _, err := readKeyPair(cert, key)
		return err
	},
	hostname: systemHostname,
}

// readKeyPair reads a certificate with its key, and fails if they do not belong
// together.
func readKeyPair(certPath, keyPath string) (cert, key []byte, err error) {
	if cert, err = os.ReadFile(certPath); err != nil {
		return nil, nil, err
	}
	if key, err = os.ReadFile(keyPath); err != nil {
		return nil, nil, err
	}
	_, err = tls.X509KeyPair(cert, key)
	return cert, key, err
}

// maxFileSize is the length of one configuration file, in bytes.
const maxFileSize = 16 << 20

func readFile(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, fmt.Errorf("%s: is a directory", path)
	}
	if fi.Size() > maxFileSize {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxFileSize)
	}
	return os.ReadFile(path)
}

// defaults gives the configuration of an empty file.
func defaults(path string) *Config {
	return &Config{
		Path:    path,
		Filters: map[string]*Filter{},
		Actions: map[string]*Action{},
		Tables:  map[string]*table.Table{},
		PKI:     map[string]*PKI{},
		SMTP: SMTP{
			MaxMails:             DefaultMaxMails,
			MaxRcpt:              DefaultMaxRcpt,
			MaxMessageSize:       DefaultMaxMessageSize,
			SubAddrDelim:         table.DefaultSubAddrDelim,
			MaxErrors:            DefaultMaxErrors,
			MaxSessions:          DefaultMaxSessions,
			MaxSessionsPerSource: DefaultMaxSessionsPerSource, FreeLoopback: true,
			Timeout: DefaultTimeout,
		},
		Queue:         Queue{Path: DefaultQueuePath, TTL: DefaultTTL},
		WarnIntervals: []time.Duration{DefaultWarnInterval},
		MaxDeferred:   DefaultMaxDeferred,
	}
}
