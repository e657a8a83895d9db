package admin

import (
	"context"
	"net/http"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// KeyMigration tells how far the scopes have moved from the former keyring to the current one.
type KeyMigration struct {
	Former bool         `json:"former"` // there is a former keyring
	Done   bool         `json:"done"`   // nothing needs it any more
	Scopes []ScopePlace `json:"scopes"` // those with a key, in order of name; none without a former keyring
}

// ScopePlace is a scope and where its key is.
type ScopePlace struct {
	Scope
	Place custody.Place `json:"place"` // waiting, moving, moved or unknown
}

// StoreMigration tells how far the records have moved from the former store to the current one.
type StoreMigration struct {
	Former  bool           `json:"former"`            // there is a former store
	Phase   custody.Phase  `json:"phase,omitempty"`   // ready, copying, handing over or done
	Done    int            `json:"done"`              // records
	Total   int            `json:"total"`             // records
	Waiting keybearer.Code `json:"waiting,omitempty"` // why it does not get on just now
	Detail  string         `json:"detail,omitempty"`  // of that
	Hint    string         `json:"hint,omitempty"`    // of that
}

func showKeyMigration(x *exchange) (*reply, error) {
	m, err := x.custody.KeyMigration(x.Context(), x.ask)
	if err != nil {
		return nil, err
	}
	out := KeyMigration{Former: m.Former, Done: m.Done(), Scopes: make([]ScopePlace, 0, len(m.Scopes))}
	for _, s := range m.Scopes {
		out.Scopes = append(out.Scopes, ScopePlace{wireScope(s.Scope), s.Place})
	}
	return &reply{body: out}, nil
}

func storeReply(m custody.StoreMigration, err error) (*reply, error) {
	out := StoreMigration{Former: m.Former, Phase: m.Phase, Done: m.Done, Total: m.Total}
	if m.Err != nil {
		out.Waiting, out.Detail, out.Hint = m.Err.Code, m.Err.Message(), m.Err.Advice()
	}
	return &reply{body: out}, err
}

func showStoreMigration(x *exchange) (*reply, error) {
	return storeReply(x.custody.StoreMigration(x.Context(), x.ask))
}

func moveStore(x *exchange) (*reply, error) {
	return storeReply(x.custody.MoveStore(x.Context(), x.ask))
}

// KeyMigration asks how far the scopes have moved.
func (c *Client) KeyMigration(ctx context.Context) (KeyMigration, error) {
	return call[KeyMigration](ctx, c, http.MethodGet, apiPath("migrations", "keyring"), nil, nil)
}

// StoreMigration asks how far the records have moved.
func (c *Client) StoreMigration(ctx context.Context) (StoreMigration, error) {
	return call[StoreMigration](ctx, c, http.MethodGet, apiPath("migrations", "store"), nil, nil)
}

// MoveStore has the records move from the former store, or goes on with it. It may answer before that is finished: StoreMigration then
// tells how far it is.
func (c *Client) MoveStore(ctx context.Context) (StoreMigration, error) {
	return call[StoreMigration](ctx, c, http.MethodPost, apiPath("migrations", "store"), nil, nil)
}
