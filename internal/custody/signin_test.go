package custody_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func ofOperators(e *keybearer.Event) bool { return strings.HasPrefix(e.Action, "operator.") }

func TestAnAssertionIsJudgedAsOfNow(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	docs := l.scope("docs")
	for _, n := range []custody.NewOperator{
		{Name: "ann@example.com", Groups: []string{"writers"}, Roles: []string{"scope-admin:docs"}, NoToken: true},
		{Name: "bob"},
		{Name: "cid"},
	} {
		if _, _, err := l.CreateOperator(ctx, by(root), n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.DisableOperator(ctx, by(root), "bob"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteOperator(ctx, by(root), "cid"); err != nil {
		t.Fatal(err)
	}
	bob, err := l.store.Operator(ctx, "bob")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		said custody.Assertion
		want custody.Actor // no subject: refused
	}{
		"a stranger has groups and no role": {
			custody.Assertion{Name: "Zoe|1", Groups: []string{"platform", "two words", ""}},
			custody.Actor{Subject: "user:Zoe|1", Groups: []string{"platform"}},
		},
		"roles come from the mapping, those of scopes by name": {
			custody.Assertion{Name: "zoe", Roles: []string{keybearer.RoleInstanceAdmin, "scope-admin:docs"}},
			custody.Actor{Subject: "user:zoe", Roles: []string{keybearer.RoleInstanceAdmin, "scope-admin:" + docs.ID}},
		},
		"a role for a scope that is not there is none":   {custody.Assertion{Name: "zoe", Roles: []string{"scope-admin:gone"}}, custody.Actor{Subject: "user:zoe"}},
		"a mapping names scopes by name alone":           {custody.Assertion{Name: "zoe", Roles: []string{"scope-admin:" + docs.ID}}, custody.Actor{Subject: "user:zoe"}},
		"a record of the name adds its groups and roles": {custody.Assertion{Name: "ann@example.com", Groups: []string{"g"}}, custody.Actor{Subject: "user:ann@example.com", Groups: []string{"g", "writers"}, Roles: []string{"scope-admin:" + docs.ID}}},
		"a record of other capitals adds nothing":        {custody.Assertion{Name: "Ann@example.com"}, custody.Actor{Subject: "user:Ann@example.com"}},
		"disabled":                      {said: custody.Assertion{Name: "bob", Roles: []string{keybearer.RoleInstanceAdmin}}},
		"disabled, in capitals":         {said: custody.Assertion{Name: "BOB", Roles: []string{keybearer.RoleInstanceAdmin}}},
		"deleted":                       {said: custody.Assertion{Name: "cid"}},
		"a user of the admin socket":    {said: custody.Assertion{Name: "uid-0"}},
		"one in capitals":               {said: custody.Assertion{Name: "UID-0"}},
		"the id of a record":            {said: custody.Assertion{Name: bob.ID}},
		"nobody":                        {},
		"an id with a blank":            {said: custody.Assertion{Name: "a b"}},
		"an id that is too long":        {said: custody.Assertion{Name: strings.Repeat("a", 256)}},
		"an id that is not in ASCII":    {said: custody.Assertion{Name: "änn"}},
		"an id that ends the subject\n": {said: custody.Assertion{Name: "a\n"}},
	} {
		got, err := l.ActorByAssertion(ctx, test.said)
		if d := cmp.Diff(test.want, got); d != "" || (err == nil) != (test.want.Subject != "") {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
		if err != nil && keybearer.CodeOf(err) != keybearer.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnOperatorMayBeNamedLikeAnEMailAddress(t *testing.T) {
	l := newLab(t)
	for name, want := range map[string]keybearer.Code{
		"ann@example.com": "", "a.b+c@example.com": "", strings.Repeat("a", 64) + "@example.com": "",
		"Ann@example.com": keybearer.Invalid, "@example.com": keybearer.Invalid, "ann@": keybearer.Invalid, "a@b@c": keybearer.Invalid, "a b@c": keybearer.Invalid,
		"uid-1@example.com": keybearer.Invalid, "opr_a@example.com": keybearer.Invalid, strings.Repeat("a", 250) + "@b.c": keybearer.AlreadyExists, "a+b": keybearer.Invalid,
	} {
		if want == keybearer.AlreadyExists { // of the greatest length, and one more
			want = ""
			_, _, err := l.CreateOperator(t.Context(), by(root), custody.NewOperator{Name: "a" + name})
			wantCode(t, err, keybearer.Invalid)
		}
		_, _, err := l.CreateOperator(t.Context(), by(root), custody.NewOperator{Name: name})
		if got := keybearer.CodeOf(err); got != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestTheFirstOperatorIsMadeOnce(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	if err := l.OfferSetUp(ctx, by(root)); err != nil {
		t.Fatal(err)
	}
	_, _, err := l.SetUp(ctx, "req_1", "Not A Name")
	wantCode(t, err, keybearer.Invalid)
	var wg sync.WaitGroup
	codes := make([]keybearer.Code, 8)
	names := []string{"ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"}
	for i, name := range names {
		wg.Go(func() {
			_, token, err := l.SetUp(ctx, "req_2", name)
			codes[i] = keybearer.CodeOf(err)
			if err == nil {
				if actor, err := l.ActorByToken(ctx, token); err != nil || !actor.InstanceAdmin() {
					t.Errorf("%+v, %v", actor, err)
				}
			}
		})
	}
	wg.Wait()
	won := 0
	for _, code := range codes {
		if code == "" {
			won++
		} else if code != keybearer.Conflict {
			t.Errorf("%s", code)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
	wantCode(t, l.OfferSetUp(ctx, by(root)), keybearer.Conflict)

	// Who cannot be authenticated any more does not count.
	page, err := l.Operators(ctx, by(root), keybearer.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.DisableOperator(ctx, by(root), page.Items[0].Name); err != nil {
		t.Fatal(err)
	}
	if err := l.OfferSetUp(ctx, by(root)); err != nil {
		t.Error(err)
	}
	var got []string
	for _, e := range l.lines(ofOperators) {
		if e.Kind == keybearer.ChangeEvent {
			got = append(got, strings.TrimSpace(e.Action+" by "+e.Operator))
		}
	}
	want := []string{"operator.set-up-link by uid-0", "operator.set-up by", "operator.disable by uid-0", "operator.set-up-link by uid-0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSessionsAreAudited(t *testing.T) {
	l := newLab(t)
	actor := custody.Actor{Subject: "user:ann"}
	if err := l.SignedIn(t.Context(), "req_1", actor, "tok_a"); err != nil {
		t.Fatal(err)
	}
	l.SignedOut("req_2", actor)
	l.SignInRefused("req_3", keybearer.Unauthenticated)
	if err := l.SignedIn(t.Context(), "req_4", actor, ""); err != nil { // behind those that were queued
		t.Fatal(err)
	}
	var got []string
	for _, e := range l.lines(ofOperators) {
		got = append(got, strings.Join([]string{e.ID, string(e.Kind), e.Action, e.Operator, e.TokenID, e.Decision, string(e.Code)}, " "))
	}
	want := []string{
		"req_1 change operator.sign-in ann tok_a allow ", "req_2 change operator.sign-out ann  allow ",
		"req_3 refusal operator.sign-in   refuse unauthenticated", "req_4 change operator.sign-in ann  allow ",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
