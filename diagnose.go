package keybearer

import "context"

// Diagnoser is a Store or a Keyring that can look at itself and at what it talks to, deeper than its methods do in daily
// work. What it tries has no effect, whatever the rights that it finds.
type Diagnoser interface {
	// Diagnose returns what it found, good and bad, in the order of a list for people. It returns when ctx ends at the latest.
	Diagnose(ctx context.Context) []Finding
}

// Finding is the result of one check. It holds no secret.
type Finding struct {
	Check  string // what was looked at, "mount keybearer"
	Detail string // what was found; lower case, no full stop
	Err    *Error // nil: it is as it should be. The hint says how to mend it
	Warn   bool   // Err is a risk, and keeps nothing from working
}
