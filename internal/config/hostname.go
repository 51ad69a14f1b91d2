package config

import (
	"errors"
	"os"
	"strings"
)

// mailnameFiles hold the server's name in their first line; the first that
// exists counts. The second is the one of Debian policy 11.6.
var mailnameFiles = []string{"/etc/weir/mailname", "/etc/mailname"}

// systemHostname gives the server's name: from a mailname file, else the
// machine's, made complete from /etc/hosts if it has no dot. It never asks the
// network, so that a server starts without it.
func systemHostname() (string, error) {
	for _, path := range mailnameFiles {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		line, _, _ := strings.Cut(string(text), "\n")
		if name := strings.TrimSpace(line); name != "" {
			return name, nil
		}
	}
	name, err := os.Hostname()
	if err != nil || strings.Contains(name, ".") {
		return name, err
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return name, nil // incomplete, but a name
	}
	return completeName(name, string(hosts)), nil
}

// completeName gives the first name with a dot on a line of hosts(5) that has
// name, or name itself.
func completeName(name, hosts string) string {
	for line := range strings.Lines(hosts) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		full, has := "", false
		for _, f := range fields[1:] {
			has = has || strings.EqualFold(f, name)
			if full == "" && strings.Contains(f, ".") {
				full = f
			}
		}
		if has && full != "" {
			return full
		}
	}
	return name
}
