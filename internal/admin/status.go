package admin

import (
	"context"
	"net/http"

	"github.com/keybearer/keybearer"
)

// Status tells an instance admin whether the parts work, and who they are to the server.
type Status struct {
	Subject keybearer.Subject `json:"subject"`
	Roles   []string          `json:"roles,omitempty"`
	Parts   []Part            `json:"parts"`
}

// Part is the state of one part. Code is empty when it works.
type Part struct {
	Part   string         `json:"part"` // store, audit, keyring, "key of scope <name>", or "store: <what was looked at in it>"
	Code   keybearer.Code `json:"code,omitempty"`
	Warn   bool           `json:"warn,omitempty"` // it is a risk, and keeps nothing from working
	Detail string         `json:"detail,omitempty"`
	Hint   string         `json:"hint,omitempty"`
}

func status(x *exchange) (*reply, error) {
	parts, err := x.custody.Status(x.Context(), x.ask)
	if err != nil {
		return nil, err
	}
	out := Status{Subject: x.ask.Actor.Subject, Roles: x.ask.Actor.Roles}
	for _, p := range parts {
		part := Part{Part: p.Name, Detail: p.Detail, Warn: p.Warn}
		if p.Err != nil {
			part.Code, part.Detail, part.Hint = p.Err.Code, p.Err.Message(), p.Err.Advice()
		}
		out.Parts = append(out.Parts, part)
	}
	return &reply{body: out}, nil
}

// Status asks whether the server's parts work.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, apiPath("status"), nil, nil)
}
