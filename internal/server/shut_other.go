//go:build !linux

package server

// shut cannot be found out here: a client that leaves a TLS session while its
// filters think is noticed when they have answered.
func shut(int) bool { return false }
