package custody_test

import (
	"slices"
	"time"

	"github.com/cedar-policy/cedar-go"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

type uidOf = cedar.EntityUID

var rootActor = func() actor {
	p := person{name: "uid-0", roles: []cedar.EntityUID{uid("Role", "instance-admin")}}
	return actor{root, p.uid(), []person{p}}
}()

// verdict is what Cedar says to an actor's asking for an action.
type verdict struct{ allowed, seen bool }

// judge asks Cedar. What a reference does not lead to is Nothing, or absent from its scope.
func (w *world) judge(a actor, action string, ref keybearer.Ref, subject keybearer.Subject) verdict {
	q := question{principal: a.principal, action: action, people: a.people, resource: uid("Instance", "")}
	q.context = cedar.RecordMap{"subject": uidOfSubject(subject)}
	if ref.Scope != "" {
		s, c := w.find(ref)
		switch {
		case s == nil:
			q.resource = uid("Nothing", "")
		case ref.Name == "":
			q.resource = uid("Scope", s.id)
		case c == nil:
			q.resource = uid("Credential", absent+s.id)
		default:
			q.resource = uid("Credential", c.id)
		}
	}
	v := verdict{allowed: w.oracle.allows(q)}
	q.action = "see"
	v.seen = ref.Name == "" || q.resource.Type == "Credential" && w.oracle.allows(q)
	return v
}

func uidOfSubject(s keybearer.Subject) cedar.EntityUID {
	kind, name := s.Split()
	return uid(map[string]string{"app": "App", "user": "User", "group": "Group"}[kind], name)
}

// agree fails the test unless the error is one that the verdict allows. It reports whether the operation was done.
func (w *world) agree(a actor, what string, v verdict, err error) bool {
	w.t.Helper()
	code := keybearer.CodeOf(err)
	var right bool
	switch {
	case a.Subject == "":
		right = code == keybearer.Unauthenticated && !v.allowed
	case code == keybearer.Forbidden:
		right = !v.allowed && v.seen
	case code == keybearer.NotFound:
		right = v.allowed || !v.seen
	case code == keybearer.Unauthenticated:
		right = false
	default: // done, or refused for a reason that only those may learn who could have done it
		right = v.allowed
	}
	if !right {
		w.t.Fatalf("%s of %s: %q (%v), Cedar says allowed %v, seen %v", what, a.principal, code, err, v.allowed, v.seen)
	}
	return err == nil
}

// step does one random thing as a random actor, most often one who may.
func (w *world) step() {
	a, ok := rootActor, true
	if w.chance(50) {
		if a, ok = w.anyActor(); !ok {
			w.refused["token"]++
			return
		}
	}
	defer w.oracle.changed()
	n := w.rng.IntN(1000)
	for _, s := range steps {
		if n -= s.weight; n < 0 {
			if s.do(w, a) {
				w.made[s.name]++
			} else {
				w.refused[s.name]++
			}
			return
		}
	}
}

var steps = []struct {
	name   string
	weight int // of 1000
	do     func(*world, actor) bool
}{
	{"create scope", 15, (*world).createScope},
	{"delete scope", 2, (*world).deleteScope},
	{"regenerate", 6, (*world).regenerate},
	{"interrupt", 4, (*world).interrupt},
	{"create credential", 110, (*world).createCredential},
	{"delete credential", 40, (*world).deleteCredential},
	{"restore credential", 50, (*world).restoreCredential},
	{"wait", 3, (*world).wait},
	{"grant", 220, (*world).grant},
	{"revoke", 120, (*world).revoke},
	{"disable", 40, func(w *world, a actor) bool { return w.toggle(a, true) }},
	{"enable", 60, func(w *world, a actor) bool { return w.toggle(a, false) }},
	{"expire", 40, (*world).expire},
	{"require user", 30, (*world).demandUser},
	{"set secret", 40, (*world).setSecret},
	{"create caller", 15, (*world).createCaller},
	{"bind", 110, func(w *world, a actor) bool { return w.bind(a, true) }},
	{"unbind", 25, func(w *world, a actor) bool { return w.bind(a, false) }},
	{"disable caller", 10, func(w *world, a actor) bool { return w.toggleCaller(a, true) }},
	{"enable caller", 25, func(w *world, a actor) bool { return w.toggleCaller(a, false) }},
	{"delete caller", 3, (*world).deleteCaller},
	{"create operator", 12, (*world).createOperator},
	{"edit operator", 15, (*world).editOperator},
	{"delete operator", 5, (*world).deleteOperator},
}

// ask is what all steps have in common: what Cedar says, what Keybearer does, and whether the two agree.
func (w *world) ask(a actor, action string, ref keybearer.Ref, subject keybearer.Subject, do func() error) bool {
	w.t.Helper()
	v := w.judge(a, action, ref, subject)
	return w.agree(a, action+" "+ref.String()+" "+string(subject), v, do())
}

func (w *world) createScope(a actor) bool {
	live := 0
	for _, s := range w.scopes {
		if !s.deleted {
			live++
		}
	}
	if live >= maxScopes {
		a, _ = w.anyActor() // to see it refused
		if w.judge(a, "scope.create", keybearer.Ref{}, "").allowed {
			return false
		}
	}
	name := w.name("team")
	if len(w.scopes) > 1 && w.chance(20) {
		name = one(w, w.scopes).name // taken, perhaps by a deleted one
	}
	var made custody.Scope
	done := w.ask(a, "scope.create", keybearer.Ref{}, "", func() (err error) {
		made, err = w.l.CreateScope(w.t.Context(), by(a.Actor), name, "")
		return err
	})
	if !done {
		return false
	}
	w.scopes = append(w.scopes, &scopeSeen{id: made.ID, name: name})
	if _, err := w.l.GenerateKey(w.t.Context(), by(root), name); err != nil {
		w.t.Fatal(err)
	}
	return true
}

func (w *world) deleteScope(a actor) bool {
	ctx, name := w.t.Context(), w.anyScope()
	s, _ := w.find(keybearer.Ref{Scope: name})
	count := 0
	if s != nil && s.name != keybearer.GlobalScope && w.judge(a, "scope.delete", keybearer.Ref{Scope: name}, "").allowed {
		for _, c := range w.credentials {
			if c.scope == s {
				if count++; c.deletedAt.IsZero() {
					if _, err := w.l.DeleteCredential(ctx, by(w.owner(c)), keybearer.Ref{Scope: s.id, Name: c.id}, true); err != nil {
						w.t.Fatal(err)
					}
					c.deletedAt = w.l.clock.Now()
					w.oracle.changed()
				}
			}
		}
	}
	confirm := custody.Confirmation{Confirm: name, Expected: count}
	if s != nil {
		confirm.Confirm = s.name
	}
	done := w.ask(a, "scope.delete", keybearer.Ref{Scope: name}, "", func() error {
		_, err := w.l.DeleteScope(ctx, by(a.Actor), name, confirm)
		return err
	})
	if done {
		s.deleted = true
		w.forget(func(c *credentialSeen) bool { return c.scope == s })
	}
	return done
}

// owner is somebody who may do anything to the credential: an admin of the instance who has granted themselves that.
func (w *world) owner(c *credentialSeen) custody.Actor {
	if c.grants[root.Subject] != keybearer.Administer {
		if _, err := w.l.SetGrant(w.t.Context(), by(root), keybearer.Ref{Scope: c.scope.id, Name: c.id}, root.Subject, keybearer.Administer); err != nil {
			w.t.Fatal(err)
		}
		c.grants[root.Subject] = keybearer.Administer
		w.oracle.changed()
	}
	return root
}

// forget drops the credentials that are no more.
func (w *world) forget(gone func(*credentialSeen) bool) {
	for _, c := range w.credentials {
		if gone(c) {
			w.gone = append(w.gone, c.id)
		}
	}
	w.gone = w.gone[max(0, len(w.gone)-20):]
	w.credentials = slices.DeleteFunc(w.credentials, gone)
}

func (w *world) regenerate(a actor) bool {
	name, shells := w.anyScope(), w.chance(70)
	s, _ := w.find(keybearer.Ref{Scope: name})
	r := custody.Regenerate{Confirmation: custody.Confirmation{Confirm: name}, KeepShells: shells}
	if s != nil {
		r.Confirm = s.name
		for _, c := range w.credentials {
			if c.scope == s {
				r.Expected++
			}
		}
	}
	done := w.ask(a, "scope.regenerate-key", keybearer.Ref{Scope: name}, "", func() error {
		_, err := w.l.RegenerateKey(w.t.Context(), by(a.Actor), name, r)
		return err
	})
	switch {
	case done && shells:
		for _, c := range w.credentials {
			if c.scope == s {
				c.sealed = false
			}
		}
	case done:
		w.forget(func(c *credentialSeen) bool { return c.scope == s })
	}
	return done
}

// interrupt leaves a scope as a server does that dies during a regenerate, asks, and takes that back.
func (w *world) interrupt(actor) bool {
	s, _ := w.find(keybearer.Ref{Scope: w.anyScope()})
	if s == nil {
		return false
	}
	set := func(work *keybearer.ScopeWork) {
		r := w.l.scopeRecord(s.id).Clone()
		r.Work = work
		if _, err := w.l.store.Commit(w.t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: r}}}); err != nil {
			w.t.Fatal(err)
		}
		s.regenerating = work != nil
		w.oracle.changed()
	}
	set(&keybearer.ScopeWork{Kind: keybearer.WorkRegenerate, By: root.Subject})
	for range 10 {
		w.send(s)
		w.may()
	}
	set(nil)
	return true
}

func (w *world) createCredential(a actor) bool {
	ref := keybearer.Ref{Scope: w.anyScope(), Name: one(w, credentialNames)}
	n := bearer(ref.Name, "s3cret-of-"+ref.Name, "api.example.com")
	n.RequireUser = w.chance(15)
	if w.chance(15) {
		n.NoSecret, n.Secret = true, custody.Secret{}
	}
	s, c := w.find(ref)
	var made custody.Credential
	done := w.ask(a, "credential.create", keybearer.Ref{Scope: ref.Scope}, "", func() (err error) {
		made, err = w.l.CreateCredential(w.t.Context(), by(a.Actor), ref.Scope, n)
		return err
	})
	if !done {
		return false
	}
	if c != nil {
		w.t.Fatalf("%s was made a second time", ref)
	}
	w.credentials = append(w.credentials, &credentialSeen{
		id: made.ID, name: ref.Name, scope: s, grants: map[keybearer.Subject]keybearer.Level{a.Subject: keybearer.Administer},
		requireUser: n.RequireUser, sealed: !n.NoSecret,
	})
	return true
}

// change asks for a change of one credential and, if it was made, has it remembered.
func (w *world) change(a actor, action string, ref keybearer.Ref, subject keybearer.Subject, do func() error, done func(*credentialSeen)) bool {
	w.t.Helper()
	_, c := w.find(ref)
	if c != nil && c.deletedAt.IsZero() && a.Subject == root.Subject && w.chance(60) {
		w.owner(c)
	}
	if !w.ask(a, action, ref, subject, do) {
		return false
	}
	if c == nil || !c.deletedAt.IsZero() && action != "credential.restore" {
		w.t.Fatalf("%s of %s was done to what is not there", action, ref)
	}
	done(c)
	return true
}

func (w *world) deleteCredential(a actor) bool {
	ref := w.anyRef()
	return w.change(a, "credential.delete", ref, "", func() error {
		_, err := w.l.DeleteCredential(w.t.Context(), by(a.Actor), ref, true)
		return err
	}, func(c *credentialSeen) { c.deletedAt = w.l.clock.Now() })
}

func (w *world) restoreCredential(a actor) bool {
	ref := w.anyRef()
	return w.change(a, "credential.restore", ref, "", func() error {
		_, err := w.l.RestoreCredential(w.t.Context(), by(a.Actor), ref)
		return err
	}, func(c *credentialSeen) { c.deletedAt = time.Time{} })
}

// wait lets time pass: hours until things expire, or days until tombstones are destroyed.
func (w *world) wait(actor) bool {
	w.l.clock.Add(time.Hour)
	if w.chance(30) {
		w.l.clock.Add(custody.DefaultKeepDeleted)
		now := w.l.clock.Now()
		if err := w.l.Sweep(w.t.Context(), now); err != nil {
			w.t.Fatal(err)
		}
		w.forget(func(c *credentialSeen) bool {
			return !c.deletedAt.IsZero() && !now.Before(c.deletedAt.Add(custody.DefaultKeepDeleted))
		})
	}
	return true
}

func (w *world) grant(a actor) bool {
	ref, subject, level := w.anyRef(), w.anySubject(), keybearer.Level(1+w.rng.IntN(4))
	if w.chance(20) {
		subject = a.Subject
	}
	return w.change(a, "grant.set", ref, subject, func() error {
		_, err := w.l.SetGrant(w.t.Context(), by(a.Actor), ref, subject, level)
		return err
	}, func(c *credentialSeen) { c.grants[subject] = level })
}

func (w *world) revoke(a actor) bool {
	ref, subject := w.anyRef(), w.anySubject()
	if _, c := w.find(ref); c != nil && len(c.grants) > 0 && w.chance(80) {
		var held []keybearer.Subject
		for s := range c.grants {
			held = append(held, s)
		}
		slices.Sort(held)
		subject = one(w, held)
	}
	return w.change(a, "grant.remove", ref, subject, func() error {
		_, err := w.l.RemoveGrant(w.t.Context(), by(a.Actor), ref, subject)
		return err
	}, func(c *credentialSeen) { delete(c.grants, subject) })
}

func (w *world) toggle(a actor, disable bool) bool {
	action, do := custody.CredentialEnable, w.l.EnableCredential
	if disable {
		action, do = custody.CredentialDisable, w.l.DisableCredential
	}
	ref := w.anyRef()
	return w.change(a, string(action), ref, "", func() error {
		_, err := do(w.t.Context(), by(a.Actor), ref)
		return err
	}, func(c *credentialSeen) { c.disabled = disable })
}

func (w *world) expire(a actor) bool {
	ref := w.anyRef()
	var at time.Time
	if w.chance(60) {
		at = w.l.clock.Now().Add(time.Duration(1+w.rng.IntN(4)) * 30 * time.Minute)
	}
	return w.change(a, "credential.edit", ref, "", func() error {
		_, err := w.l.EditCredential(w.t.Context(), by(a.Actor), ref, custody.Patch{ExpiresAt: &at})
		return err
	}, func(c *credentialSeen) { c.expires = at })
}

// demandUser changes what takes edit and, beyond that, administer.
func (w *world) demandUser(a actor) bool {
	ref, demand := w.anyRef(), w.chance(50)
	if _, c := w.find(ref); c != nil && !c.deletedAt.IsZero() {
		return false // those who hold edit are told so before it comes to administer
	}
	return w.change(a, "credential.edit/terms", ref, "", func() error {
		_, err := w.l.EditCredential(w.t.Context(), by(a.Actor), ref, custody.Patch{RequireUser: &demand, Secret: text("another")})
		return err
	}, func(c *credentialSeen) { c.requireUser, c.sealed = demand, true })
}

func (w *world) setSecret(a actor) bool {
	ref := w.anyRef()
	return w.change(a, "credential.set-secret", ref, "", func() error {
		_, err := w.l.SetSecret(w.t.Context(), by(a.Actor), ref, text("replaced"))
		return err
	}, func(c *credentialSeen) { c.sealed = true })
}

// names are their callers' for ever.
func (w *world) createCaller(a actor) bool {
	live := 0
	for _, c := range w.callers {
		if !c.deleted {
			live++
		}
	}
	name := w.name("app")
	switch w.rng.IntN(4) {
	case 0:
		name = one(w, userNames)
	case 1:
		name = w.anyCaller()
	}
	if live >= maxCallers {
		return false
	}
	var made custody.Caller
	var token keybearer.Secret
	done := w.ask(a, "caller.create", keybearer.Ref{}, "", func() (err error) {
		made, token, err = w.l.CreateCaller(w.t.Context(), by(a.Actor), custody.NewCaller{Name: name})
		return err
	})
	if done {
		if w.caller(name) != nil {
			w.t.Fatalf("the name of caller %s was given again", name)
		}
		w.callers = append(w.callers, &callerSeen{id: made.ID, name: name, bound: map[string]bool{}, token: token})
	}
	return done
}

func (w *world) changeCaller(a actor, action, name string, do func() error, done func(*callerSeen)) bool {
	w.t.Helper()
	if !w.ask(a, action, keybearer.Ref{}, "", do) {
		return false
	}
	c := w.caller(name)
	if c == nil || c.deleted {
		w.t.Fatalf("%s of caller %s, who is not there", action, name)
	}
	done(c)
	return true
}

func (w *world) bind(a actor, bind bool) bool {
	name, scope := w.anyCaller(), w.anyScope()
	s, _ := w.find(keybearer.Ref{Scope: scope})
	return w.changeCaller(a, "caller.edit", name, func() error {
		_, err := w.l.BindCaller(w.t.Context(), by(a.Actor), name, scope, bind)
		return err
	}, func(c *callerSeen) {
		delete(c.bound, s.id)
		if bind {
			c.bound[s.id] = true
		}
	})
}

func (w *world) toggleCaller(a actor, disable bool) bool {
	action, do := custody.CallerEnable, w.l.EnableCaller
	if disable {
		action, do = custody.CallerDisable, w.l.DisableCaller
	}
	name := w.anyCaller()
	return w.changeCaller(a, string(action), name, func() error {
		_, err := do(w.t.Context(), by(a.Actor), name)
		return err
	}, func(c *callerSeen) { c.disabled = disable })
}

func (w *world) deleteCaller(a actor) bool {
	name := w.anyCaller()
	return w.changeCaller(a, "caller.delete", name, func() error {
		_, err := w.l.DeleteCaller(w.t.Context(), by(a.Actor), name)
		return err
	}, func(c *callerSeen) { c.deleted, c.bound = true, map[string]bool{} })
}

// office draws groups and roles for an operator.
func (w *world) office() (o operatorSeen, roles []string) {
	o = operatorSeen{groups: w.someGroups(), instance: w.chance(10), scopes: map[string]bool{}}
	if o.instance {
		roles = append(roles, keybearer.RoleInstanceAdmin)
	}
	for _, s := range w.scopes {
		if !s.deleted && w.chance(20) {
			o.scopes[s.id] = true
			roles = append(roles, keybearer.RoleScopeAdmin+s.name)
		}
	}
	return o, roles
}

func (w *world) createOperator(a actor) bool {
	if len(w.operators) >= 12 {
		return false
	}
	o, roles := w.office()
	if o.name = w.name("person"); w.chance(50) {
		o.name = one(w, userNames)
	}
	done := w.ask(a, "operator.create", keybearer.Ref{}, "", func() (err error) {
		_, o.token, err = w.l.CreateOperator(w.t.Context(), by(a.Actor), custody.NewOperator{Name: o.name, Groups: o.groups, Roles: roles})
		return err
	})
	if done {
		w.operators = append(w.operators, &o)
	}
	return done
}

func (w *world) editOperator(a actor) bool {
	if len(w.operators) == 0 {
		return false
	}
	o := most(w, w.operators, func(o *operatorSeen) bool { return !o.deleted })
	next, roles := w.office()
	done := w.ask(a, "operator.edit", keybearer.Ref{}, "", func() error {
		_, err := w.l.EditOperator(w.t.Context(), by(a.Actor), o.name, nil, &next.groups, &roles)
		return err
	})
	if done {
		o.groups, o.instance, o.scopes = next.groups, next.instance, next.scopes
	}
	return done
}

// deleteOperator deletes one, or only disables or enables.
func (w *world) deleteOperator(a actor) bool {
	if len(w.operators) == 0 {
		return false
	}
	o := most(w, w.operators, func(o *operatorSeen) bool { return !o.deleted })
	action, do, done := custody.OperatorDelete, w.l.DeleteOperator, func() { o.deleted = true }
	switch w.rng.IntN(4) {
	case 0, 1:
		action, do, done = custody.OperatorEnable, w.l.EnableOperator, func() { o.disabled = false }
	case 2:
		action, do, done = custody.OperatorDisable, w.l.DisableOperator, func() { o.disabled = true }
	}
	if !w.ask(a, string(action), keybearer.Ref{}, "", func() error {
		_, err := do(w.t.Context(), by(a.Actor), o.name)
		return err
	}) {
		return false
	}
	done()
	return true
}
