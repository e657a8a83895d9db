//go:build !linux

package process

// Harden does nothing on this system.
func Harden() error { return nil }

// Read returns that nothing is known.
func Read() State { return State{} }
