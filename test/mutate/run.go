package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// options are how mutants are tried.
type options struct {
	match   *regexp.Regexp // those whose names match
	within  time.Duration  // by tests that take no longer together; 0: by all
	jobs    int
	verbose bool
}

// run builds the test binary of the target with all its mutants, finds which tests come to which, and tries each mutant whose name matches.
func run(ctx context.Context, t target, o options, explained map[string]string) (score, error) {
	s := score{dir: t.dir, files: len(t.files)}
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return s, err
	}
	defer os.RemoveAll(dir)
	tests, names, err := build(ctx, t, dir)
	if err != nil {
		return s, err
	}
	if err := tests.measure(ctx); err != nil {
		return s, err
	}

	next := make(chan int)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range o.jobs {
		workers.Go(func() {
			for id := range next {
				function, _, _ := strings.Cut(names[id], ":")
				within := o.within
				if reasonFor(explained, names[id]) != "" {
					within = time.Second // enough to see whether the reason is a wrong one
				}
				killed := tests.kills(ctx, id, function, within)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				s.add(names[id], killed, len(tests.reach[id]), explained, o.verbose)
				mu.Unlock()
			}
		})
	}
	for id, name := range names {
		if !o.match.MatchString(name) {
			continue
		}
		select {
		case next <- id:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	s.sort()
	return s, ctx.Err()
}

// build compiles the mutants into a test binary within dir.
func build(ctx context.Context, t target, dir string) (*suite, []string, error) {
	overlay, names, err := write(t, dir)
	if err != nil {
		return nil, nil, err
	}
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return nil, nil, err
	}
	list, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "package.test")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, "./"+t.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("the mutants do not compile: %w\n%s", err, out)
	}
	return &suite{dir: t.dir, binary: binary}, names, nil
}

// add counts what became of a mutant that so many tests come to.
func (s *score) add(name string, killed bool, tests int, explained map[string]string, verbose bool) {
	s.mutants++
	switch reason := reasonFor(explained, name); {
	case killed:
		s.killed++
		if explained[name] != "" {
			fmt.Println("  survivors.txt explains what was killed:", name)
		}
	case reason != "":
		s.explained++
		s.survivors = append(s.survivors, name)
	default:
		if tests == 0 {
			name += " (no test comes to it)"
		}
		s.holes = append(s.holes, name)
		if verbose {
			fmt.Println("  survived:", name)
		}
	}
}
