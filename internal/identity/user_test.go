package identity_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
	"github.com/keybearer/keybearer/test/harness"
)

const theirs = "keybearer-acting-user"

var (
	billingApp = &keybearer.Caller{ID: "cal_1", Name: "billing"}
	shopApp    = &keybearer.Caller{ID: "cal_2", Name: "shop"}
	otherApp   = &keybearer.Caller{ID: "cal_3", Name: "other"}
)

func openUsers(t *testing.T, k *harness.IssuerKey, change func(*identity.UserIssuer)) *identity.Users {
	t.Helper()
	c := identity.UserIssuer{
		IssuerConfig: config(keyFile(t, k)), Callers: []string{"billing", "shop"}, UserClaim: "sub", GroupsClaim: "groups", MaxAge: 5 * time.Minute,
		Parties: map[string]string{"client-7": "billing", "shop": "billing"},
	}
	c.Audience = theirs
	if change != nil {
		change(&c)
	}
	u, err := identity.OpenUsers([]identity.UserIssuer{c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

// assertion is what ann asserts to billing, changed.
func assertion(at time.Time, changes ...any) map[string]any {
	return claims(at, append([]any{"aud", theirs, "sub", "ann", "azp", "billing", "jti", "1", "groups", []string{"sales", "ops"}}, changes...)...)
}

func TestAnAssertionNamesUserAndGroups(t *testing.T) {
	now, k := time.Now(), signer(t, "ES256")
	u := openUsers(t, k, nil)
	many := make([]string, 1000)
	for i := range many {
		many[i] = string(rune('a' + i%26))
	}
	for name, c := range map[string]struct {
		changes []any
		id      string
		groups  []string
		caller  *keybearer.Caller
	}{
		"as usual":                 {nil, "ann", []string{"sales", "ops"}, billingApp},
		"azp as a subject":         {[]any{"azp", "app:billing"}, "ann", []string{"sales", "ops"}, billingApp},
		"azp by its binding":       {[]any{"azp", "client-7"}, "ann", []string{"sales", "ops"}, billingApp},
		"azp bound to another":     {[]any{"azp", "shop"}, "ann", []string{"sales", "ops"}, billingApp},
		"azp of another caller":    {[]any{"azp", "app:shop"}, "ann", []string{"sales", "ops"}, shopApp},
		"a claim without a name":   {[]any{"", []string{"root"}, "groups", nil}, "ann", nil, billingApp},
		"no groups":                {[]any{"groups", nil}, "ann", nil, billingApp},
		"no group":                 {[]any{"groups", []string{}}, "ann", nil, billingApp},
		"groups no grant could be": {[]any{"groups", []string{"", "a b", "ops", "ü", strings.Repeat("x", 256)}}, "ann", []string{"ops"}, billingApp},
		"1000 groups":              {[]any{"groups", many}, "ann", many, billingApp},
		"an id of a provider":      {[]any{"sub", "auth0|5f7c8ec7c33c6c004bbafe82"}, "auth0|5f7c8ec7c33c6c004bbafe82", []string{"sales", "ops"}, billingApp},
		"one audience, as a list":  {[]any{"aud", []string{theirs}}, "ann", []string{"sales", "ops"}, billingApp},
		"as old as may be":         {[]any{"iat", now.Add(-5 * time.Minute).Unix(), "exp", now.Unix()}, "ann", []string{"sales", "ops"}, billingApp},
		"longest id":               {[]any{"jti", strings.Repeat("x", 255)}, "ann", []string{"sales", "ops"}, billingApp},
	} {
		text := k.Sign(t, nil, assertion(now, c.changes...))
		user, err := u.Prove(t.Context(), text, c.caller, now)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if user.ID != c.id || !slices.Equal(user.Groups, c.groups) {
			t.Errorf("%s: %s in %v", name, user.ID, user.Groups)
		}
		if !u.Recognize(text) {
			t.Errorf("%s: not recognized", name)
		}
	}
}

// Each jti of an issuer has one id, whatever else stands in the assertion, and it is remembered until the assertion is of no use to anybody.
func TestTheIDOfAnAssertion(t *testing.T) {
	now, k := time.Now(), signer(t, "ES256")
	u := openUsers(t, k, nil)
	prove := func(u *identity.Users, changes ...any) *keybearer.User {
		t.Helper()
		user, err := u.Prove(t.Context(), k.Sign(t, nil, assertion(now, changes...)), billingApp, now)
		if err != nil {
			t.Fatal(err)
		}
		return user
	}
	first := prove(u)
	if again := prove(u, "sub", "bob", "exp", now.Add(time.Minute).Unix()); again.Once != first.Once {
		t.Error("two assertions with one jti have two ids")
	}
	if other := prove(u, "jti", "2"); other.Once == first.Once {
		t.Error("two jtis have one id")
	}
	// The bytes of issuer and jti together are the same here: only the border differs.
	beside := openUsers(t, k, func(c *identity.UserIssuer) { c.Issuer = iss + "1" })
	if other := prove(beside, "iss", iss+"1", "jti", "2"); other.Once == prove(u, "jti", "12").Once {
		t.Error("two issuers have one id")
	}
	if want := time.Unix(now.Add(caseLife).Unix(), 0).Add(time.Minute); !first.Until.Equal(want) {
		t.Errorf("remembered until %v, and it holds until %v", first.Until, want)
	}
	if d := cmp.Diff(first, prove(u)); d != "" {
		t.Error(d)
	}
}

func TestAnAssertionThatDoesNotHold(t *testing.T) {
	now, k := time.Now(), signer(t, "ES256")
	u := openUsers(t, k, nil)
	many := make([]string, 1001)
	for i := range many {
		many[i] = string(rune('a' + i%26))
	}
	stranger := harness.NewKey(t, k.ID, "ES256")
	says := func(changes ...any) string { return k.Sign(t, nil, assertion(now, changes...)) }
	for _, c := range []struct {
		name, text string
		caller     *keybearer.Caller
		says       string
	}{
		{"empty", "", billingApp, "no issuer that is trusted"},
		{"no JWT", "x.y.z", billingApp, "no issuer that is trusted"},
		{"another issuer", says("iss", "https://evil.example"), billingApp, "no issuer that is trusted"},
		{"the audience of callers", says("aud", ours), billingApp, "not for the audience"},
		{"both audiences", says("aud", []string{theirs, ours}), billingApp, "several audiences"},
		{"no audience", says("aud", nil), billingApp, "not for the audience"},
		{"a caller that may not use the issuer", says("azp", "other"), otherApp, "not trusted for this caller"},
		{"made for another caller", says("azp", "app:shop"), billingApp, "not made for this caller"},
		{"made for a caller by a name that is bound to another", says("azp", "shop"), shopApp, "not made for this caller"},
		{"made for a stranger", says("azp", "client-8"), billingApp, "not made for this caller"},
		{"made for nobody", says("azp", nil), billingApp, "not made for this caller"},
		{"made for nobody at all", says("azp", ""), billingApp, "not made for this caller"},
		{"made for many", says("azp", []string{"billing"}), billingApp, "not made for this caller"},
		{"another's signature", stranger.Sign(t, nil, assertion(now)), billingApp, "does not fit"},
		{"expired", says("iat", now.Add(-3*time.Minute).Unix(), "exp", now.Add(-61*time.Second).Unix()), billingApp, "expired"},
		{"not yet", says("nbf", now.Add(2*time.Minute).Unix()), billingApp, "not valid yet"},
		{"no exp", says("exp", nil), billingApp, "when it expires"},
		{"no iat", says("iat", nil), billingApp, "when it was made"},
		{"made in the future", says("iat", now.Add(2*time.Minute).Unix()), billingApp, "not valid yet"},
		{"lives for long", says("exp", now.Add(301*time.Second).Unix()), billingApp, "lives for too long"},
		{"lives for ever", says("exp", 99999999999), billingApp, "lives for too long"},
		{"old", says("iat", now.Add(-7*time.Minute).Unix(), "exp", now.Add(-90*time.Second).Unix()), billingApp, "expired"},
		{"no jti", says("jti", nil), billingApp, "no id"},
		{"empty jti", says("jti", ""), billingApp, "no id"},
		{"jti a number", says("jti", 7), billingApp, "no id"},
		{"long jti", says("jti", strings.Repeat("x", 256)), billingApp, "no id"},
		{"no user", says("sub", nil), billingApp, "no user"},
		{"empty user", says("sub", ""), billingApp, "no user"},
		{"user with a blank", says("sub", "ann b"), billingApp, "no user"},
		{"user with a line feed", says("sub", "ann\n"), billingApp, "no user"},
		{"user beyond ASCII", says("sub", "änn"), billingApp, "no user"},
		{"user a list", says("sub", []string{"ann"}), billingApp, "no user"},
		{"groups a text", says("groups", "ops"), billingApp, "not a list"},
		{"groups of numbers", says("groups", []int{1}), billingApp, "not a list"},
		{"1001 groups", says("groups", many), billingApp, "more than 1000 groups"},
		{"alg none", "eyJhbGciOiJub25lIn0." + strings.Split(says(), ".")[1] + ".", billingApp, "not allowed"},
	} {
		user, err := u.Prove(t.Context(), c.text, c.caller, now)
		e := keybearer.AsError(err)
		if user != nil || keybearer.CodeOf(err) != keybearer.UserRequired || !strings.Contains(e.Detail, c.says) || !strings.HasPrefix(e.Detail, "the acting user's assertion ") {
			t.Errorf("%s: %v, %v; want one that says %q", c.name, user, err, c.says)
			continue
		}
		if e.Hint == "" && c.says != "does not fit" {
			t.Errorf("%s: no hint", c.name)
		}
		for _, quoted := range []string{"ann", "evil", "client-8", theirs, "shop"} {
			if strings.Contains(e.Detail, quoted) {
				t.Errorf("%s: the detail quotes: %s", c.name, e.Detail)
			}
		}
	}
	for at, want := range map[time.Time]string{{}: "no time", now.Add(-2 * time.Minute): "not valid yet", now.Add(7 * time.Minute): "expired"} {
		if _, err := u.Prove(t.Context(), says(), billingApp, at); keybearer.CodeOf(err) != keybearer.UserRequired || !strings.Contains(err.Error(), want) {
			t.Errorf("at %v: %v", at, err)
		}
	}
}

// Who is made for nobody is not made for whom the empty name is bound to.
func TestAnAssertionForNobodyIsNobodys(t *testing.T) {
	now, k := time.Now(), signer(t, "ES256")
	u := openUsers(t, k, func(c *identity.UserIssuer) { c.Parties[""] = "billing" })
	if _, err := u.Prove(t.Context(), k.Sign(t, nil, assertion(now, "azp", nil)), billingApp, now); keybearer.CodeOf(err) != keybearer.UserRequired {
		t.Errorf("got %v", err)
	}
}

// No assertion is taken that was made longer ago than max_age and the leeway.
func TestNoAssertionIsOlderThanItMayLive(t *testing.T) {
	now, k := time.Now(), signer(t, "ES256")
	u := openUsers(t, k, func(c *identity.UserIssuer) { c.MaxAge = time.Minute })
	for age, holds := range map[time.Duration]bool{119 * time.Second: true, 121 * time.Second: false} {
		text := k.Sign(t, nil, assertion(now, "iat", now.Add(-age).Unix(), "exp", now.Add(-age+time.Minute).Unix()))
		if _, err := u.Prove(t.Context(), text, billingApp, time.Unix(now.Unix(), 0)); (err == nil) != holds {
			t.Errorf("made %v ago: %v", age, err)
		}
	}
}

func TestTwoIssuersOfActingUsers(t *testing.T) {
	now, a, b := time.Now(), signer(t, "ES256"), signer(t, "EdDSA")
	of := func(name string, k *harness.IssuerKey, callers ...string) identity.UserIssuer {
		c := config(keyFile(t, k))
		c.Issuer, c.Audience = name, theirs
		return identity.UserIssuer{IssuerConfig: c, Callers: callers, UserClaim: "sub", MaxAge: 5 * time.Minute}
	}
	u, err := identity.OpenUsers([]identity.UserIssuer{of("https://a.example", a, "billing"), of("https://b.example", b, "shop")})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, c := range []struct {
		key    *harness.IssuerKey
		issuer string
		caller *keybearer.Caller
		says   string
	}{
		{a, "https://a.example", billingApp, ""},
		{b, "https://b.example", shopApp, ""},
		{a, "https://a.example", shopApp, "not trusted for this caller"},
		{b, "https://a.example", billingApp, "does not have"}, // one issuer cannot speak for the other
		{a, "https://b.example", shopApp, "does not have"},
	} {
		user, err := u.Prove(t.Context(), c.key.Sign(t, nil, assertion(now, "iss", c.issuer, "azp", c.caller.Name, "", []string{"root"})), c.caller, now)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s by %s for %s: %v, want %q", c.issuer, c.key.ID, c.caller.Name, err, c.says)
		}
		if user != nil && user.Groups != nil {
			t.Errorf("groups that nobody asked for: %v", user.Groups)
		}
	}
}

func TestAnAssertionThatCannotBeJudged(t *testing.T) {
	now, k := time.Now(), signer(t, "ES256")
	u := openUsers(t, k, func(c *identity.UserIssuer) {
		c.JWKSFile, c.JWKSURL = "", "https://"+harness.Address().String()+"/keys" // nobody is there
	})
	text := k.Sign(t, nil, assertion(now))
	if _, err := u.Prove(t.Context(), text, billingApp, now); keybearer.CodeOf(err) != keybearer.UserRequired || !strings.Contains(err.Error(), "cannot be judged") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.Prove(ctx, text, billingApp, now); keybearer.CodeOf(err) != keybearer.CallerGone {
		t.Errorf("got %v", err)
	}
}
