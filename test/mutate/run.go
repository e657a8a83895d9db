package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// run builds the test binary of the target with all its mutants, and runs it once for each.
func run(ctx context.Context, t target, jobs int, explained map[string]string, verbose bool) (score, error) {
	s := score{dir: t.dir, files: len(t.files)}
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return s, err
	}
	defer os.RemoveAll(dir)
	overlay, names, err := write(t, dir)
	if err != nil {
		return s, err
	}
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return s, err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		return s, err
	}
	binary := filepath.Join(dir, "package.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", list, "-o", binary, "./"+t.dir)
	if out, err := build.CombinedOutput(); err != nil {
		return s, fmt.Errorf("the mutants do not compile: %w\n%s", err, out)
	}
	// Nothing is broken: that is how long the tests take, and they pass.
	began := time.Now()
	if out, err := try(ctx, t, binary, "", -1, 10*time.Minute); err != nil {
		return s, fmt.Errorf("the tests fail though nothing is broken: %w\n%s", err, out)
	}
	limit := 4*time.Since(began) + 20*time.Second
	if verbose {
		fmt.Printf("%s: %d mutants, %v a run\n", t.dir, len(names), time.Since(began).Round(time.Millisecond))
	}

	next := make(chan int)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range jobs {
		workers.Go(func() {
			for id := range next {
				var err error
				if t.slow != "" {
					_, err = try(ctx, t, binary, t.slow, id, limit)
				}
				if err == nil {
					_, err = try(ctx, t, binary, "", id, limit)
				}
				mu.Lock()
				s.mutants++
				switch reason := reasonFor(explained, names[id]); {
				case err != nil:
					s.killed++
					if explained[names[id]] != "" {
						fmt.Println("  survivors.txt explains what was killed:", names[id])
					}
				case reason != "":
					s.explained++
					s.survivors = append(s.survivors, names[id])
				default:
					s.holes = append(s.holes, names[id])
					if verbose {
						fmt.Println("  survived:", names[id])
					}
				}
				mu.Unlock()
			}
		})
	}
	for id := range names {
		if ctx.Err() != nil {
			break
		}
		next <- id
	}
	close(next)
	workers.Wait()
	s.sort()
	return s, ctx.Err()
}

// try runs the tests but those to skip with one mutant alive. A failed or endless run has killed it.
func try(ctx context.Context, t target, binary, skip string, id int, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	args := []string{"-test.failfast", "-test.timeout", (limit - time.Second).String()}
	if skip != "" {
		args = append(args, "-test.skip", skip)
	}
	home, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), "KEYBEARER_MUTANT="+strconv.Itoa(id), "TMPDIR="+home)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the tests passed, and left a process of theirs behind
	}
	return out, err
}
