package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// SetUp makes a set-up link, which makes the first operator once, until it ends. It returns [keybearer.Conflict] once there is a live operator, or no console.
type SetUp func(context.Context, custody.Ask) (url keybearer.Secret, until time.Time, err error)

// SetUpLink is where the first operator is made, in a browser. Whoever has the address may.
type SetUpLink struct {
	URL       Plaintext `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

func makeSetUp(x *exchange) (*reply, error) {
	if x.setUp == nil {
		return nil, keybearer.NewError(keybearer.Forbidden, "a set-up link is made over the admin socket only").
			WithHint("on the server's machine, as its user or root: keybearer operator setup")
	}
	url, until, err := x.setUp(x.Context(), x.ask)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusCreated, body: SetUpLink{Plaintext{url}, until}}, nil
}

// MakeSetUpLink makes the link that makes the first operator. The one before it holds no more.
func (c *Client) MakeSetUpLink(ctx context.Context) (SetUpLink, error) {
	return call[SetUpLink](ctx, c, http.MethodPost, apiPath("setup"), nil, nil)
}
