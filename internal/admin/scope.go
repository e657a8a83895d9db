package admin

import (
	"context"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func wireScope(s custody.Scope) Scope {
	v := Scope{
		ID: s.ID, Name: s.Name, Description: s.Description,
		CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, DeletedAt: s.DeletedAt, Revision: s.Revision,
	}
	if k := s.Key; k != nil {
		v.Key = &ScopeKey{k.Generation, k.Version, k.CreatedAt, k.RotatedAt}
	}
	if w := s.Work; w != nil {
		v.Work = &Work{w.Kind, w.Done, w.Total, w.By, w.StartedAt, w.Waiting, w.Stuck}
	}
	return v
}

// scopeReply answers with a scope.
func scopeReply(s custody.Scope, err error) (*reply, error) {
	return &reply{revision: s.Revision, body: wireScope(s)}, err
}

// pageReply answers with a page of a listing.
func pageReply[C, W any](p keybearer.Page[C], wire func(C) W, err error) (*reply, error) {
	out := Page[W]{Items: make([]W, 0, len(p.Items)), Next: p.Next}
	for _, item := range p.Items {
		out.Items = append(out.Items, wire(item))
	}
	return &reply{body: out}, err
}

func listScopes(x *exchange) (*reply, error) {
	q, err := x.listing()
	if err != nil {
		return nil, err
	}
	page, err := x.custody.Scopes(x.Context(), x.ask, q)
	return pageReply(page, wireScope, err)
}

func showScope(x *exchange) (*reply, error) {
	return scopeReply(x.custody.Scope(x.Context(), x.ask, x.PathValue("scope")))
}

func createScope(x *exchange, n NewScope) (*reply, error) {
	return scopeReply(x.custody.CreateScope(x.Context(), x.ask, n.Name, n.Description))
}

func editScope(x *exchange, p ScopePatch) (*reply, error) {
	return scopeReply(x.custody.EditScope(x.Context(), x.ask, x.PathValue("scope"), p.Description))
}

func deleteScope(x *exchange, cf Confirmation) (*reply, error) {
	return scopeReply(x.custody.DeleteScope(x.Context(), x.ask, x.PathValue("scope"), custody.Confirmation{Confirm: cf.Confirm, Expected: cf.ExpectedCredentials}))
}

// keyVerb is one of the operations that take a scope and nothing else.
func keyVerb(do func(*custody.Custody, context.Context, custody.Ask, string) (custody.Scope, error)) handling {
	return bare(func(x *exchange) (*reply, error) {
		return scopeReply(do(x.custody, x.Context(), x.ask, x.PathValue("scope")))
	})
}

func regenerateKey(x *exchange, r Regenerate) (*reply, error) {
	if !r.DryRun {
		if err := x.match(); err != nil {
			return nil, err
		}
	}
	g, err := x.custody.RegenerateKey(x.Context(), x.ask, x.PathValue("scope"), custody.Regenerate{
		Confirmation: custody.Confirmation{Confirm: r.Confirm, Expected: r.ExpectedCredentials},
		DryRun:       r.DryRun, KeepShells: r.KeepShells,
	})
	out := Regeneration{
		DryRun: r.DryRun, Scope: wireScope(g.Scope), Live: g.Live, Tombstoned: g.Tombstoned,
		Credentials: make([]Credential, 0, len(g.Credentials)),
	}
	for _, c := range g.Credentials {
		out.Credentials = append(out.Credentials, wireCredential(c))
	}
	return &reply{revision: g.Scope.Revision, body: out}, err
}
