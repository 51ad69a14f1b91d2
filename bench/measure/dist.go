// Package measure reads what a run costs: processor time and memory of
// processes, flushes of the disks, what the machine was doing meanwhile; and it
// sums up many values in a few.
//
// It measures from outside, by way of /proc, so that every server is measured
// alike. It starts nothing and knows no server.
package measure

import (
	"math"
	"slices"
	"time"
)

// Dist sums up a number of durations, in microseconds.
type Dist struct {
	N    int     `json:"n"`
	Mean float64 `json:"mean_us"`
	P50  float64 `json:"p50_us"`
	P90  float64 `json:"p90_us"`
	P99  float64 `json:"p99_us"`
	Max  float64 `json:"max_us"`
}

// Distribution sums up all, which it sorts.
func Distribution(all []time.Duration) Dist {
	if len(all) == 0 {
		return Dist{}
	}
	slices.Sort(all)
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	at := func(p float64) float64 { return us(all[rank(len(all), p)]) }
	return Dist{
		N: len(all), Mean: us(sum) / float64(len(all)),
		P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: us(all[len(all)-1]),
	}
}

// rank is the index of the percentile p (0 to 1) of n sorted values: the
// smallest one that at least that share of them does not exceed.
func rank(n int, p float64) int {
	return min(max(int(math.Ceil(p*float64(n)))-1, 0), n-1)
}

// Median gives the median of vs, their least and their greatest. Without
// values all three are not a number.
func Median(vs []float64) (median, least, most float64) {
	if len(vs) == 0 {
		return math.NaN(), math.NaN(), math.NaN()
	}
	s := slices.Sorted(slices.Values(vs))
	median = s[len(s)/2]
	if len(s)%2 == 0 {
		median = (s[len(s)/2-1] + median) / 2
	}
	return median, s[0], s[len(s)-1]
}

// Middle gives what the middle half of vs lies between: their quartiles.
// Without values both are not a number.
func Middle(vs []float64) (lower, upper float64) {
	if len(vs) == 0 {
		return math.NaN(), math.NaN()
	}
	s := slices.Sorted(slices.Values(vs))
	return s[rank(len(s), 0.25)], s[rank(len(s), 0.75)]
}
