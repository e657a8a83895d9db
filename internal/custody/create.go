package custody

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
)

// NewCredential is what a credential is made from.
type NewCredential struct {
	Name        string
	Description string
	Kind        keybearer.Kind
	Header      string
	Prefix      string
	Secret      Secret
	NoSecret    bool          // it is made without one, and needs it before it can be used
	Rules       []Destination // none: it refuses everything
	RequireUser bool
	WebSocket   bool
	PassCookies bool
	PassTrace   bool
	ScrubBody   bool
	ExpiresAt   time.Time
	Grants      []keybearer.Grant // beside the actor's own administer
}

// CreateCredential makes a credential; the actor gets administer on it. With NoSecret it needs one before it can be used. It returns [keybearer.ScopeKeyMissing], [keybearer.ScopeRegenerating],
// [keybearer.AlreadyExists] also for the name of a tombstone, [keybearer.SecretInvalid] and [keybearer.RuleInvalid].
func (c *Custody) CreateCredential(ctx context.Context, ask Ask, scope string, n NewCredential) (Credential, error) {
	ask.Revision = 0 // there is nothing yet that could have one
	return onScope(ctx, c, ask, scope, CredentialCreate, func(p *permit, s *keybearer.Scope) (Credential, error) {
		if err := ready(s); err != nil {
			return Credential{}, err
		}
		cred, err := c.build(&n)
		if err != nil {
			return Credential{}, err
		}
		cred.ScopeID = s.ID
		granted, err := c.firstGrants(ctx, cred, p.ask.Actor.Subject, n.Grants)
		if err != nil {
			return Credential{}, err
		}
		terms := cred.Current.Terms
		switch {
		case n.NoSecret && n.Secret.Given():
			return Credential{}, keybearer.NewError(keybearer.Invalid, "a credential that is made without a secret comes with one").WithHint("leave out one of the two")
		case n.NoSecret:
			cred.Current.CreatedAt = cred.CreatedAt // version 0: the first secret is version 1
		default:
			if cred.Current, err = c.seal(ctx, s, cred.ID, 1, &terms, &n.Secret); err != nil {
				return Credential{}, err
			}
			cred.LastVersion = 1
		}
		if taken, err := missing(c.store.Credential(ctx, keybearer.Ref{Scope: s.ID, Name: n.Name})); err != nil {
			return Credential{}, err
		} else if taken != nil {
			return Credential{}, nameTaken(taken)
		}
		p.on.credential = cred
		// The scope's row goes with it: a regenerate that came between makes this commit stale.
		if cred.Revision, err = p.commit(ctx, granted, keybearer.Write{Credential: cred}, keybearer.Write{Scope: s}); err != nil {
			return Credential{}, err
		}
		return c.view(&p.ask.Actor, p.on, nil), nil
	})
}

// firstGrants gives a new credential the actor's administer and the grants that were given with it, as SetGrant would. It returns the names of the latter.
func (c *Custody) firstGrants(ctx context.Context, cred *keybearer.Credential, actor keybearer.Subject, given []keybearer.Grant) (changed []string, err error) {
	cred.Grants = []keybearer.Grant{{Subject: actor, Level: keybearer.Administer}}
	for i, g := range given {
		in := fmt.Sprintf("grants[%d].", i)
		if err := c.checkGrant(ctx, g.Subject, g.Level); err != nil {
			e := *keybearer.AsError(err)
			if e.Field != "" {
				e.Field = in + e.Field
			}
			return nil, &e
		}
		at, had := findGrant(cred.Grants, g.Subject)
		switch {
		case g.Subject == actor:
			continue // administer holds all levels
		case had:
			return nil, keybearer.NewError(keybearer.Invalid, "the subject has a grant already").In(in + "subject")
		case len(cred.Grants) >= maxGrants:
			return nil, tooManyGrants().In(in + "subject")
		}
		cred.Grants = slices.Insert(cred.Grants, at, g)
		changed = append(changed, grantName(g.Subject))
	}
	return changed, nil
}

func nameTaken(by *keybearer.Credential) error {
	e := keybearer.NewError(keybearer.AlreadyExists, "").In("name")
	if !by.DeletedAt.IsZero() {
		e.Detail, e.Hint = "the name belongs to a deleted credential", "restore that one, or choose another name until it is purged"
	}
	return e
}

// build checks what was given and makes a record of it, without scope, grants and secret.
func (c *Custody) build(n *NewCredential) (*keybearer.Credential, error) {
	now := c.moment()
	if err := checkName("a credential", n.Name, keybearer.IDCredential); err != nil {
		return nil, err
	}
	if err := checkDescription(n.Description); err != nil {
		return nil, err
	}
	if err := checkExpiry(n.ExpiresAt, now); err != nil {
		return nil, err
	}
	rules, err := parseRules(n.Rules)
	if err != nil {
		return nil, err
	}
	terms := keybearer.Terms{Kind: n.Kind, Header: n.Header, Prefix: n.Prefix, Rules: rules, RequireUser: n.RequireUser, WebSocket: n.WebSocket}
	if err := checkTerms(&terms); err != nil {
		return nil, err
	}
	return &keybearer.Credential{
		ID: keybearer.NewID(keybearer.IDCredential), Name: n.Name, Description: n.Description,
		PassCookies: n.PassCookies, PassTrace: n.PassTrace, ScrubBody: n.ScrubBody, ExpiresAt: n.ExpiresAt.UTC(),
		Current: keybearer.Version{Terms: terms}, CreatedAt: now, UpdatedAt: now,
	}, nil
}

func checkExpiry(t, now time.Time) error {
	if !t.IsZero() && !t.After(now) {
		return keybearer.NewError(keybearer.Invalid, "the expiry lies in the past").WithHint("to stop use at once, disable the credential").In("expires_at")
	}
	return nil
}
