package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/health"
)

// Health returns whether the server can do its work, or with live whether it runs at all. It is told on the admin socket only: a client of an
// address gets [keybearer.Invalid].
func (c *Client) Health(ctx context.Context, live bool) (health.Report, error) {
	var report health.Report
	if !c.socket {
		return report, keybearer.NewError(keybearer.Invalid, "health is told on the admin socket only").
			WithHint("run it where the server runs, without KEYBEARER_ADDR, or ask keybearer doctor")
	}
	path := health.Up
	if live {
		path = health.Live
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return report, &keybearer.Error{Code: keybearer.Internal, Op: "ask for health", Err: err}
	}
	res, err := c.http.Do(req)
	if err != nil {
		return report, c.unreachable(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&report); err != nil || !understood(report) {
		return report, c.foreign("it answered "+res.Status, err)
	}
	return report, nil
}

// understood reports whether a report says nothing but what one of ours can.
func understood(r health.Report) bool {
	known := func(s health.Status) bool {
		return s == health.Ready || s == health.Degraded || s == health.Unavailable
	}
	return known(r.Status) && !slices.ContainsFunc(r.Parts, func(p health.Part) bool { return !known(p.Status) })
}
