package signin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/keybearer/keybearer"
)

// FlowCookieName is that of the cookie which a browser carries to the provider and back. Unlike the session's it is sent along when another site sends the browser here.
const FlowCookieName = CookieName + "-oidc"

// flowTime is how long the way to the provider and back may take.
const flowTime = 10 * time.Minute

// flow is one journey of a browser to the provider and back. It counts once.
type flow struct {
	state, nonce, verifier string
	next                   string // where to go then
	owner                  string // the operator who proves it again; "": somebody signs in
	began, until           time.Time
}

func (r *Register) depart(key string, f *flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.flows) >= maxFlows {
		var oldest string
		for key, other := range r.flows {
			if oldest == "" || other.began.Before(r.flows[oldest].began) {
				oldest = key
			}
		}
		delete(r.flows, oldest)
	}
	r.flows[key] = f
}

// arrive takes the flow; nil when there is none.
func (r *Register) arrive(key string, now time.Time) *flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flows[key]
	delete(r.flows, key)
	if f == nil || !now.Before(f.until) {
		return nil
	}
	return f
}

// Provider returns the OpenID provider; nil without one.
func (s *SignIn) Provider() *Provider { return s.provider }

// Depart returns the address at the provider to which the browser is to go, and has w keep what it will be known by when it is back. next is where it goes then. With again, who
// is signed in is to prove it again. It returns an error with the cause [ErrAway] when the provider cannot be asked, [keybearer.RateLimited], and
// [keybearer.Unauthenticated] when nobody is signed in who could prove it again.
func (s *SignIn) Depart(ctx context.Context, id string, w http.ResponseWriter, next string, again bool) (string, error) {
	if s.provider == nil {
		return "", keybearer.NewError(keybearer.NotFound, "this console knows no identity provider")
	}
	if _, err := s.attempt(ctx, id); err != nil {
		return "", err
	}
	now := s.register.now()
	f := &flow{state: random(), nonce: random(), verifier: oauth2.GenerateVerifier(), next: next, began: now, until: now.Add(flowTime)}
	options := []oauth2.AuthCodeOption{oidc.Nonce(f.nonce), oauth2.S256ChallengeOption(f.verifier)}
	if again {
		p, err := s.Person(ctx)
		if err != nil {
			return "", err
		}
		f.owner = p.Name
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	found, err := s.provider.look(ctx)
	if err != nil {
		s.log.Warn("the identity provider cannot be asked", "request_id", id, "error", err)
		return "", err
	}
	cookie := random()
	s.register.depart(keyOf(cookie), f)
	http.SetCookie(w, &http.Cookie{
		Name: FlowCookieName, Value: cookie, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(flowTime / time.Second),
	})
	return s.provider.oauth(found, keybearer.Secret{}).AuthCodeURL(f.state, options...), nil
}

// Arrive takes a browser back from the provider, signs the person in or notes that they proved it again, and returns where to go. It returns
// [keybearer.Unauthenticated] in words of our own for whatever does not hold, with the cause [ErrAway] when the provider cannot be asked, and
// [keybearer.AuditUnavailable].
func (s *SignIn) Arrive(ctx context.Context, id string, w http.ResponseWriter, r *http.Request) (next string, err error) {
	if s.provider == nil {
		return "", keybearer.NewError(keybearer.NotFound, "this console knows no identity provider")
	}
	if _, err := s.attempt(ctx, id); err != nil {
		return "", err
	}
	f, err := s.journey(w, r)
	if err == nil {
		next = f.next
		err = s.arrive(ctx, id, f, r.URL.Query())
	}
	if err != nil && keybearer.CodeOf(err) == keybearer.Unauthenticated {
		s.refused(id, keybearer.Unauthenticated)
		s.log.Warn("a sign-in by the identity provider was refused", "request_id", id, "error", err)
	}
	return next, err
}

// journey finds the flow that the browser left with, which ends here whatever comes of it.
func (s *SignIn) journey(w http.ResponseWriter, r *http.Request) (*flow, error) {
	lost := keybearer.NewError(keybearer.Unauthenticated, "this sign-in was not begun in this browser, or took too long").WithHint("sign in again")
	c, err := r.Cookie(FlowCookieName)
	if err != nil {
		return nil, lost
	}
	http.SetCookie(w, &http.Cookie{Name: FlowCookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: -1})
	f := s.register.arrive(keyOf(c.Value), s.register.now())
	states := r.URL.Query()["state"]
	if f == nil || len(states) != 1 || subtle.ConstantTimeCompare([]byte(states[0]), []byte(f.state)) != 1 {
		return nil, lost
	}
	return f, nil
}

// arrive judges what the provider sent the browser back with.
func (s *SignIn) arrive(ctx context.Context, id string, f *flow, query url.Values) error {
	found, err := s.provider.look(ctx)
	if err != nil {
		return err
	}
	no := func(detail, why string) error {
		return keybearer.NewError(keybearer.Unauthenticated, detail).WithHint("try again, or sign in with an operator token").Wrap(errors.New(why))
	}
	if issuers, there := query["iss"]; there && (len(issuers) != 1 || issuers[0] != s.provider.Issuer) || !there && found.named {
		return no("the answer is not the identity provider's", "the answer names another issuer (RFC 9207)")
	}
	if query.Has("error") {
		code := errText(query.Get("error"))
		if code == "access_denied" {
			return no("the identity provider did not let you in, or you stopped there", code)
		}
		return no("the identity provider refused to sign you in", "the provider answered with the error "+code)
	}
	c, err := s.redeem(ctx, found, f, query["code"])
	if err != nil {
		if errors.Is(err, ErrAway) {
			return err
		}
		return no("what the identity provider says does not hold", err.Error())
	}
	said, err := s.provider.word(c)
	if err != nil {
		return no("the identity provider does not say who you are in the way that Keybearer needs", err.Error())
	}
	actor, err := s.custody.ActorByAssertion(ctx, s.provider.assertion(said))
	if err != nil {
		return err
	}
	if f.owner == "" {
		return s.begin(ctx, id, ByProvider, actor, said)
	}
	if err := c.fresh(f.began, s.register.now()); err != nil {
		return no("the identity provider did not ask you to prove who you are", err.Error())
	}
	person, err := s.Person(ctx)
	if err != nil {
		return err
	}
	if person.Name != f.owner || said.Name != f.owner {
		return no("you proved to be somebody else", "another person than the session's was authenticated")
	}
	return s.confirmed(ctx)
}

// redeem turns the code into the claims of an ID token that is the provider's, for us, for this flow, and not over.
func (s *SignIn) redeem(ctx context.Context, found *found, f *flow, codes []string) (claims, error) {
	if len(codes) != 1 || codes[0] == "" {
		return nil, errors.New("the answer has no code, or several")
	}
	secret, err := s.provider.Secret()
	if err != nil {
		return nil, away(err)
	}
	ctx = oidc.ClientContext(ctx, found.client)
	token, err := s.provider.oauth(found, secret).Exchange(ctx, codes[0], oauth2.VerifierOption(f.verifier))
	if err != nil {
		if refusal, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
			return nil, fmt.Errorf("the token endpoint answered %d %s", refusal.Response.StatusCode, errText(refusal.ErrorCode)) // its text is the provider's
		}
		if _, ok := errors.AsType[*url.Error](err); ok {
			return nil, away(short(err))
		}
		return nil, errors.New("the answer of the token endpoint cannot be read")
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, errors.New("the token endpoint gave no ID token")
	}
	idToken, err := found.Verifier(&oidc.Config{ClientID: s.provider.ClientID}).Verify(ctx, raw)
	if err != nil {
		return nil, short(err)
	}
	if subtle.ConstantTimeCompare([]byte(idToken.Nonce), []byte(f.nonce)) != 1 {
		return nil, errors.New("the ID token has another nonce")
	}
	var c claims
	if err := idToken.Claims(&c); err != nil {
		return nil, errors.New("the claims of the ID token cannot be read")
	}
	return c, s.provider.party(c, len(idToken.Audience))
}
