//go:build race

package weirtest

// Race says that the tests run under the race detector.
const Race = true
