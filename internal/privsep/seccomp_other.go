//go:build !amd64 && !arm64

package privsep

// Machines whose system calls nobody has looked at have no list of those to
// refuse.
const (
	auditArch = 0
	x32Bit    = 0
)

var archDenied, archModes, archTimes []uint32
