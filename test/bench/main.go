// Command bench measures what Keybearer costs beside proxies that do far less: stock Caddy (the same binary), nginx and
// HAProxy, each of which only adds one fixed header.
//
// Every request is a POST of 1 KiB over plain HTTP to the proxy, which sends it to one HTTPS destination over kept
// connections; the destination answers 200 only if the header has arrived exactly once. The proxy has one processor for
// itself, load generator and destination share another. All proxies take turns in every round, so that a disturbance of
// the machine meets all of them. The figure to trust is the processor time of the proxy per request, as the kernel counts it;
// the tables give medians over the rounds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// options are the settings of a run.
type options struct {
	rounds      int
	warm, time  time.Duration
	connections []int
	only        []string
	raw         string
	proxyCPU    string
	loadCPU     string
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "destination" {
		fmt.Fprintln(os.Stderr, serveDestination(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	} else if err != nil {
		fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 5, "`number` of rounds; each measures every proxy at every number of connections")
	f.DurationVar(&o.warm, "warm", 500*time.Millisecond, "`time` of load before each measurement")
	f.DurationVar(&o.time, "time", 2*time.Second, "`time` of each measurement")
	connections := f.String("connections", "1,16,64", "`numbers` of connections")
	only := f.String("only", "", "`names` of the proxies to measure; all if empty")
	f.StringVar(&o.raw, "raw", "", "`file` that each measurement is appended to, in the form that benchstat reads")
	f.StringVar(&o.proxyCPU, "proxy-cpu", "0", "`processor` of the proxy")
	f.StringVar(&o.loadCPU, "load-cpu", "1", "`processor` of load generator and destination")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	for s := range strings.SplitSeq(*connections, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 4096 {
			return nil, fmt.Errorf("connections %q: numbers from 1 to 4096, with commas", *connections)
		}
		o.connections = append(o.connections, n)
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	if o.rounds < 1 || f.NArg() > 0 {
		return nil, fmt.Errorf("see -help")
	}
	return o, nil
}

func bench(ctx context.Context, o *options) (err error) {
	b := newBench(ctx)
	defer b.end(&err)

	if err := pin(o.loadCPU); err != nil {
		return err
	}
	all := contenders(b, o)
	results := map[cell][]measurement{}
	_, err = unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS)
	terminal := err == nil
	for round := range o.rounds {
		if !terminal {
			fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, o.rounds)
		}
		for _, n := range o.connections {
			for _, c := range all {
				if terminal {
					fmt.Fprintf(os.Stderr, "\rround %d of %d: %-30s", round+1, o.rounds, fmt.Sprintf("%s, %d connections", c.name, n))
				}
				m, err := measure(ctx, c, n, o.warm, o.time)
				if err != nil {
					return fmt.Errorf("%s with %d connections: %w", c.name, n, err)
				}
				m.rss = c.process.RSS(b)
				results[cell{c.name, n}] = append(results[cell{c.name, n}], m)
			}
		}
	}
	if terminal {
		fmt.Fprintf(os.Stderr, "\r%60s\r", "")
	}
	if o.raw != "" {
		if err := writeRaw(o.raw, o, all, results); err != nil {
			return err
		}
	}
	report(os.Stdout, o, all, results)
	return nil
}

// pin keeps this process, the load generator, on a processor.
func pin(cpu string) error {
	n, err := strconv.Atoi(cpu)
	if err != nil {
		return fmt.Errorf("load-cpu: %w", err)
	}
	var set unix.CPUSet
	set.Set(n)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks { // threads made later inherit it
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("processor %s: %w", cpu, err)
		}
	}
	return nil
}

// measure loads a proxy over n connections and takes the figures of the time after the warm-up.
func measure(ctx context.Context, c *contender, n int, warm, duration time.Duration) (measurement, error) {
	l, err := newLoad(c.addr, c.request, n)
	if err != nil {
		return measurement{}, err
	}
	defer l.close()
	if _, err := l.run(warm); err != nil {
		return measurement{}, err
	}
	before, err := c.process.CPU()
	if err != nil {
		return measurement{}, err
	}
	start := time.Now()
	latencies, err := l.run(duration)
	if err != nil {
		return measurement{}, err
	}
	elapsed := time.Since(start)
	after, err := c.process.CPU()
	if err != nil {
		return measurement{}, err
	}
	if len(latencies) == 0 {
		return measurement{}, errors.New("no request was answered")
	}
	slices.Sort(latencies)
	return measurement{
		requests: len(latencies), elapsed: elapsed, cpu: after - before,
		p50: time.Duration(latencies[len(latencies)/2]), p99: time.Duration(latencies[len(latencies)*99/100]),
	}, ctx.Err()
}
