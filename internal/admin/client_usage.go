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

// ActivityQuery says whose use is to be summed up. The zero value asks for all that the asker may see, for the last 24 hours.
type ActivityQuery struct {
	Scope       string    // name or id; "": all scopes
	Credentials []string  // ids, at most 1000, of those whose hours are wanted one by one
	Since       time.Time // zero: 24 hours ago
}

// Activity sums up the use of all that the asker may see.
func (c *Client) Activity(ctx context.Context, a ActivityQuery) (Activity, error) {
	q := url.Values{}
	for name, value := range map[string]string{"scope": a.Scope, "credentials": strings.Join(a.Credentials, ","), "since": timeValue(a.Since)} {
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
