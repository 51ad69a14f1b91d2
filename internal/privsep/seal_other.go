//go:build !amd64

package privsep

var archSealed []uint32
