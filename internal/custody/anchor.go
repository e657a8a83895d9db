package custody

import "github.com/keybearer/keybearer"

// Anchor remembers, outside the store, how far its history went. Every error is [keybearer.StoreUnavailable].
type Anchor interface {
	// Holds returns nil while the store holds all that was seen of it.
	Holds() error
	// Ready returns nil when a change may be committed.
	Ready() error
	// Advance is called with the number of each commit, before it is acknowledged.
	Advance(seq uint64) error
}

// noAnchor trusts every store.
type noAnchor struct{}

func (noAnchor) Holds() error         { return nil }
func (noAnchor) Ready() error         { return nil }
func (noAnchor) Advance(uint64) error { return nil }

// Other is a part that is neither store, keyring nor audit log, and can look at itself.
type Other struct {
	Name string // "anchor"
	keybearer.Diagnoser
}
