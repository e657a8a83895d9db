package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// cell is one place of the table.
type cell struct {
	contender   string
	connections int
}

// measurement is one visit to a cell.
type measurement struct {
	requests int
	elapsed  time.Duration
	cpu      time.Duration // of the proxy
	p50, p99 time.Duration
	rss      int64 // of the proxy after it, bytes
}

// cost is the processor time of the proxy per request, in microseconds.
func (m measurement) cost() float64 { return float64(m.cpu) / float64(m.requests) / 1e3 }
func (m measurement) rate() float64 { return float64(m.requests) / m.elapsed.Seconds() }
func (m measurement) busy() float64 { return 100 * float64(m.cpu) / float64(m.elapsed) }

func median(all []measurement, value func(measurement) float64) float64 {
	v := make([]float64, len(all))
	for i, m := range all {
		v[i] = value(m)
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// report prints a table for each number of connections: medians, the extremes of the cost, and the cost as a multiple of
// those that the others are compared with.
func report(w io.Writer, o *options, all []*contender, results map[cell][]measurement) {
	fmt.Fprintf(w, "POST of 1 KiB to an HTTPS destination; one processor for the proxy; medians of %d rounds of %v\n", o.rounds, o.time)
	for _, n := range o.connections {
		plural := "s"
		if n == 1 {
			plural = ""
		}
		fmt.Fprintf(w, "\n%d connection%s\n", n, plural)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "proxy\tCPU µs/request\tmin\tmax\trequests/s\tp50 ms\tp99 ms\tcore %\tRSS MiB\t× nginx\t× caddy\t× caddy-tuned\t")
		for _, c := range all {
			r := results[cell{c.name, n}]
			costs := make([]float64, len(r))
			for i, m := range r {
				costs[i] = m.cost()
			}
			fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.0f\t%.3f\t%.3f\t%.0f\t%.0f", c.name,
				median(r, measurement.cost), slices.Min(costs), slices.Max(costs), median(r, measurement.rate),
				median(r, func(m measurement) float64 { return m.p50.Seconds() * 1e3 }),
				median(r, func(m measurement) float64 { return m.p99.Seconds() * 1e3 }),
				median(r, measurement.busy),
				median(r, func(m measurement) float64 { return float64(m.rss) / (1 << 20) }))
			for _, base := range []string{"nginx", "caddy", "caddy-tuned"} {
				if b := results[cell{base, n}]; len(b) > 0 {
					fmt.Fprintf(t, "\t%.2f", median(r, measurement.cost)/median(b, measurement.cost))
				} else {
					fmt.Fprint(t, "\t-")
				}
			}
			fmt.Fprintln(t, "\t")
		}
		_ = t.Flush() // to a terminal or a file of the caller's
	}
}

// writeRaw appends every measurement as a line in the format of Go benchmarks.
func writeRaw(path string, o *options, all []*contender, results map[cell][]measurement) error {
	var lines strings.Builder
	for _, n := range o.connections {
		for _, c := range all {
			for _, m := range results[cell{c.name, n}] {
				fmt.Fprintf(&lines, "BenchmarkProxy/proxy=%s/connections=%d %d %.1f cpu-ns/req %d p50-ns %d p99-ns %.0f req/s\n",
					c.name, n, m.requests, m.cost()*1e3, m.p50, m.p99, m.rate())
			}
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(lines.String())
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
