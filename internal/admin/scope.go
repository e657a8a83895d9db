package admin

import (
	"net/http"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func (h *handler) scopeRoutes() {
	h.route("GET /api/v1/scopes", listScopes)
	h.route("POST /api/v1/scopes", createScope)
	h.route("GET /api/v1/scopes/{scope}", showScope)
	h.route("PATCH /api/v1/scopes/{scope}", editScope)
	h.route("POST /api/v1/scopes/{scope}", deleteScope) // {scope}:delete
	h.route("POST /api/v1/scopes/{scope}/key:generate", generateKey)
	h.route("POST /api/v1/scopes/{scope}/key:rotate", rotateKey)
	h.route("POST /api/v1/scopes/{scope}/key:regenerate", regenerateKey)
	h.route("POST /api/v1/scopes/{scope}/key:move", moveKey)
}

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
	q, err := x.query()
	if err != nil {
		return nil, err
	}
	page, err := x.custody.Scopes(x.Context(), x.ask, q)
	return pageReply(page, wireScope, err)
}

func showScope(x *exchange) (*reply, error) {
	return scopeReply(x.custody.Scope(x.Context(), x.ask, x.PathValue("scope")))
}

func createScope(x *exchange) (*reply, error) {
	n, err := decode[NewScope](x)
	if err != nil {
		return nil, err
	}
	rep, err := scopeReply(x.custody.CreateScope(x.Context(), x.ask, n.Name, n.Description))
	rep.status = http.StatusCreated
	return rep, err
}

// changing reads the precondition and the body of a change.
func changing[T any](x *exchange) (T, error) {
	v, err := decode[T](x)
	if err == nil {
		err = x.match()
	}
	return v, err
}

// bare reads the precondition of a change that has no body.
func (x *exchange) bare() error {
	if err := x.empty(); err != nil {
		return err
	}
	return x.match()
}

func editScope(x *exchange) (*reply, error) {
	p, err := changing[ScopePatch](x)
	if err != nil {
		return nil, err
	}
	return scopeReply(x.custody.EditScope(x.Context(), x.ask, x.PathValue("scope"), p.Description))
}

func deleteScope(x *exchange) (*reply, error) {
	name, verb := x.verb("scope")
	if verb != "delete" {
		return noOperation(x)
	}
	cf, err := changing[Confirmation](x)
	if err != nil {
		return nil, err
	}
	return scopeReply(x.custody.DeleteScope(x.Context(), x.ask, name, custody.Confirmation{Confirm: cf.Confirm, Expected: cf.ExpectedCredentials}))
}

func generateKey(x *exchange) (*reply, error) {
	if err := x.bare(); err != nil {
		return nil, err
	}
	return scopeReply(x.custody.GenerateKey(x.Context(), x.ask, x.PathValue("scope")))
}

func rotateKey(x *exchange) (*reply, error) {
	if err := x.bare(); err != nil {
		return nil, err
	}
	return scopeReply(x.custody.RotateKey(x.Context(), x.ask, x.PathValue("scope")))
}

func moveKey(x *exchange) (*reply, error) {
	if err := x.bare(); err != nil {
		return nil, err
	}
	return scopeReply(x.custody.MoveKey(x.Context(), x.ask, x.PathValue("scope")))
}

func regenerateKey(x *exchange) (*reply, error) {
	r, err := decode[Regenerate](x)
	if err == nil && !r.DryRun {
		err = x.match()
	}
	if err != nil {
		return nil, err
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
