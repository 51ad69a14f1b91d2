package config

import (
	"fmt"
	"os"

	"github.com/weirmail/weir/internal/table"
)

// Snapshot is a configuration as its files said it at one time, for a process
// that must not read them itself. It can be sent as JSON. Tables are not in it:
// their files are opened by whoever may, as long as the server runs.
type Snapshot struct {
	Path     string
	Macros   map[string]string
	Files    map[string][]byte // the file itself and those that it includes
	Hostname string
	Certs    map[string][]byte // of pki, by their paths
	Keys     map[string][]byte `json:"-"` // likewise; they are never sent
}

// LoadSnapshot is Load, and gives besides what was read.
func LoadSnapshot(path string, macros map[string]string) (*Config, *Snapshot, error) {
	s := &Snapshot{Path: path, Macros: macros, Files: make(map[string][]byte), Certs: make(map[string][]byte), Keys: make(map[string][]byte)}
	env := system
	env.readFile = func(path string) ([]byte, error) {
		text, err := readFile(path)
		if err == nil {
			s.Files[path] = text
		}
		return text, err
	}
	env.hostname = func() (string, error) {
		name, err := systemHostname()
		s.Hostname = name
		return name, err
	}
	env.keyPair = func(cert, key string) (err error) {
		s.Certs[cert], s.Keys[key], err = readKeyPair(cert, key)
		return err
	}
	text, err := env.readFile(path)
	if err != nil {
		return nil, nil, err
	}
	cfg, err := load(env, path, text, macros)
	if err != nil {
		return nil, nil, err
	}
	return cfg, s, nil
}

// Load makes the configuration that s was made of, with the tables that open
// gives. Keys are not looked at.
func (s *Snapshot) Load(open table.Opener) (*Config, error) {
	env := environment{
		readFile: func(path string) ([]byte, error) {
			text, ok := s.Files[path]
			if !ok {
				return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
			}
			return text, nil
		},
		openTable: func(name, path string) (*table.Table, error) { return table.OpenWith(name, path, nil, open) },
		keyPair: func(cert, _ string) error {
			if s.Certs[cert] == nil {
				return fmt.Errorf("%s: not read", cert)
			}
			return nil
		},
		hostname: func() (string, error) { return s.Hostname, nil },
	}
	text, err := env.readFile(s.Path)
	if err != nil {
		return nil, err
	}
	return load(env, s.Path, text, s.Macros)
}
