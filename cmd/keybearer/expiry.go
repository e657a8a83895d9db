package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// expiry reads a moment as people write it: a span from now ("90d", "12h"), a day (its end, in local time), an RFC 3339 time, or
// "never" and "" for none. The result is zero for none. It must be in the future.
func (c *cli) expiry(text string) (time.Time, error) {
	if text == "" || text == "never" {
		return time.Time{}, nil
	}
	now := c.now()
	at, ok := moment(text, now)
	if !ok {
		return time.Time{}, usagef("%q is no time", text).withHint("use 90d, 12h, 2027-01-31, 2027-01-31T18:00:00Z or never")
	}
	if !at.After(now) {
		return time.Time{}, usagef("%s is past", text)
	}
	return at.UTC(), nil
}

func moment(text string, now time.Time) (time.Time, bool) {
	if d, ok := lapse(text); ok {
		return now.Add(d), true
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, true
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t.AddDate(0, 0, 1), true
	}
	return time.Time{}, false
}

// lapse reads a duration that may be in days.
func lapse(text string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err == nil && n >= 0 && n <= 36500
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0
}

// past reads a moment before now: a span back from now ("24h", "7d"), a day (its beginning, in local time), or an RFC 3339 time; ""
// is none, the zero time.
func (c *cli) past(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	now := c.now()
	var at time.Time
	if d, ok := lapse(text); ok {
		at = now.Add(-d)
	} else if t, err := time.Parse(time.RFC3339, text); err == nil {
		at = t
	} else if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		at = t
	} else {
		return at, usagef("%q is no time", text).withHint("use 24h, 7d, 2026-11-23 or 2026-11-23T18:00:00Z")
	}
	if at.After(now) {
		return at, usagef("%s is to come", text)
	}
	return at.UTC(), nil
}

// sinceFlag is how the beginning of what is looked at is given.
func sinceFlag(cmd *cobra.Command, since *string, otherwise string) {
	cmd.Flags().StringVar(since, "since", otherwise, "from this `time` on: 24h or 7d ago, 2026-11-23, or an RFC 3339 time")
}
