package process

import (
	"context"
	"fmt"

	"github.com/keybearer/keybearer"
)

// Diagnoser tells what holds for this process.
type Diagnoser struct{}

// Diagnose implements [keybearer.Diagnoser]. Whatever does not hold is a risk, and keeps nothing from working.
func (Diagnoser) Diagnose(context.Context) []keybearer.Finding { return Read().findings() }

func (s State) findings() []keybearer.Finding {
	if !s.Supported {
		return []keybearer.Finding{warning("memory", "nothing is done on this system to keep others out of the server's memory", "run it on Linux")}
	}
	var all []keybearer.Finding
	add := func(ok bool, check, detail, risk, hint string) {
		if ok {
			all = append(all, keybearer.Finding{Check: check, Detail: detail})
		} else {
			all = append(all, warning(check, risk, hint))
		}
	}
	add(!s.Dumpable, "dumpable", "no: others of its user cannot read its memory", "others of its user can read its memory",
		"the service manager or a security module forbids prctl(PR_SET_DUMPABLE): allow it")
	add(s.CoreLimit == 0, "core dumps", "none", "the limit of core dumps is "+size(s.CoreLimit), "set LimitCORE=0 in the unit, or ulimit -c 0")
	add(s.NoNewPrivs, "new privileges", "none can be gained", "what it starts may gain privileges", "set NoNewPrivileges=yes in the unit")
	switch {
	case s.LockedOnFault:
		add(true, "swap", "all memory stays out of it", "", "") // not how much: pages that are reserved and never used are in the number
	case !s.Swap:
		add(true, "swap", "this machine has none", "", "")
	case s.MemoryLimit == NoLimit:
		add(false, "swap", "", "the system did not lock the memory: requests and secrets in it may be swapped out", "switch swap off, or encrypt it")
	default:
		add(false, "swap", "", fmt.Sprintf("only %s is locked, since the limit is %s: requests and opened secrets may be swapped out", size(s.MemoryLocked), size(s.MemoryLimit)),
			"set LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited; or switch swap off, or encrypt it")
	}
	return all
}

func warning(check, risk, hint string) keybearer.Finding {
	return keybearer.Finding{Check: check, Warn: true, Err: keybearer.NewError(keybearer.Internal, risk).WithHint(hint)}
}

func size(n uint64) string {
	switch {
	case n == NoLimit:
		return "unlimited"
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
