package admin

import (
	"context"
	"net/http"

	"github.com/keybearer/keybearer"
)

// Whoami is who the server takes the asker for: under these subjects they may hold grants.
type Whoami struct {
	Subject keybearer.Subject `json:"subject"`
	Groups  []string          `json:"groups,omitempty"`
}

// whoami tells the asker nothing but what their own proof says, so whoever proves anything may ask.
func whoami(x *exchange) (*reply, error) {
	if x.ask.Actor.Subject == "" {
		return nil, keybearer.NewError(keybearer.Unauthenticated, "")
	}
	return &reply{body: Whoami{x.ask.Actor.Subject, x.ask.Actor.Groups}}, nil
}

// Whoami asks who the server takes this client for.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	return call[Whoami](ctx, c, http.MethodGet, apiPath("whoami"), nil, nil)
}
