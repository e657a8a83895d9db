package custody

import (
	"context"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// Credential is what may be seen of a credential: never its secret, nor anything of it.
type Credential struct {
	ID, ScopeID, Scope, Name string // Scope is the name
	Description              string
	Terms                    keybearer.Terms
	Trial                    *keybearer.Trial // narrower rules that report only; nil: there are none
	State                    keybearer.State
	PassCookies, PassTrace   bool
	ScrubBody                bool
	ExpiresAt                time.Time
	Version                  uint64 // of the secret
	VersionAt                time.Time
	Previous                 *Previous         // nil when there is nothing to roll back to
	Grants                   []keybearer.Grant // nil unless the actor may list them
	Level                    keybearer.Level   // the actor's
	Usage                    *keybearer.Usage  // nil when nothing is known
	CreatedAt, UpdatedAt     time.Time
	DeletedAt, RestorableTo  time.Time // of a tombstone
	Revision                 uint64
}

// Previous is what a rollback goes back to.
type Previous struct {
	Version   uint64
	Terms     keybearer.Terms
	CreatedAt time.Time
	KeptTo    time.Time
}

// view is what the actor, who may see it, sees of the credential.
func (c *Custody) view(a *Actor, on target, usage map[string]keybearer.Usage) Credential {
	cred, now := on.credential, c.now()
	v := Credential{
		ID: cred.ID, ScopeID: cred.ScopeID, Scope: on.scope.Name, Name: cred.Name, Description: cred.Description,
		Terms: cred.Current.Terms.Clone(), Trial: cred.Trial.Clone(), State: cred.State(now), PassCookies: cred.PassCookies, PassTrace: cred.PassTrace, ScrubBody: cred.ScrubBody,
		ExpiresAt: cred.ExpiresAt, Version: cred.Current.Number, VersionAt: cred.Current.CreatedAt,
		Level: a.level(on), CreatedAt: cred.CreatedAt, UpdatedAt: cred.UpdatedAt, DeletedAt: cred.DeletedAt, Revision: cred.Revision,
	}
	if p := c.previous(cred, now); p != nil {
		v.Previous = &Previous{p.Number, p.Terms.Clone(), p.CreatedAt, p.RetiredAt.Add(c.keepPrevious)}
	}
	if a.listsGrants(on) {
		v.Grants = append([]keybearer.Grant{}, cred.Grants...)
	}
	if u, ok := usage[cred.ID]; ok {
		v.Usage = &u
	}
	if !cred.DeletedAt.IsZero() {
		v.RestorableTo = cred.DeletedAt.Add(c.keepDeleted)
	}
	return v
}

func (a *Actor) listsGrants(on target) bool {
	return a.Caller == nil && (a.level(on) >= keybearer.Administer || a.ScopeAdmin(on.scope.ID))
}

// previous returns the version that a rollback goes back to, or nil.
func (c *Custody) previous(cred *keybearer.Credential, now time.Time) *keybearer.Version {
	p := cred.Previous
	if p == nil || len(p.Sealed) == 0 || !now.Before(p.RetiredAt.Add(c.keepPrevious)) {
		return nil
	}
	return p
}

// Credential shows one.
func (c *Custody) Credential(ctx context.Context, ask Ask, ref keybearer.Ref) (Credential, error) {
	on, err := c.find(ctx, ref)
	if err != nil {
		return Credential{}, err
	}
	if _, err := c.authorise(ask, CredentialShow, on); err != nil {
		return Credential{}, err
	}
	if on.credential == nil {
		return Credential{}, keybearer.NewError(keybearer.NotFound, "")
	}
	usage, err := c.usage(ctx, on.credential.ID)
	return c.view(&ask.Actor, on, usage), err
}

// find looks a credential up, exactly. What is not there is nil; a deleted scope holds nothing.
func (c *Custody) find(ctx context.Context, ref keybearer.Ref) (on target, err error) {
	if on.scope, err = c.liveScope(ctx, ref.Scope); err != nil || on.scope == nil {
		return on, err
	}
	on.credential, err = missing(c.store.Credential(ctx, keybearer.Ref{Scope: on.scope.ID, Name: ref.Name}))
	return on, err
}

// Credentials lists, in order of scope and name, the credentials of a scope ("" for all scopes) that the actor may see. Of what they may not
// see there is no trace. A page may hold fewer than asked for and still have a next one.
func (c *Custody) Credentials(ctx context.Context, ask Ask, scope string, q keybearer.Query) (keybearer.Page[Credential], error) {
	return c.FilterCredentials(ctx, ask, scope, q, Filter{})
}

// viewCredentials shows records that the actor may see.
func (c *Custody) viewCredentials(ctx context.Context, a *Actor, creds []*keybearer.Credential) ([]Credential, error) {
	out := make([]Credential, 0, len(creds))
	ids := make([]string, len(creds))
	for i, cred := range creds {
		ids[i] = cred.ID
	}
	usage, err := c.usage(ctx, ids...)
	if err != nil {
		return nil, err
	}
	scopeOf := c.scopesOnce(ctx)
	for _, cred := range creds {
		s, err := scopeOf(cred.ScopeID)
		if err != nil {
			return nil, err
		}
		if s != nil {
			out = append(out, c.view(a, target{scope: s, credential: cred}, usage))
		}
	}
	return out, nil
}

// scopesOnce is liveScope by id for the time of one listing, which asks the store for each scope once.
func (c *Custody) scopesOnce(ctx context.Context) func(id string) (*keybearer.Scope, error) {
	known := map[string]*keybearer.Scope{}
	return func(id string) (*keybearer.Scope, error) {
		if s, ok := known[id]; ok {
			return s, nil
		}
		s, err := c.liveScope(ctx, id)
		if err == nil {
			known[id] = s
		}
		return s, err
	}
}

func clampLimit(n int) int {
	if n <= 0 {
		return 100
	}
	return min(n, 1000)
}

// usage asks the ledger, if there is one.
func (c *Custody) usage(ctx context.Context, ids ...string) (map[string]keybearer.Usage, error) {
	if c.ledger == nil || len(ids) == 0 {
		return nil, nil
	}
	u, err := c.ledger.Usage(ctx, ids...)
	if err != nil {
		return nil, keybearer.AsError(err)
	}
	return u, nil
}

// change is a change of one credential while it is made.
type change struct {
	*permit
	ctx  context.Context
	now  time.Time
	was  *keybearer.Credential // as stored
	next *keybearer.Credential // to be stored

	fields []string // names of what changed
	scoped bool     // the commit includes the scope's row: whatever became of the scope meanwhile makes it stale
}

func (ch *change) note(fields ...string) { ch.fields = append(ch.fields, fields...) }

// changeCredential lets fn change a copy of the credential and commits it, once or, when others changed it meanwhile, anew. What is
// already as it was asked for is no change.
func (c *Custody) changeCredential(ctx context.Context, ask Ask, ref keybearer.Ref, action Action, subject keybearer.Subject, fn func(*change) error) (Credential, error) {
	on, err := c.find(ctx, ref)
	if err != nil {
		return Credential{}, err
	}
	if on.credential == nil {
		on.subject = subject
		if _, err := c.authorise(ask, action, on); err != nil {
			return Credential{}, err
		}
		return Credential{}, keybearer.NewError(keybearer.NotFound, "")
	}
	ref = keybearer.Ref{Scope: on.scope.ID, Name: on.credential.ID}
	unlock, err := c.locks.lock(ctx, on.scope.ID)
	if err != nil {
		return Credential{}, err
	}
	defer unlock()
	return retry(ctx, func() (Credential, error) {
		on, err := c.find(ctx, ref)
		if err != nil {
			return Credential{}, err
		}
		on.subject = subject
		p, err := c.authorise(ask, action, on)
		if err != nil {
			return Credential{}, err
		}
		switch {
		case on.credential == nil:
			return Credential{}, keybearer.NewError(keybearer.NotFound, "")
		case !on.credential.DeletedAt.IsZero() && action != CredentialRestore:
			return Credential{}, keybearer.NewError(keybearer.CredentialDeleted, "")
		case on.scope.Regenerating():
			return Credential{}, keybearer.NewError(keybearer.ScopeRegenerating, "")
		}
		if err := ask.check(on.credential.Revision); err != nil {
			return Credential{}, err
		}
		ch := &change{permit: p, ctx: ctx, now: c.moment(), was: on.credential, next: on.credential.Clone()}
		if err := fn(ch); err != nil {
			return Credential{}, err
		}
		ch.fitTrial()
		if len(ch.fields) > 0 {
			if err := ch.save(); err != nil {
				return Credential{}, err
			}
		}
		on.credential = ch.next
		usage, err := c.usage(ctx, on.credential.ID)
		return c.view(&ask.Actor, on, usage), err
	})
}

// save commits what fn changed.
func (ch *change) save() (err error) {
	ch.next.UpdatedAt = ch.now
	writes := []keybearer.Write{{Credential: ch.next}}
	if ch.scoped {
		writes = append(writes, keybearer.Write{Scope: ch.on.scope})
	}
	ch.next.Revision, err = ch.commit(ch.ctx, ch.fields, writes...)
	return err
}

// widens returns what the new terms admit beyond those in force.
func (ch *change) widens() []string {
	return policy.Widens(&ch.was.Current.Terms, &ch.next.Current.Terms)
}
