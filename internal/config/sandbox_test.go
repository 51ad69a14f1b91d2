package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSandbox(t *testing.T) {
	for _, tt := range []struct {
		words string
		want  Sandbox
	}{
		{"", Sandbox{}},
		{"network on", Sandbox{}},
		{"network off workers 2", Sandbox{NetworkOff: true}},
		{`read /a read { "/b/../c/" /d, /a } write "/w x"`, Sandbox{Read: []string{"/a", "/c", "/d"}, Write: []string{"/w x"}}},
		{"limit memory 1M cpu 90s limit files 4 limit processes 1", Sandbox{Memory: 1 << 20, CPU: 90 * time.Second, Files: 4, Processes: 1}},
		{"limit files 1048576 user nobody", Sandbox{Files: 1 << 20}},
		{`env A=1 env { _b = "x y", C_3="" }`, Sandbox{Env: []string{"A=1", "_b=x y", "C_3="}}},
	} {
		c := mustLoad(t, "proc p c "+tt.words)
		if diff := cmp.Diff(tt.want, c.Procs[0].Sandbox); diff != "" {
			t.Errorf("%s: %s", tt.words, diff)
		}
	}
}

func TestSandboxErrors(t *testing.T) {
	var many []string
	for i := range maxViewPaths + 1 {
		many = append(many, fmt.Sprintf("/%d", i))
	}
	mustLoad(t, "proc p c read { "+strings.Join(many[1:], " ")+" }")
	for words, want := range map[string]string{
		"network":                 `expected one of: off, on`,
		"network no":              `found "no", expected one of: off, on`,
		"network off network off": `"network" stands twice`,
		"read x":                  `expected a path that begins with /`,
		"read { /a":               `"{" is not closed`,
		"read { " + strings.Join(many, " ") + "}": `more than 256 paths`,
		"limit":                `expected one of: cpu, files, memory, processes`,
		"limit memory":         `expected a size such as`,
		"limit memory 1048575": `expected at least 1M`,
		"limit cpu 0s":         `expected a time such as`,
		"limit files 3":        `expected a number from 4 to 1048576`,
		"limit processes 0":    `expected a number from 1 to 1048576`,
		"limit stack 1M":       `found "stack", expected one of: cpu, files, memory, processes`,
		"env A":                `expected "="`,
		"env 1A=x":             `a variable's name has letters, digits and underscores, and begins with no digit; found "1A"`,
		"env A=1 env A=2":      `the variable A is set twice`,
		"env A=\"x\ty\"":       `without control characters`,
	} {
		_, err := LoadBytes("t", []byte("proc p c "+words+"\nmatch for any reject\n"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", words, err, want)
		}
	}
}
