package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// suite is a built test binary, and what is known of its tests.
type suite struct {
	dir    string // where the tests run: that of their package
	binary string
	flags  []string                 // of the tests
	took   map[string]time.Duration // by test, alone
	reach  map[int][]string         // the tests that come to a mutant, the quickest first

	mu      sync.Mutex
	killers map[string][]string // tests by function, the last that killed one of its mutants at the end
}

// errSlow is that of tests that did not end in time: load may do that as well as a mutant.
var errSlow = errors.New("the tests did not end in time")

// measure runs each test of the suite alone with nothing broken, and notes how long it takes and which mutants it comes to. What it starts as a
// process of its own counts as well.
func (s *suite) measure(ctx context.Context) error {
	if help, _ := exec.CommandContext(ctx, s.binary, "-h").CombinedOutput(); strings.Contains(string(help), "rapid.nofailfile") {
		s.flags = []string{"-rapid.nofailfile"} // which would be tried again, and fail for other mutants than theirs
	}
	list := exec.CommandContext(ctx, s.binary, "-test.list", "^(Test|Fuzz|Example)")
	list.Dir = s.dir
	out, err := list.Output()
	if err != nil {
		return err
	}
	s.took, s.reach, s.killers = map[string]time.Duration{}, map[int][]string{}, map[string][]string{}
	dir, err := os.MkdirTemp("", "reach")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, test := range strings.Fields(string(out)) {
		path := filepath.Join(dir, test)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		for tries := 1; ; tries++ {
			began := time.Now()
			out, err := s.try(ctx, []string{test}, 10*time.Minute, "KEYBEARER_MUTANT_REACH="+path)
			if s.took[test] = time.Since(began); err == nil {
				break
			}
			if tries == 3 || ctx.Err() != nil { // a busy machine fails one now and then
				return fmt.Errorf("%s fails though nothing is broken: %w\n%s", test, err, out)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		ids := strings.Fields(string(text))
		slices.Sort(ids) // several processes may have noted the same
		for _, id := range slices.Compact(ids) {
			n, err := strconv.Atoi(id)
			if err != nil {
				return err
			}
			s.reach[n] = append(s.reach[n], test)
		}
	}
	for _, tests := range s.reach {
		slices.SortFunc(tests, func(a, b string) int { return int(s.took[a] - s.took[b]) })
	}
	return nil
}

// kills reports whether a test that comes to the mutant fails while it is alive. First those are run that have killed a neighbour, a mutant of the same
// function; then the others, the quickest first, in parts of which each may take four times as long as the one before. within bounds how long the
// others may take together; 0: nothing does.
func (s *suite) kills(ctx context.Context, id int, function string, within time.Duration) bool {
	tests := s.reach[id]
	if killers := s.killersOf(function, tests); len(killers) > 0 && s.fails(ctx, id, function, killers) {
		return true
	}
	if within > 0 {
		tests = tests[:s.fit(tests, within)]
	}
	for budget := 200 * time.Millisecond; len(tests) > 0 && ctx.Err() == nil; budget *= 4 {
		n := s.fit(tests, budget)
		if s.fails(ctx, id, function, tests[:n]) {
			return true
		}
		tests = tests[n:]
	}
	return false
}

// slow is a test that a busy machine may fail.
const slow = 300 * time.Millisecond

// fails runs tests with a mutant alive, and reports whether one fails. Where a slow one does, or they do not end in time, they have to do so twice.
func (s *suite) fails(ctx context.Context, id int, function string, tests []string) bool {
	alive, limit := "KEYBEARER_MUTANT="+strconv.Itoa(id), 4*s.sum(tests)+12*time.Second
	out, err := s.try(ctx, tests, limit, alive)
	if errors.Is(err, errSlow) || err != nil && s.took[failed(out)] > slow {
		out, err = s.try(ctx, tests, 2*limit, alive)
	}
	if killer := failed(out); err != nil && killer != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.killers[function] = append(slices.DeleteFunc(s.killers[function], func(t string) bool { return t == killer }), killer)
	}
	return err != nil
}

// failed returns the test that failed, "" if the output names none: one that panics takes all with it.
func failed(out []byte) string {
	if m := failure.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return ""
}

var failure = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// killersOf returns the last tests that killed a mutant of the function, of those that come to this one.
func (s *suite) killersOf(function string, reaching []string) (last []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range slices.Backward(s.killers[function]) {
		if len(last) < 3 && slices.Contains(reaching, t) {
			last = append(last, t)
		}
	}
	return last
}

// fit returns how many of the tests take no longer together, but one at least if there are any.
func (s *suite) fit(tests []string, budget time.Duration) int {
	n := min(1, len(tests))
	for n < len(tests) && s.sum(tests[:n+1]) <= budget {
		n++
	}
	return n
}

func (s *suite) sum(tests []string) (all time.Duration) {
	for _, t := range tests {
		all += s.took[t]
	}
	return all
}

// try runs tests until one fails.
func (s *suite) try(ctx context.Context, tests []string, limit time.Duration, env string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	home, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	cmd := exec.CommandContext(ctx, s.binary, append([]string{"-test.failfast", "-test.run", "^(" + strings.Join(tests, "|") + ")$"}, s.flags...)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), env, "TMPDIR="+home)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		err = errSlow
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // the tests passed, and left a process of theirs behind
	}
	return out, err
}
