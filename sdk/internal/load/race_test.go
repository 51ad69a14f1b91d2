//go:build race

package load

// raceSlack is what the race detector's own memory adds to a Go filter, which
// is this test's binary.
const raceSlack = 32 << 20
