package handover

import "time"

// Hurry makes a hand-over wait no longer than this for audit events.
func (s *Store) Hurry(drain time.Duration) { s.drain = drain }
