// Command mutate breaks the guards one at a time and sees whether a test fails.
//
// A mutant is one small change of a condition, a comparison or a statement. All mutants of a package are compiled into one test binary, each
// behind a number, so that breaking a thousand guards costs one build. The tree is not touched: the changed files are given to the
// compiler as an overlay. Each test then runs alone once, with nothing broken, to see how long it takes and which mutants it comes to; and each mutant is
// tried by the tests that come to it, the quickest first, until one fails.
//
// A mutant that no test notices survives. Those that cannot be noticed, because what they change makes no difference, are listed with
// the reason in survivors.txt; every other survivor is a hole in the tests.
//
//	go run ./test/mutate                        # every package of targets.go
//	go run ./test/mutate -only internal/dial    # one package, and its part of the page
//	go run ./test/mutate -only policy -match '^decide.go' -v
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "this `package` alone")
	match := flag.String("match", "", "`regexp` of the mutants to try, by name; nothing is written")
	var o options
	flag.DurationVar(&o.within, "within", 0, "try a mutant by as many tests as take this `time` together, the quickest: a first look; nothing is written")
	flag.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "test binaries that run at a time")
	flag.BoolVar(&o.verbose, "v", false, "tell of each survivor")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if o.match, err = regexp.Compile(*match); err != nil {
		fail(err)
	}
	explained, err := readSurvivors("test/mutate/survivors.txt")
	if err != nil {
		fail(err)
	}
	var all []score
	holes := 0
	for _, t := range targets {
		if *only != "" && t.dir != *only {
			continue
		}
		began := time.Now()
		s, err := run(ctx, t, o, explained)
		if err != nil {
			fail(fmt.Errorf("%s: %w", t.dir, err))
		}
		all = append(all, s)
		holes += len(s.holes)
		fmt.Printf("%-18s %4d mutants, %4d killed, %2d explained, %2d holes, %v\n",
			t.dir, s.mutants, s.killed, s.explained, len(s.holes), time.Since(began).Round(time.Second))
		for _, m := range s.holes {
			fmt.Println("  survived:", m)
		}
	}
	if len(all) == 0 {
		fail(fmt.Errorf("%s is not in targets.go", *only))
	}
	if *match == "" && o.within == 0 {
		if err := report(page, all, explained); err != nil {
			fail(err)
		}
	}
	if holes > 0 {
		fail(fmt.Errorf("%d mutants survived", holes))
	}
}

// readSurvivors reads lines "<mutant>  # <reason>". Mutants are named by file, function and change, so that a line survives an edit
// elsewhere in the file. The reason "the same" is that of the line before.
func readSurvivors(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list, last := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, "  # ")
		if !ok || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s: a line without a reason: %s", path, line)
		}
		if reason != "the same" {
			last = reason
		}
		list[strings.TrimSpace(name)] = last
	}
	return list, nil
}

// reasonFor returns why the mutant cannot matter; a name in the list that ends with an asterisk stands for all that begin like it.
func reasonFor(explained map[string]string, name string) string {
	if reason, ok := explained[name]; ok {
		return reason
	}
	for begin, reason := range explained {
		if front, ok := strings.CutSuffix(begin, "*"); ok && strings.HasPrefix(name, front) {
			return reason
		}
	}
	return ""
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "mutate:", err)
	os.Exit(1)
}
