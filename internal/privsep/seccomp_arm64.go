package privsep

import "golang.org/x/sys/unix"

// auditArch is how the kernel calls this machine in seccomp_data.
const auditArch = unix.AUDIT_ARCH_AARCH64

const x32Bit = 0 // no such thing

var archDenied, archModes, archTimes []uint32
