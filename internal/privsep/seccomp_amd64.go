package privsep

import "golang.org/x/sys/unix"

// auditArch is how the kernel calls this machine in seccomp_data.
const auditArch = unix.AUDIT_ARCH_X86_64

// x32Bit marks the numbers of a second set of system calls.
const x32Bit = 0x40000000

var archDenied = []uint32{unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_CREATE_MODULE}

var (
	archModes = []uint32{unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN}
	archTimes = []uint32{unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT}
)
