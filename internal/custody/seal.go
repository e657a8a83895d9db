package custody

import (
	"context"
	"strings"

	"github.com/keybearer/keybearer"
)

// Secret is a new secret as it was given. The zero value gives none.
type Secret struct {
	Username   keybearer.Secret // kind basic
	Value      keybearer.Secret // for kind basic the password
	KeepBlanks bool             // leading or trailing blanks are meant
}

// Given reports whether there is one.
func (s *Secret) Given() bool { return !s.Username.IsZero() || !s.Value.IsZero() }

// seal checks the secret and seals it, with its terms, as that version of the credential.
func (c *Custody) seal(ctx context.Context, s *keybearer.Scope, credentialID string, number uint64, terms *keybearer.Terms, given *Secret) (keybearer.Version, error) {
	var none keybearer.Version
	if err := ready(s); err != nil {
		return none, err
	}
	if err := checkSecret(terms, given); err != nil {
		return none, err
	}
	bundle := keybearer.Bundle{Terms: terms.Clone(), Username: given.Username.Reveal(), Secret: given.Value}
	plain, err := bundle.Encode()
	if err != nil {
		return none, err
	}
	defer clear(plain)
	sc, err := keybearer.NewSealContext(s.ID, s.Key.Generation, credentialID, number, s.Key.Share)
	if err != nil {
		return none, err
	}
	sealed, err := c.keyring.Seal(ctx, s.Key.Name, sc, plain)
	if err != nil {
		return none, keyringError(err)
	}
	if len(sealed) == 0 {
		return none, keybearer.NewError(keybearer.KeyringUnavailable, "the keyring gave an empty answer")
	}
	return keybearer.Version{Number: number, Generation: s.Key.Generation, Sealed: sealed, Terms: terms.Clone(), CreatedAt: c.moment()}, nil
}

// give makes the secret the credential's current version, with the terms that ch.next has by now. The one before is kept for a
// rollback, with the terms that were in force for it.
func (ch *change) give(given *Secret) error {
	number := max(ch.was.LastVersion, ch.was.Current.Number) + 1
	v, err := ch.c.seal(ch.ctx, ch.on.scope, ch.was.ID, number, &ch.next.Current.Terms, given)
	if err != nil {
		return err
	}
	ch.next.Previous = nil
	if len(ch.was.Current.Sealed) > 0 && ch.c.keepPrevious > 0 {
		old := ch.was.Clone().Current
		old.RetiredAt = ch.now
		ch.next.Previous = &old
	}
	ch.next.Current, ch.next.LastVersion, ch.scoped = v, number, true
	ch.note("secret")
	return nil
}

// guard seals the secret, if one was given, with the changed terms. Without one it lets only a change pass that widens nothing, and has it narrow what
// a rollback would bring back, too.
func (ch *change) guard(given *Secret) error {
	if given.Given() {
		return ch.give(given)
	}
	if len(ch.was.Current.Sealed) == 0 {
		return nil // there is no secret that could go anywhere
	}
	if wider := ch.widens(); len(wider) > 0 {
		return keybearer.NewError(keybearer.SecretRequired, "this changes what the secret may be used for ("+strings.Join(wider, ", ")+") and needs the secret again")
	}
	ch.narrowPrevious()
	return nil
}

// SetSecret replaces the secret, sealed with the terms in force.
func (c *Custody) SetSecret(ctx context.Context, ask Ask, ref keybearer.Ref, given Secret) (Credential, error) {
	return c.changeCredential(ctx, ask, ref, CredentialSetSecret, "", func(ch *change) error { return ch.give(&given) })
}
