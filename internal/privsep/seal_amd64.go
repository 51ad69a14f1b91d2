package privsep

import "golang.org/x/sys/unix"

var archSealed = []uint32{unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_MKNOD, unix.SYS_USELIB}
