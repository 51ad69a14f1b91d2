//go:build !race

package load

const raceSlack = 0
