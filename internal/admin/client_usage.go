package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
)

// Usage tells how a credential, or with the zero Ref all of them together, were used since a time (zero: 24 hours ago).
func (c *Client) Usage(ctx context.Context, ref keybearer.Ref, since time.Time) (UsageReport, error) {
	q := url.Values{}
	if ref != (keybearer.Ref{}) {
		q.Set("credential", ref.String())
	}
	if !since.IsZero() {
		q.Set("since", since.UTC().Format(time.RFC3339))
	}
	return call[UsageReport](ctx, c, http.MethodGet, apiPath("usage"), q, nil)
}

// Activity sums up the use since a time (zero: 24 hours ago) of all that the asker may see, in a scope or, with "", in all; and tells the hours of
// these credentials, by id and at most 1000, one by one.
func (c *Client) Activity(ctx context.Context, scope string, since time.Time, credentials ...string) (Activity, error) {
	q := url.Values{}
	for name, value := range map[string]string{"scope": scope, "credentials": strings.Join(credentials, ","), "since": timeValue(since)} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return call[Activity](ctx, c, http.MethodGet, apiPath("usage", "activity"), q, nil)
}

// Attention lists the credentials that somebody should look at.
func (c *Client) Attention(ctx context.Context) (Attention, error) {
	return call[Attention](ctx, c, http.MethodGet, apiPath("usage", "attention"), nil, nil)
}
