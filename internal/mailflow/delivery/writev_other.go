//go:build !linux

package delivery

import "golang.org/x/sys/unix"

// writev writes the first part; the caller comes again for the rest.
func writev(fd int, parts [2][]byte) (int, error) { return unix.Write(fd, parts[0]) }
