package process

import (
	"strings"
	"testing"
)

// What does not hold is a warning with a fix, and what holds is said; nothing of it is a failure.
func TestFindings(t *testing.T) {
	shut := State{Supported: true, NoNewPrivs: true, MemoryLocked: 80 << 20, MemoryLimit: NoLimit, LockedOnFault: true, Swap: true}
	for name, c := range map[string]struct {
		change func(*State)
		check  string // that warns; "": none
		words  string
	}{
		"all shut":            {func(*State) {}, "", "swap: all memory stays out of it"},
		"dumpable":            {func(s *State) { s.Dumpable = true }, "dumpable", "others of its user can read its memory"},
		"core dumps":          {func(s *State) { s.CoreLimit = NoLimit }, "core dumps", "unlimited; set LimitCORE=0"},
		"small core dumps":    {func(s *State) { s.CoreLimit = 2048 }, "core dumps", "2 KiB"},
		"new privileges":      {func(s *State) { s.NoNewPrivs = false }, "new privileges", "NoNewPrivileges=yes"},
		"a limit":             {func(s *State) { s.LockedOnFault, s.MemoryLocked, s.MemoryLimit = false, 4096, 8<<20 }, "swap", "only 4 KiB is locked, since the limit is 8192 KiB"},
		"no limit, no effect": {func(s *State) { s.LockedOnFault = false }, "swap", "did not lock"},
		"no swap":             {func(s *State) { s.LockedOnFault, s.MemoryLimit, s.Swap = false, 8<<20, false }, "", "swap: this machine has none"},
		"another system":      {func(s *State) { *s = State{} }, "memory", "run it on Linux"},
	} {
		t.Run(name, func(t *testing.T) {
			s := shut
			c.change(&s)
			var said []string
			for _, f := range s.findings() {
				text := f.Check + ": " + f.Detail
				if f.Err != nil {
					text = f.Check + ": " + f.Err.Message() + "; " + f.Err.Advice()
				}
				said = append(said, text)
				if warns := f.Err != nil; warns != f.Warn || warns != (f.Check == c.check) || warns && f.Err.Hint == "" {
					t.Errorf("%s: warning %v, error %v", f.Check, f.Warn, f.Err)
				}
			}
			if all := strings.Join(said, "\n"); !strings.Contains(all, c.words) {
				t.Errorf("it does not say %q:\n%s", c.words, all)
			}
		})
	}
}
