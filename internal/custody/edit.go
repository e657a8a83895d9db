package custody

import (
	"context"
	"slices"
	"time"

	"github.com/keybearer/keybearer"
)

// Patch changes a credential. Nil fields stay.
type Patch struct {
	Description *string
	Kind        *keybearer.Kind
	Header      *string
	Prefix      *string
	RequireUser *bool // takes administer
	WebSocket   *bool // takes administer
	PassCookies *bool
	PassTrace   *bool
	ScrubBody   *bool
	ExpiresAt   *time.Time     // zero: never
	Rules       *[]Destination // in the place of all there are; takes administer
	Secret      Secret         // becomes a new version with the changed terms
}

// EditCredential changes a credential. It returns [keybearer.SecretRequired] when the change widens what the secret may be used for, or is one of kind or
// header, and no secret comes with it.
func (c *Custody) EditCredential(ctx context.Context, ask Ask, ref keybearer.Ref, p Patch) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, CredentialEdit, "", func(ch *change) error {
		next := ch.next
		set(ch, "description", &next.Description, p.Description)
		set(ch, "pass_cookies", &next.PassCookies, p.PassCookies)
		set(ch, "pass_trace", &next.PassTrace, p.PassTrace)
		set(ch, "scrub_body", &next.ScrubBody, p.ScrubBody)
		if p.ExpiresAt != nil && !p.ExpiresAt.Equal(next.ExpiresAt) {
			next.ExpiresAt = p.ExpiresAt.UTC()
			ch.note("expires_at")
			if err := checkExpiry(next.ExpiresAt, ch.now); err != nil {
				return err
			}
		}
		if err := checkDescription(next.Description); err != nil {
			return err
		}
		terms := &next.Current.Terms
		if p.Kind != nil && *p.Kind != terms.Kind {
			terms.Header, terms.Prefix = "", "" // they belong to the old kind
		}
		set(ch, "kind", &terms.Kind, p.Kind)
		set(ch, "header", &terms.Header, p.Header)
		set(ch, "prefix", &terms.Prefix, p.Prefix)
		if p.Rules != nil {
			if err := ch.setRules(*p.Rules); err != nil {
				return err
			}
		}
		if p.RequireUser != nil || p.WebSocket != nil {
			if err := ch.raise(keybearer.Administer); err != nil {
				return err
			}
			set(ch, "require_user", &terms.RequireUser, p.RequireUser)
			set(ch, "websocket", &terms.WebSocket, p.WebSocket)
		}
		if err := checkTerms(terms); err != nil {
			return err
		}
		return ch.guard(&p.Secret)
	})
}

// setRules puts the rules in the place of all there are.
func (ch *change) setRules(given []Destination) error {
	if err := ch.raise(keybearer.Administer); err != nil {
		return err
	}
	rules, err := parseRules(given)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(rules, ch.was.Current.Terms.Rules, sameRule) {
		ch.next.Current.Terms.Rules = rules
		ch.note("rules")
	}
	return nil
}

// set changes a field and notes its name, when there is a value and it is another one.
func set[T comparable](ch *change, name string, field, value *T) {
	if value != nil && *value != *field {
		*field = *value
		ch.note(name)
	}
}
