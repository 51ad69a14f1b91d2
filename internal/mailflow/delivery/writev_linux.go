package delivery

import "golang.org/x/sys/unix"

// writev writes both parts with one call.
func writev(fd int, parts [2][]byte) (int, error) { return unix.Writev(fd, parts[:]) }
