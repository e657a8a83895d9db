package audit

// Feed keeps a ledger equal to the log.
type Feed struct{}

// Close.
func (f *Feed) Close() error { return nil }
