package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// asserted is an issuer that says what it is told to.
type asserted struct {
	user *keybearer.User
	err  error
}

func (a *asserted) Prove(context.Context, string, *keybearer.Caller, time.Time) (*keybearer.User, error) {
	return a.user, a.err
}

func (a *asserted) Recognize(text string) bool { return text == "assertion" }

// spending is a store that can fail to remember.
type spending struct {
	keybearer.Store
	err   error
	spent int
}

func (s *spending) Spend(ctx context.Context, id keybearer.OnceID, until time.Time) error {
	s.spent++
	if s.err != nil {
		return s.err
	}
	return s.Store.(keybearer.Spender).Spend(ctx, id, until)
}

// onBehalf is a request of the lab's caller for an acting user.
func (l *lab) onBehalf(credential string) *Call {
	c := l.call(credential)
	c.Fields = append(c.Fields, Field{"Keybearer-Acting-User", "assertion"})
	return c
}

func ann(once string, groups ...string) *keybearer.User {
	return &keybearer.User{ID: "ann", Groups: groups, Once: sha256.Sum256([]byte(once)), Until: time.Now().Add(time.Minute)}
}

func TestAUseOnBehalfOfAUser(t *testing.T) {
	users, store, n := &asserted{}, &spending{}, &notes{}
	l := newLab(t, noted(n), func(l *lab, c *Config) { store.Store = l.store; c.Store, c.Users = store, users })
	grants := func(subjects ...string) func(*keybearer.Credential, *keybearer.Bundle) {
		return func(c *keybearer.Credential, b *keybearer.Bundle) {
			for _, s := range subjects {
				c.Grants = append(c.Grants, keybearer.Grant{Subject: must(keybearer.ParseSubject(s)), Level: keybearer.Use})
			}
			c.Current.Terms.RequireUser, b.Terms.RequireUser = true, true
		}
	}
	l.credential("anns", l.bearer(), "s3cret-token", grants("user:ann"))
	l.credential("ops", l.bearer(), "s3cret-token", grants("group:ops"))
	l.credential("apps", l.bearer(), "s3cret-token")
	l.credential("nobodys", l.bearer(), "s3cret-token", func(c *keybearer.Credential, _ *keybearer.Bundle) { c.Grants = nil })
	l.credential("strict", l.bearer(), "s3cret-token", func(c *keybearer.Credential, _ *keybearer.Bundle) { c.Current.Terms.RequireUser = true })
	away := keybearer.NewError(keybearer.CallerGone, "")
	wrong := keybearer.NewError(keybearer.UserRequired, "wrong")
	for _, c := range []struct {
		name       string
		user       *keybearer.User
		err, spend error
		credential string
		code       keybearer.Code
		detail     string
		spent      int
	}{
		{"by the user's grant", ann("1"), nil, nil, "docs/anns", "", "", 1},
		{"once more", ann("1"), nil, nil, "docs/anns", keybearer.UserRequired, "the acting user's assertion was used before", 1},
		{"by the group's grant", ann("2", "ops"), nil, nil, "docs/ops", "", "", 1},
		{"of another group", ann("3", "dev"), nil, nil, "docs/ops", keybearer.CredentialForbidden, "", 0},
		{"and then with what was not used up", ann("3", "dev"), nil, nil, "docs/anns", "", "", 1},
		{"by the app's grant alone", ann("4"), nil, nil, "docs/apps", keybearer.CredentialForbidden, "", 0},
		{"a wrong assertion", nil, wrong, nil, "docs/anns", keybearer.UserRequired, "wrong", 0},
		{"a wrong assertion, told to a stranger", nil, wrong, nil, "docs/nobodys", keybearer.CredentialForbidden, "", 0},
		{"an assertion of nobody", nil, nil, nil, "docs/anns", keybearer.UserRequired, "the assertion names nobody", 0},
		{"an assertion of no name", &keybearer.User{}, nil, nil, "docs/anns", keybearer.UserRequired, "the assertion names nobody", 0},
		{"who asserts is not asked to the end", nil, away, nil, "docs/nobodys", keybearer.CallerGone, "", 0},
		{"nobody remembers", ann("5"), nil, errors.New("away"), "docs/anns", keybearer.StoreUnavailable, "", 1},
	} {
		users.user, users.err, store.err, store.spent = c.user, c.err, c.spend, 0
		p, err := l.proxy.gate.Admit(t.Context(), l.onBehalf(c.credential))
		if code := keybearer.CodeOf(asError(err)); code != c.code || c.detail != "" && err.Detail != c.detail || store.spent != c.spent {
			t.Errorf("%s: %v, spent %d times", c.name, err, store.spent)
		}
		who := ""
		if c.user != nil {
			who = c.user.ID
		}
		if p.event.ActingUser != who {
			t.Errorf("%s: on behalf of %q", c.name, p.event.ActingUser)
		}
		if err == nil {
			if _, ok := p.Keep("X-Any", "assertion"); ok {
				t.Errorf("%s: the assertion goes on", c.name)
			}
			l.update(must(l.store.Credential(t.Context(), p.asks.ref)), func(c *keybearer.Credential) { c.Description += "." })
			if err := p.Renew(t.Context()); err != nil || store.spent != c.spent { // it counts one time for the pass
				t.Errorf("%s, judged again: %v, spent %d times", c.name, err, store.spent)
			}
			p.Finish(Result{Status: 200})
		}
	}
	for _, credential := range []string{"docs/anns", "docs/strict"} { // by the sealed terms, and by the row alone
		if _, err := l.proxy.gate.Admit(t.Context(), l.call(credential)); err == nil || err.Code != keybearer.UserRequired {
			t.Errorf("%s without an assertion: %v", credential, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	users.user, users.err, store.err = ann("6"), nil, context.Canceled
	cancel()
	p := &Pass{asks: asks{user: users.user}}
	if err := l.proxy.gate.spend(gone, p); err == nil || err.Code != keybearer.CallerGone || p.spent {
		t.Errorf("one who has gone: %v", err)
	}
}

// Without an issuer, or a store that remembers, no assertion counts; who has no grant learns nothing of that.
func TestAnAssertionThatNobodyCanTake(t *testing.T) {
	for detail, option := range map[string]labOption{
		"the acting user's assertion cannot be verified: no issuer is configured": func(*lab, *Config) {},
		"the acting user's assertion cannot be accepted: this store does not remember which were used": func(l *lab, c *Config) {
			c.Store, c.Users = struct{ keybearer.Store }{l.store}, &asserted{user: ann("1")}
		},
	} {
		l := newLab(t, option)
		l.credential("crm", l.bearer(), "s3cret-token")
		l.credential("nobodys", l.bearer(), "s3cret-token", func(c *keybearer.Credential, _ *keybearer.Bundle) { c.Grants = nil })
		if _, err := l.proxy.gate.Admit(t.Context(), l.onBehalf("docs/crm")); err == nil || err.Code != keybearer.UserRequired || err.Detail != detail {
			t.Errorf("got %v, want %s", err, detail)
		}
		if _, err := l.proxy.gate.Admit(t.Context(), l.onBehalf("docs/nobodys")); err == nil || err.Code != keybearer.CredentialForbidden {
			t.Errorf("without a grant: %v", err)
		}
	}
}
