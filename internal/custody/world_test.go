package custody_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// world is what was acknowledged so far, remembered without looking at a record. Names are few, so that many things have the same one.
type world struct {
	t      testing.TB
	l      *lab
	rng    *rand.Rand
	oracle *oracle

	scopes      []*scopeSeen
	credentials []*credentialSeen
	gone        []string // ids of credentials that are no more
	callers     []*callerSeen
	operators   []*operatorSeen
	next        int // number in the next name that is never given again

	made, refused map[string]int // steps
	answers       map[string]int // to questions
}

type scopeSeen struct {
	id, name              string
	deleted, regenerating bool
}

type credentialSeen struct {
	id, name                      string
	scope                         *scopeSeen
	grants                        map[keybearer.Subject]keybearer.Level
	disabled, requireUser, sealed bool
	expires, deletedAt            time.Time
}

type callerSeen struct {
	id, name          string
	bound             map[string]bool // ids of scopes
	disabled, deleted bool
	token             keybearer.Secret
}

type operatorSeen struct {
	name              string
	groups            []string
	instance          bool
	scopes            map[string]bool // ids of those that it administers
	disabled, deleted bool
	token             keybearer.Secret
}

var (
	credentialNames = []string{"crm", "slack", "mail", "crm.old", "a", "billing"}
	userNames       = []string{"ann", "bob", "billing", "ops"}
	groupNames      = []string{"ops", "sales", "ann"}
)

const (
	maxScopes  = 5
	maxCallers = 5
)

// quiet is an audit log that nobody reads.
type quiet struct{}

func (quiet) Record(context.Context, *keybearer.Event) error { return nil }
func (quiet) Post(*keybearer.Event)                          {}
func (quiet) Offer(*keybearer.Event) bool                    { return true }
func (quiet) Ready() error                                   { return nil }
func (quiet) Close() error                                   { return nil }

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	l := newLab(t, func(c *custody.Config) { c.Auditor, c.Tail, c.Ledger = quiet{}, nil, nil })
	l.Hurry(100)
	w := &world{
		t: t, l: l, rng: rand.New(rand.NewPCG(seed, 0)),
		made: map[string]int{}, refused: map[string]int{}, answers: map[string]int{},
	}
	w.oracle = newOracle(t, w)
	if _, err := l.GenerateKey(t.Context(), by(root), keybearer.GlobalScope); err != nil {
		t.Fatal(err)
	}
	w.scopes = append(w.scopes, &scopeSeen{id: l.scopeRecord(keybearer.GlobalScope).ID, name: keybearer.GlobalScope})
	return w
}

func (w *world) scopeByID(id string) *scopeSeen {
	return pick(w.scopes, func(s *scopeSeen) bool { return s.id == id })
}

func (w *world) credentialByID(id string) *credentialSeen {
	return pick(w.credentials, func(c *credentialSeen) bool { return c.id == id })
}

func (w *world) caller(name string) *callerSeen {
	return pick(w.callers, func(c *callerSeen) bool { return c.name == name })
}

func pick[T any](all []*T, fits func(*T) bool) *T {
	if i := slices.IndexFunc(all, fits); i >= 0 {
		return all[i]
	}
	return nil
}

// find is what a reference means: a live scope by name or id, and what is in exactly that scope under that name or id.
func (w *world) find(ref keybearer.Ref) (*scopeSeen, *credentialSeen) {
	s := pick(w.scopes, func(s *scopeSeen) bool { return !s.deleted && (s.name == ref.Scope || s.id == ref.Scope) })
	if s == nil {
		return nil, nil
	}
	return s, pick(w.credentials, func(c *credentialSeen) bool { return c.scope == s && (c.name == ref.Name || c.id == ref.Name) })
}

// one draws from a list.
func one[T any](w *world, all []T) T { return all[w.rng.IntN(len(all))] }

// most draws, most often, one of those that fit.
func most[T any](w *world, all []T, fits func(T) bool) T {
	if w.chance(90) {
		if some := slices.DeleteFunc(slices.Clone(all), func(x T) bool { return !fits(x) }); len(some) > 0 {
			return one(w, some)
		}
	}
	return one(w, all)
}

func (w *world) chance(percent int) bool { return w.rng.IntN(100) < percent }

func (w *world) anyScope() string {
	s := most(w, w.scopes, func(s *scopeSeen) bool { return !s.deleted })
	switch w.rng.IntN(20) {
	case 0:
		return "no-such"
	case 1, 2, 3, 4, 5:
		return s.id
	}
	return s.name
}

// anyRef names a credential that is there, or was, or is elsewhere.
func (w *world) anyRef() keybearer.Ref {
	if len(w.credentials) > 0 && w.chance(60) {
		c := one(w, w.credentials)
		ref := keybearer.Ref{Scope: c.scope.name, Name: c.name}
		switch w.rng.IntN(8) {
		case 0:
			ref.Scope = c.scope.id
		case 1:
			ref.Name = c.id
		case 2:
			ref = keybearer.Ref{Scope: c.scope.id, Name: c.id}
		case 3:
			ref = keybearer.Ref{Scope: w.anyScope(), Name: c.id} // perhaps of another scope
		case 4:
			ref.Scope = keybearer.GlobalScope // nothing falls through to it, nor from it
		}
		return ref
	}
	if len(w.gone) > 0 && w.chance(20) {
		return keybearer.Ref{Scope: w.anyScope(), Name: one(w, w.gone)}
	}
	return keybearer.Ref{Scope: w.anyScope(), Name: one(w, credentialNames)}
}

func (w *world) anySubject() keybearer.Subject {
	switch w.rng.IntN(4) {
	case 0:
		return keybearer.UserSubject(one(w, userNames))
	case 1:
		return keybearer.GroupSubject(one(w, groupNames))
	}
	return keybearer.AppSubject(w.anyCaller())
}

func (w *world) anyCaller() string {
	if len(w.callers) == 0 || w.chance(5) {
		return one(w, userNames)
	}
	return w.someCaller().name
}

// someCaller draws one who has been there.
func (w *world) someCaller() *callerSeen {
	return most(w, w.callers, func(c *callerSeen) bool { return !c.deleted && (!c.disabled || w.chance(30)) })
}

func (w *world) someGroups() (groups []string) {
	for _, g := range groupNames {
		if w.chance(25) {
			groups = append(groups, g)
		}
	}
	return groups
}

// actor is somebody who asks, as Keybearer sees them and as Cedar does.
type actor struct {
	custody.Actor
	principal uidOf
	people    []person
}

// anyActor draws one: an operator or a caller by a token, somebody whom another part vouches for, an instance admin, nobody.
func (w *world) anyActor() (actor, bool) {
	ctx := w.t.Context()
	switch n := w.rng.IntN(20); {
	case n == 0:
		return actor{principal: uid("Nobody", "")}, true
	case n < 4:
		p := person{name: one(w, userNames), groups: w.someGroups()}
		return actor{custody.Actor{Subject: keybearer.UserSubject(p.name), Groups: p.groups}, p.uid(), []person{p}}, true
	case n < 8 && len(w.callers) > 0: // as the data path knows one, live or not
		c := w.someCaller()
		r, err := w.l.store.Caller(ctx, c.name)
		if err != nil {
			w.t.Fatal(err)
		}
		return actor{custody.Actor{Subject: keybearer.AppSubject(c.name), Caller: r}, uid("App", c.name), nil}, true
	case n < 10 && len(w.callers) > 0:
		c := w.someCaller()
		a, err := w.l.ActorByToken(ctx, c.token)
		if w.token(err, !c.disabled && !c.deleted, "caller "+c.name) {
			return actor{a, uid("App", c.name), nil}, true
		}
		return actor{}, false
	case n < 16 && len(w.operators) > 0:
		o := most(w, w.operators, func(o *operatorSeen) bool { return !o.deleted && !o.disabled })
		a, err := w.l.ActorByToken(ctx, o.token)
		if w.token(err, !o.disabled && !o.deleted, "operator "+o.name) {
			p := person{name: o.name, groups: o.groups}
			for _, id := range slices.Sorted(maps.Keys(o.scopes)) {
				p.roles = append(p.roles, uid("Admins", id))
			}
			if o.instance {
				p.roles = append(p.roles, uid("Role", "instance-admin"))
			}
			return actor{a, p.uid(), []person{p}}, true
		}
		return actor{}, false
	}
	return rootActor, true
}

// token holds the answer to a token against what it must be.
func (w *world) token(err error, live bool, whose string) bool {
	if (err == nil) != live || err != nil && keybearer.CodeOf(err) != keybearer.Unauthenticated {
		w.t.Fatalf("the token of %s, live %v, is answered %v", whose, live, err)
	}
	return live
}

func (w *world) name(prefix string) string {
	w.next++
	return fmt.Sprintf("%s-%d", prefix, w.next)
}
