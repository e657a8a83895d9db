package custody_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

// probe is one use that a secret may be put to.
type probe struct {
	url, method string
	user        bool
	reach       policy.Reach
}

var probes = func() (all []probe) {
	for _, url := range []string{
		"https://a.example.com/", "https://a.example.com/v1/x", "https://b.example.com/", "https://b.example.com:8443/v1", "http://a.example.com/",
		"https://x.y.example.com/v1", "https://example.org/",
	} {
		for _, method := range []string{"GET", "POST"} {
			for _, user := range []bool{false, true} {
				for _, reach := range []policy.Reach{policy.Public, policy.Listed} {
					all = append(all, probe{url, method, user, reach})
				}
			}
		}
	}
	return all
}()

// uses are what the terms admit: places, and the way in which the secret is written there.
func uses(terms *keybearer.Terms) map[string]bool {
	out := map[string]bool{}
	for _, p := range probes {
		if terms.RequireUser && !p.user {
			continue
		}
		t, err := policy.ParseAbsolute(p.url)
		if err != nil {
			panic(err)
		}
		t.Literal = true
		if a := policy.Admit(terms, &t, p.method, p.reach); a.Code == "" {
			out[fmt.Sprintf("%v as %s %s %q", p, terms.Kind, terms.Header, terms.Prefix)] = true
			if terms.WebSocket {
				out[fmt.Sprintf("%v as websocket", p)] = true
			}
		}
	}
	return out
}

// places are the uses whatever the kind and header.
func places(terms *keybearer.Terms) map[string]bool {
	return uses(&keybearer.Terms{Rules: terms.Rules, RequireUser: terms.RequireUser, WebSocket: terms.WebSocket})
}

func within(inner, outer map[string]bool) bool {
	for k := range inner {
		if !outer[k] {
			return false
		}
	}
	return true
}

// given is what the model remembers of each secret that was ever given: what it was given for.
type given struct {
	secret string
	uses   map[string]bool
}

// A secret is never usable for anything that it was not given for, whatever is done in whatever order.
func TestSecretStaysWhereItWasGivenFor(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	someRules := rapid.Custom(func(t *rapid.T) []custody.Destination {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) custody.Destination {
			return custody.Destination{
				Rule: rapid.SampledFrom([]string{
					"a.example.com", "a.example.com/v1", "b.example.com", "*.example.com", "**.example.com/v1", "http://a.example.com", "*.example.com:8443", "example.org",
				}).Draw(t, "rule"),
				Methods: rapid.SampledFrom([][]string{nil, {"GET"}, {"GET", "POST"}}).Draw(t, "methods"),
				Private: rapid.Bool().Draw(t, "private"),
			}
		}), 0, 3).Draw(t, "rules")
	})
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		name := fmt.Sprintf("c%d", run)
		scope := l.scope("s" + name).Name
		r := ref(scope, name)
		model := map[uint64]given{}
		highest := uint64(0)
		secrets := 0
		// maybe gives a new secret or none.
		maybe := func() custody.Secret {
			if !rapid.Bool().Draw(t, "with secret") {
				return custody.Secret{}
			}
			secrets++
			return text(fmt.Sprintf("%s-secret-%d", name, secrets))
		}
		// judge compares what is stored with the model after an operation that may have been given a secret.
		judge := func(op string, before *keybearer.Credential, s custody.Secret, err error) {
			after := l.record(r)
			switch code := keybearer.CodeOf(err); {
			case code == "" && s.Given():
				if after.Current.Number != highest+1 {
					t.Fatalf("%s: version %d after %d", op, after.Current.Number, highest)
				}
				highest++
				model[highest] = given{s.Value.Reveal(), uses(&after.Current.Terms)}
			case code == "" && before != nil && op != "rollback":
				if after.Current.Number != before.Current.Number {
					t.Fatalf("%s: another version without a secret", op)
				}
				if !within(uses(&after.Current.Terms), uses(&before.Current.Terms)) {
					t.Fatalf("%s widened without the secret: %s -> %s", op, texts(before.Current.Terms), texts(after.Current.Terms))
				}
				if after.Previous != nil { // nor does a rollback bring back what was taken away
					now, back := places(&after.Current.Terms), places(&after.Previous.Terms)
					for place := range places(&before.Current.Terms) {
						if !now[place] && back[place] {
							t.Fatalf("%s: %s -> %s, and a rollback to %s brings back %s", op, texts(before.Current.Terms), texts(after.Current.Terms), texts(after.Previous.Terms), place)
						}
					}
				}
			case code == keybearer.RuleInvalid && op == "try", code == keybearer.Conflict && (op == "enforce" || op == "discard"):
			case code == "" || code == keybearer.SecretRequired || code == keybearer.NoPreviousVersion || code == keybearer.NotFound || code == keybearer.Invalid:
			default:
				t.Fatalf("%s: %v", op, err)
			}
			if trial := after.Trial; trial != nil { // narrower than what is in force, and canonical, whatever became of that meanwhile
				tried, force := uses(&keybearer.Terms{Rules: trial.Rules}), uses(&keybearer.Terms{Rules: after.Current.Terms.Rules})
				if len(trial.Rules) == 0 || !within(tried, force) || !slices.EqualFunc(policy.CanonicalRules(trial.Rules), trial.Rules, func(a, b keybearer.Rule) bool {
					return a.String() == b.String() && slices.Equal(a.Methods, b.Methods) && a.Private == b.Private
				}) {
					t.Fatalf("%s: the trial %v is not within %s", op, trial.Rules, texts(after.Current.Terms))
				}
			}
			for _, v := range []*keybearer.Version{&after.Current, after.Previous} {
				if v == nil {
					continue
				}
				b, err := l.opened(l.scopeRecord(scope), after.ID, v)
				if err != nil {
					t.Fatalf("%s: version %d does not open: %v", op, v.Number, err)
				}
				was := model[v.Number]
				if b.Secret.Reveal() != was.secret {
					t.Fatalf("%s: version %d is another secret", op, v.Number)
				}
				// What the row says and what was sealed: neither goes beyond what it was given for.
				for what, terms := range map[string]*keybearer.Terms{"row": &v.Terms, "bundle": &b.Terms} {
					if !within(uses(terms), was.uses) {
						t.Fatalf("%s: the %s of version %d admits more than it was given for: %s", op, what, v.Number, texts(*terms))
					}
				}
				if !within(uses(&v.Terms), uses(&b.Terms)) {
					t.Fatalf("%s: version %d could not be used where its row says", op, v.Number)
				}
			}
		}
		n := custody.NewCredential{
			Name: name, Kind: keybearer.Header, Header: "X-Key", Rules: someRules.Draw(t, "rules"), Secret: text(name + "-first"),
			RequireUser: rapid.Bool().Draw(t, "user"), WebSocket: rapid.Bool().Draw(t, "ws"),
		}
		_, err := l.CreateCredential(ctx, by(root), scope, n)
		judge("create", nil, n.Secret, err)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(*rapid.T) {
				before, s := l.record(r), maybe()
				_, err := l.AddDestinations(ctx, by(root), r, someRules.Draw(t, "rules"), s)
				judge("add", before, s, err)
			},
			"replace": func(*rapid.T) {
				before, s := l.record(r), maybe()
				_, err := l.ReplaceDestinations(ctx, by(root), r, someRules.Draw(t, "rules"), s)
				judge("replace", before, s, err)
			},
			"remove": func(*rapid.T) {
				before := l.record(r)
				if len(before.Current.Terms.Rules) == 0 {
					return
				}
				rule := rapid.SampledFrom(before.Current.Terms.Rules).Draw(t, "rule").String()
				_, err := l.RemoveDestination(ctx, by(root), r, rule)
				judge("remove", before, custody.Secret{}, err)
				if err != nil || slices.ContainsFunc(l.record(r).Current.Terms.Rules, func(x keybearer.Rule) bool { return x.String() == rule }) {
					t.Fatalf("%s was not removed: %v", rule, err)
				}
			},
			"edit": func(*rapid.T) {
				before, p := l.record(r), custody.Patch{Secret: maybe()}
				switch rapid.IntRange(0, 5).Draw(t, "what") {
				case 0:
					p.RequireUser = new(rapid.Bool().Draw(t, "user"))
				case 1:
					p.WebSocket = new(rapid.Bool().Draw(t, "ws"))
				case 2:
					p.Kind = new(rapid.SampledFrom([]keybearer.Kind{keybearer.Bearer, keybearer.Header}).Draw(t, "kind"))
				case 3:
					p.Header = new(rapid.SampledFrom([]string{"X-Key", "X-Other"}).Draw(t, "header"))
				case 4:
					p.Description = new("words")
				case 5:
					p.Rules = new(someRules.Draw(t, "rules"))
					p.RequireUser = new(rapid.Bool().Draw(t, "user"))
				}
				_, err := l.EditCredential(ctx, by(root), r, p)
				judge("edit", before, p.Secret, err)
			},
			"set-secret": func(*rapid.T) {
				secrets++
				before, s := l.record(r), text(fmt.Sprintf("%s-secret-%d", name, secrets))
				_, err := l.SetSecret(ctx, by(root), r, s)
				judge("set-secret", before, s, err)
			},
			"try": func(*rapid.T) {
				before := l.record(r)
				_, err := l.TryDestinations(ctx, by(root), r, someRules.Draw(t, "rules"))
				judge("try", before, custody.Secret{}, err)
				if after := l.record(r); !within(uses(&before.Current.Terms), uses(&after.Current.Terms)) {
					t.Fatal("a trial took something away")
				}
			},
			"try some": func(*rapid.T) {
				before := l.record(r)
				var some []custody.Destination
				for _, x := range before.Current.Terms.Rules {
					if rapid.Bool().Draw(t, "kept") {
						some = append(some, custody.Destination{Rule: x.String(), Methods: x.Methods, Private: x.Private})
					}
				}
				_, err := l.TryDestinations(ctx, by(root), r, some)
				judge("try", before, custody.Secret{}, err)
			},
			"enforce": func(*rapid.T) {
				before := l.record(r)
				_, err := l.EnforceTrial(ctx, by(root), r)
				judge("enforce", before, custody.Secret{}, err)
				after := l.record(r)
				if (err == nil) != (before.Trial != nil) || err == nil && (after.Trial != nil || !slices.EqualFunc(after.Current.Terms.Rules, before.Trial.Rules, func(a, b keybearer.Rule) bool { return a.String() == b.String() })) {
					t.Fatalf("enforced %+v: %v", after, err)
				}
			},
			"discard": func(*rapid.T) {
				before := l.record(r)
				_, err := l.DiscardTrial(ctx, by(root), r)
				judge("discard", before, custody.Secret{}, err)
				if after := l.record(r); after.Trial != nil || !within(uses(&before.Current.Terms), uses(&after.Current.Terms)) {
					t.Fatalf("discarded %+v", after)
				}
			},
			"rollback": func(*rapid.T) {
				before := l.record(r)
				_, err := l.RollbackCredential(ctx, by(root), r)
				judge("rollback", before, custody.Secret{}, err)
			},
			"sweep": func(*rapid.T) {
				l.clock.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "hours")) * time.Hour)
				if err := l.Sweep(ctx, l.clock.Now()); err != nil {
					t.Fatal(err)
				}
				judge("sweep", nil, custody.Secret{}, nil)
			},
			"rotate": func(*rapid.T) {
				if _, err := l.RotateKey(ctx, by(root), scope); err != nil {
					t.Fatal(err)
				}
				judge("rotate", nil, custody.Secret{}, nil)
			},
		})
	})
}
