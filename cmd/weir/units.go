package main

import (
	"fmt"
	"time"
)

// span gives a duration in its largest unit: 45s, 12m, 7h, 3d.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// size gives a number of bytes with three or four digits: 812, 4.1K, 36M.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1000 {
		return fmt.Sprint(n)
	}
	f := float64(n)
	for _, u := range units {
		f /= 1024
		if f < 9.95 {
			return fmt.Sprintf("%.1f%c", f, u)
		}
		if f < 999.5 {
			return fmt.Sprintf("%.0f%c", f, u)
		}
	}
	return fmt.Sprint(n)
}
