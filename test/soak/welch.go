package soak

import (
	"fmt"
	"math"
	"slices"
)

// Apart says how far the classes of samples are apart: the greatest of Welch's t between any two, which two those are, and a line about each
// class. 4.5 is beyond what chance does once in 100,000 times. The greatest twentieth of all samples is left out: it tells of the machine.
func Apart(samples map[string][]float64) (t float64, which string, lines []string) {
	var names []string
	var all []float64
	for name, some := range samples {
		names = append(names, name)
		all = append(all, some...)
	}
	slices.Sort(names)
	slices.Sort(all)
	limit := all[len(all)*95/100]
	type moments struct{ n, mean, variance float64 }
	of := map[string]moments{}
	for _, name := range names {
		var m moments
		var squares float64
		for _, x := range samples[name] {
			if x > limit {
				continue
			}
			m.n++
			d := x - m.mean
			m.mean += d / m.n
			squares += d * (x - m.mean)
		}
		m.variance = squares / (m.n - 1)
		of[name] = m
		lines = append(lines, fmt.Sprintf("%s: mean %.0f, deviation %.0f, %.0f kept", name, m.mean, math.Sqrt(m.variance), m.n))
	}
	for i, a := range names {
		for _, b := range names[:i] {
			x, y := of[a], of[b]
			if apart := math.Abs(x.mean-y.mean) / math.Sqrt(x.variance/x.n+y.variance/y.n); apart > t || which == "" {
				t, which = apart, b+" against "+a
			}
		}
	}
	return t, which, lines
}
