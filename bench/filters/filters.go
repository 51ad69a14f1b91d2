// Package filters has the smallest filters that there can be, in C, and builds
// them: what a chain costs is then what the server makes of it.
//
// nullfilter speaks the line protocol, nullmilter is the same for servers with
// milters, pingpong is no filter but what a pipe costs by itself.
package filters

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed src/*.c
var sources embed.FS

// Built are the paths of the programs. Milter is "" where libmilter is not
// installed, and MilterErr says so.
type Built struct {
	Filter, Milter, PingPong string
	MilterErr                error
}

// Build compiles the programs into dir.
func Build(dir string) (Built, error) {
	var b Built
	var err error
	if b.Filter, err = compile(dir, "nullfilter"); err != nil {
		return b, err
	}
	if b.PingPong, err = compile(dir, "pingpong"); err != nil {
		return b, err
	}
	if b.Milter, b.MilterErr = compile(dir, "nullmilter", "-lmilter", "-lpthread"); b.MilterErr != nil {
		b.Milter = ""
	}
	return b, nil
}

func compile(dir, name string, libs ...string) (string, error) {
	src, err := sources.ReadFile("src/" + name + ".c")
	if err != nil {
		return "", err
	}
	file, bin := filepath.Join(dir, name+".c"), filepath.Join(dir, name)
	if err := os.WriteFile(file, src, 0o644); err != nil {
		return "", err
	}
	args := append([]string{"-O2", "-Wall", "-Werror", "-o", bin, file}, libs...)
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cc %s: %w\n%s", name, err, out)
	}
	return bin, nil
}
