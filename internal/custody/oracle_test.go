package custody_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
	"github.com/keybearer/keybearer/test/soak"
)

var oracleSeed = flag.Uint64("oracle.seed", 0, "of TestSoakPermissionsAgainstCedar; 0: a new one")

// Cedar, which knows nothing of our code, and custody over the real store hold the same opinion of everybody's right to everything, whatever was
// done before: who may send with which credential, and who may ask for which action. Names are the same in many scopes, ids are asked for in
// scopes that they are not of, and what was deleted comes back under its old name.
func TestSoakPermissionsAgainstCedar(t *testing.T) {
	const stepsOfWorld = 5_000 // then names have become scarce
	total := soak.Size(t, 2_000, 1_000_000)
	seed := *oracleSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	began, asked := time.Now(), 0
	made, refused, answers := map[string]int{}, map[string]int{}, map[string]int{}
	for i := 0; i < total; i += stepsOfWorld {
		t.Run(fmt.Sprintf("-oracle.seed=%d", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range min(stepsOfWorld, total-i) {
				w.step()
				w.questions()
			}
			for name, n := range w.made {
				made[name] += n
			}
			for name, n := range w.refused {
				refused[name] += n
			}
			for name, n := range w.answers {
				answers[name] += n
				asked += n
			}
		})
		if t.Failed() {
			return
		}
		seed = rand.New(rand.NewPCG(seed, 1)).Uint64()
	}
	// A walk that comes to few places proves little.
	codes := []keybearer.Code{"", keybearer.CallerUnauthenticated, keybearer.CredentialForbidden}
	if soak.Long(t) {
		codes = append(codes, keybearer.CredentialDeleted, keybearer.CredentialDisabled, keybearer.CredentialExpired,
			keybearer.CredentialNeedsSecret, keybearer.UserRequired, keybearer.ScopeRegenerating)
		for _, s := range steps {
			if made[s.name]*10000 < total {
				t.Errorf("%q was done only %d times", s.name, made[s.name])
			}
		}
	}
	for _, code := range codes {
		if n := answers["send: "+string(code)]; n*2000 < total {
			t.Errorf("only %d requests to send were answered with %q", n, code)
		}
	}
	t.Logf("made %v, refused %v, answers %v", made, refused, answers)
	soak.Record(t, "permissions against `cedar-go`: who may send with what, who may do what",
		soak.Count(total)+" random steps, "+soak.Count(asked)+" questions", "0 disagreements in "+time.Since(began).Round(time.Second).String())
}

// questions asks both some random ones.
func (w *world) questions() {
	for range 3 {
		w.send(nil)
		w.may()
	}
	if w.chance(3) {
		w.list()
	}
}

// send asks whether a caller may send with a credential, on behalf of a person or not, on what the store holds now. It may be told the scope.
func (w *world) send(in *scopeSeen) {
	ctx := w.t.Context()
	if len(w.callers) == 0 {
		return
	}
	ref, caller := w.anyRef(), w.someCaller()
	if c := w.usable(caller, in); c != nil && (in != nil || w.chance(50)) {
		ref = keybearer.Ref{Scope: one(w, []string{c.scope.id, c.scope.name}), Name: one(w, []string{c.id, c.name})}
	}
	var user person
	q := question{principal: uid("App", caller.name), context: cedar.RecordMap{"now": moment(w.l.clock.Now())}}
	if w.chance(50) {
		user = person{name: one(w, userNames), groups: w.someGroups()}
		q.people = []person{user}
		q.context["user"] = user.uid()
	}
	s, c := w.find(ref)
	switch {
	case s == nil:
		q.resource = uid("Nothing", "")
	case c == nil:
		q.resource = uid("Credential", absent+s.id)
	default:
		q.resource = uid("Credential", c.id)
	}
	allows := func(action string) bool {
		q.action = action
		return w.oracle.allows(q)
	}

	var snap policy.Snapshot
	var err error
	if snap.Scope, err = w.l.store.Scope(ctx, ref.Scope); err == nil {
		snap.Credential, err = w.l.store.Credential(ctx, keybearer.Ref{Scope: snap.Scope.ID, Name: ref.Name})
	}
	if err != nil && keybearer.CodeOf(err) != keybearer.NotFound {
		w.t.Fatal(err)
	}
	if other := w.credentialByID(ref.Name); c == nil && s != nil && other != nil { // somebody has mixed up two scopes
		snap.Credential = w.l.record(keybearer.Ref{Scope: other.scope.id, Name: other.id})
	}
	record, err := w.l.store.Caller(ctx, caller.name)
	if err != nil {
		w.t.Fatal(err)
	}
	target, err := policy.ParseAbsolute("https://api.example.com/")
	if err != nil {
		w.t.Fatal(err)
	}
	d := policy.Decide(&policy.Request{
		Target: &target, Method: "GET", Caller: record, User: user.name, Groups: user.groups, Now: w.l.clock.Now(),
	}, snap, policy.Public)
	w.answers["send: "+string(d.Code)]++

	right := false
	switch d.Code {
	case "":
		right = allows("send")
	case keybearer.CallerUnauthenticated:
		right = caller.disabled || caller.deleted
	case keybearer.CredentialForbidden:
		right = !allows("send") && !allows("learn") && !allows("learn of its end")
	case keybearer.CredentialDeleted:
		right = !allows("send") && allows("learn of its end")
	case keybearer.UserRequired:
		right = !allows("send") && allows("learn") && c.requireUser && user.name == ""
	case keybearer.CredentialDisabled:
		right = !allows("send") && allows("learn") && c.disabled
	case keybearer.CredentialExpired:
		right = !allows("send") && allows("learn") && !c.expires.IsZero() && !c.expires.After(w.l.clock.Now())
	case keybearer.CredentialNeedsSecret:
		right = !allows("send") && allows("learn") && !c.sealed
	case keybearer.ScopeRegenerating:
		right = !allows("send") && allows("learn") && s.regenerating
	}
	if !right {
		w.t.Fatalf("%s for %q in %v sends with %s: %q (%s); Cedar says send %v, learn %v, learn of its end %v\nseen: %+v\nscope %+v\ncaller %+v",
			caller.name, user.name, user.groups, ref, d.Code, d.Reason, allows("send"), allows("learn"), allows("learn of its end"), c, s, caller)
	}
}

// usable is a credential that the caller has a grant for, in a scope that it may be bound to, or in that one.
func (w *world) usable(caller *callerSeen, in *scopeSeen) *credentialSeen {
	var held []*credentialSeen
	for _, c := range w.credentials {
		if c.grants[keybearer.AppSubject(caller.name)] != keybearer.NoLevel && (in == nil || c.scope == in) {
			held = append(held, c)
		}
	}
	if len(held) == 0 {
		return nil
	}
	return most(w, held, func(c *credentialSeen) bool { return c.scope.name == keybearer.GlobalScope || caller.bound[c.scope.id] })
}

var actions = slices.Sorted(slices.Values(custody.Needs()))

// may asks whether somebody may do an action.
func (w *world) may() {
	a, ok := w.anyActor()
	if !ok {
		w.answers["token refused"]++
		return
	}
	action := one(w, actions)
	var ref keybearer.Ref
	switch kind := kindOf(string(action)); {
	case action == custody.CredentialPurge, kind == "run":
	case kind == "keep":
		ref.Scope = w.anyScope()
	default:
		ref = w.anyRef()
	}
	var subject keybearer.Subject
	if action == custody.GrantSet {
		if subject = w.anySubject(); w.chance(50) {
			subject = a.Subject
		}
	}
	err := w.l.May(w.t.Context(), a.Actor, action, ref, subject)
	w.agree(a, fmt.Sprintf("may %s %s %s", action, ref, subject), w.judge(a, string(action), ref, subject), err)
	if code := keybearer.CodeOf(err); code == keybearer.NotFound && w.judge(a, string(action), ref, subject).allowed {
		w.t.Fatalf("%s %s is hidden from %s, who may do it", action, ref, a.principal)
	} else {
		w.answers["may: "+string(code)]++
	}
}

// list asks for all credentials: it shows those that Cedar lets be seen, and no others.
func (w *world) list() {
	a, ok := w.anyActor()
	if !ok || a.Subject == "" {
		return
	}
	var want, got []string
	for _, c := range w.credentials {
		if w.judge(a, "credential.list", keybearer.Ref{Scope: c.scope.id, Name: c.id}, "").allowed {
			want = append(want, c.id)
		}
	}
	page, err := w.l.Credentials(w.t.Context(), by(a.Actor), "", keybearer.Query{Deleted: true, Limit: 1000})
	if err != nil || page.Next != "" {
		w.t.Fatal(err, page.Next)
	}
	for _, c := range page.Items {
		got = append(got, c.ID)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		w.t.Fatalf("%s sees %s, Cedar shows %s", a.principal, strings.Join(got, " "), strings.Join(want, " "))
	}
	w.answers["listed"]++
}
