package custody_test

import (
	"slices"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func tried(t *keybearer.Trial) string {
	if t == nil {
		return ""
	}
	return texts(keybearer.Terms{Rules: t.Rules})
}

// Whatever becomes of the rules, the trial stays within them; when it would refuse nothing any more it ends.
func TestATrialFollowsTheRules(t *testing.T) {
	const force, trial = "https://*.example.com https://api.example.org", "https://a.example.com/v1 https://api.example.org"
	for name, c := range map[string]struct {
		rules  []custody.Destination
		secret custody.Secret
		want   string
	}{
		"the same":                 {rules("*.example.com", "api.example.org"), custody.Secret{}, trial},
		"one less":                 {rules("*.example.com"), custody.Secret{}, "https://a.example.com/v1"},
		"one narrower, above":      {rules("a.example.com", "api.example.org"), custody.Secret{}, trial},
		"one narrower, below":      {rules("a.example.com/v1/x", "b.example.com", "api.example.org"), custody.Secret{}, "https://a.example.com/v1/x https://api.example.org"},
		"as narrow as the trial":   {rules("a.example.com/v1", "api.example.org"), custody.Secret{}, ""},
		"narrower than the trial":  {rules("a.example.com/v1/x"), custody.Secret{}, ""},
		"none":                     {nil, custody.Secret{}, ""},
		"wider":                    {rules("*.example.com", "api.example.org", "b.example.net"), text("n3w"), trial},
		"all others":               {rules("b.example.net"), text("n3w"), ""},
		"wider, and some are gone": {rules("b.example.net", "api.example.org"), text("n3w"), "https://api.example.org"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.scope("docs")
			if _, err := l.CreateCredential(t.Context(), by(root), "docs", bearer("crm", "s3cret", "*.example.com", "api.example.org")); err != nil {
				t.Fatal(err)
			}
			was, err := l.TryDestinations(t.Context(), by(root), crm, rules("a.example.com/v1", "api.example.org"))
			if err != nil || tried(was.Trial) != trial || texts(was.Terms) != force || was.Version != 1 || was.Trial.By != root.Subject {
				t.Fatal(was, err)
			}
			now, err := l.ReplaceDestinations(t.Context(), by(root), crm, c.rules, c.secret)
			if err != nil {
				t.Fatal(err)
			}
			if got := tried(now.Trial); got != c.want {
				t.Errorf("on trial: %q, want %q", got, c.want)
			}
			if now.Trial != nil && (now.Trial.ID != was.Trial.ID || !now.Trial.Since.Equal(was.Trial.Since)) {
				t.Error("it is another trial")
			}
			var changed []string
			for _, e := range l.action(custody.DestinationReplace) {
				changed = e.Changed
			}
			if slices.Contains(changed, "trial") != (c.want != trial) {
				t.Errorf("changed: %v", changed)
			}
		})
	}
}

func TestATrialIsForNarrowing(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	if _, err := l.CreateCredential(ctx, by(root), "docs", bearer("crm", "s3cret", "*.example.com")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		rules []custody.Destination
		code  keybearer.Code
	}{
		"another host":   {rules("api.example.org"), keybearer.RuleInvalid},
		"in clear":       {rules("http://a.example.com"), keybearer.RuleInvalid},
		"private":        {[]custody.Destination{{Rule: "a.example.com", Private: true}}, keybearer.RuleInvalid},
		"one of two":     {rules("a.example.com", "api.example.org"), keybearer.RuleInvalid},
		"no rule":        {nil, keybearer.Invalid},
		"the same":       {rules("*.example.com"), keybearer.Invalid},
		"the same plus":  {rules("*.example.com", "a.example.com/v1"), keybearer.Invalid},
		"no rule at all": {rules("*.com"), keybearer.RuleInvalid},
	} {
		if _, err := l.TryDestinations(ctx, by(root), crm, c.rules); keybearer.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := l.EnforceTrial(ctx, by(root), crm)
	wantCode(t, err, keybearer.Conflict)
	_, err = l.DiscardTrial(ctx, by(root), crm)
	wantCode(t, err, keybearer.Conflict)

	// To try the same again is no change; to enforce takes what a rollback would bring back away, too.
	a, err := l.TryDestinations(ctx, by(root), crm, rules("a.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.TryDestinations(ctx, by(root), crm, rules("a.example.com"))
	if err != nil || b.Revision != a.Revision {
		t.Error(b, err)
	}
	if _, err := l.SetSecret(ctx, by(root), crm, text("n3w")); err != nil {
		t.Fatal(err)
	}
	c, err := l.EnforceTrial(ctx, by(root), crm)
	if err != nil || texts(c.Terms) != "https://a.example.com" || c.Trial != nil || c.Version != 2 || texts(c.Previous.Terms) != "https://a.example.com" {
		t.Fatal(c, err)
	}

	// A row that was edited by hand, so that its trial is wider than its rules, is not enforced without the secret.
	edited := l.record(crm).Clone()
	edited.Trial = &keybearer.Trial{ID: "try_a", Rules: []keybearer.Rule{{Scheme: "https", Host: "evil.example", Port: 443}}}
	if _, err := l.store.Commit(ctx, keybearer.Batch{Writes: []keybearer.Write{{Credential: edited}}}); err != nil {
		t.Fatal(err)
	}
	_, err = l.EnforceTrial(ctx, by(root), crm)
	wantCode(t, err, keybearer.SecretRequired)
	if got := texts(l.record(crm).Current.Terms); got != "https://a.example.com" {
		t.Error(got)
	}
}
