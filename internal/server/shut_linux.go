package server

import "golang.org/x/sys/unix"

// shut reports whether the other end of a socket has shut its writing half,
// whatever is left to read.
func shut(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}
