package main

import (
	"strconv"
	"strings"
	"time"
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
