package manifest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// Action is what happens to a record.
type Action string

// The actions.
const (
	Create Action = "create"
	Edit   Action = "change"
	Delete Action = "delete"
)

// Change is what will be different in one record.
type Change struct {
	Action Action  `json:"action"`
	Kind   string  `json:"kind"` // scope, credential, caller or operator
	Name   string  `json:"name"`
	Fields []Field `json:"fields,omitempty"` // of a deletion: none

	steps []step
}

// Field is what will be different in one field. Of lists and grants, each item is one.
type Field struct {
	Field string `json:"field"`         // "description", "destination", "grant app:billing", …
	Old   string `json:"old,omitempty"` // "" when it was not there
	New   string `json:"new,omitempty"` // "" when it goes; never a secret, but where it is
}

// step is one request to the server.
type step struct {
	do, did, what string // "create", "created", "scope docs"
	run           func(context.Context, *admin.Client) error
}

// Options say how far a plan goes. Getenv and Now are required.
type Options struct {
	Prune   bool // delete credentials of listed scopes, callers and operators that are not listed
	Force   bool // … even credentials that were used in the last 30 days
	Secrets bool // replace every secret that has a reference
	DryRun  bool // a reference that cannot be read is only worth a warning

	Getenv func(string) string
	Now    func() time.Time
}

// Plan is what leads from what a server has to what a manifest says.
type Plan struct {
	Changes  []Change
	Warnings []string // what is worth knowing before
	Notes    []string // what is left to do after
}

// recentUse is how long after its last use a server deletes a credential only with force.
const recentUse = 30 * 24 * time.Hour

// planner compares.
type planner struct {
	Options
	want, have *Manifest
	state      *State
	plan       *Plan
	failed     []*keybearer.Error
	own        []Change // of the operator who applies: they come last, so that nothing that follows is refused
}

// NewPlan compares a manifest with what a server has, and checks what can be known before anything is changed: that what is referred to is
// there, that scopes have a key, that the actor may do it, and that there is a secret wherever the server wants one. It reads no reference that
// is not needed. Its errors name the line; when there are several, the code is that of the first.
func NewPlan(want *Manifest, state *State, o Options) (*Plan, error) {
	have, err := state.Manifest()
	if err != nil {
		return nil, err
	}
	p := &planner{Options: o, want: want, have: have, state: state, plan: &Plan{}}
	for _, name := range sorted(want.Scopes) {
		p.scope(name)
	}
	for _, name := range sorted(want.Callers) {
		p.caller(name)
	}
	for _, name := range sorted(want.Operators) {
		p.operator(name)
	}
	for _, ref := range sortedRefs(want.Credentials) {
		p.credential(ref)
	}
	if o.Prune {
		p.prune()
	}
	p.plan.Changes = append(p.plan.Changes, p.own...)
	return p.plan, p.err()
}

// fail notes an error of a record.
func (p *planner) fail(at string, code keybearer.Code, hint, format string, args ...any) {
	p.failed = append(p.failed, keybearer.NewError(code, at+": "+fmt.Sprintf(format, args...)).WithHint(hint))
}

func (p *planner) err() error {
	if len(p.failed) == 0 {
		return nil
	}
	if len(p.failed) == 1 {
		return p.failed[0]
	}
	lines := make([]string, 0, len(p.failed))
	for _, e := range p.failed {
		lines = append(lines, strings.TrimSuffix(e.Detail+"; "+e.Hint, "; "))
	}
	return keybearer.NewError(p.failed[0].Code, joined(lines)).WithHint("nothing was changed; mend these and apply again")
}

// add keeps a change that has anything to do.
func (p *planner) add(c Change) {
	if len(c.steps) > 0 {
		p.plan.Changes = append(p.plan.Changes, c)
	}
}

// scopeComes reports whether the scope is there, or will be.
func (p *planner) scopeComes(name string) bool {
	_, listed := p.want.Scopes[name]
	_, there := p.have.Scopes[name]
	return listed || there
}

// taken reports a name that a deleted record keeps for good.
func (p *planner) taken(at, kind, name string, deleted time.Time) bool {
	if deleted.IsZero() {
		return false
	}
	p.fail(at, keybearer.AlreadyExists, "choose another name", "the name %s belongs to a deleted %s and stays reserved", name, kind)
	return true
}

func (p *planner) scope(name string) {
	want := p.want.Scopes[name]
	there, known := p.state.Scopes[name]
	if p.taken(want.at, "scope", name, there.DeletedAt) {
		return
	}
	c := Change{Action: Edit, Kind: "scope", Name: name}
	have, revision := p.have.Scopes[name], there.Revision
	c.field("description", have.Description, want.Description)
	switch {
	case !known:
		c.Action = Create
		c.step("create", "created", "scope "+name, func(ctx context.Context, client *admin.Client) error {
			x, err := client.CreateScope(ctx, admin.NewScope{Name: name, Description: want.Description})
			revision = x.Revision
			return err
		})
	case have.Description != want.Description:
		c.step("change", "changed", "scope "+name, func(ctx context.Context, client *admin.Client) error {
			x, err := client.EditScope(admin.IfRevision(ctx, revision), name, admin.ScopePatch{Description: &want.Description})
			revision = x.Revision
			return err
		})
	}
	if want.Key && !have.Key {
		c.field("key", "", "true")
		c.step("generate", "generated", "the key of scope "+name, func(ctx context.Context, client *admin.Client) error {
			_, err := client.GenerateKey(admin.IfRevision(ctx, revision), name)
			return err
		})
	}
	p.add(c)
}

// prune deletes what is not listed: credentials of the listed scopes, and callers and operators when the manifest speaks of them.
func (p *planner) prune() {
	for _, ref := range sortedRefs(p.have.Credentials) {
		_, scope := p.want.Scopes[ref.Scope]
		if _, listed := p.want.Credentials[ref]; listed || !scope {
			continue
		}
		there := p.state.Credentials[ref]
		if there.Level < keybearer.Administer {
			p.fail(ref.String(), keybearer.Forbidden, "list it, or grant it to yourself first: keybearer grant add "+ref.String()+" user:<you> administer", "--prune would delete it, which needs administer on it")
			continue
		}
		if u := there.Usage; u != nil && !p.Force && p.Now().Before(u.LastAt.Add(recentUse)) {
			p.fail(ref.String(), keybearer.RecentlyUsed, "look at who uses it (keybearer credential show "+ref.String()+"), then list it or repeat with --force",
				"--prune would delete it, and it was used in the last 30 days")
			continue
		}
		c := Change{Action: Delete, Kind: "credential", Name: ref.String()}
		c.step("delete", "deleted", "credential "+ref.String(), func(ctx context.Context, client *admin.Client) error {
			_, err := client.DeleteCredential(admin.IfRevision(ctx, there.Revision), ref, p.Force)
			return err
		})
		p.add(c)
	}
	if p.want.Callers != nil {
		for _, name := range sorted(p.have.Callers) {
			if _, listed := p.want.Callers[name]; listed {
				continue
			}
			c := Change{Action: Delete, Kind: "caller", Name: name}
			c.step("delete", "deleted", "caller "+name, func(ctx context.Context, client *admin.Client) error {
				_, err := client.DeleteCaller(admin.IfRevision(ctx, p.state.Callers[name].Revision), name)
				return err
			})
			p.add(c)
		}
	}
	if p.want.Operators != nil {
		for _, name := range sorted(p.have.Operators) {
			if _, listed := p.want.Operators[name]; listed {
				continue
			}
			if keybearer.UserSubject(name) == p.state.Actor {
				p.plan.Warnings = append(p.plan.Warnings, "operator "+name+" is not listed and stays: it is the one who applies")
				continue
			}
			c := Change{Action: Delete, Kind: "operator", Name: name}
			c.step("delete", "deleted", "operator "+name, func(ctx context.Context, client *admin.Client) error {
				_, err := client.DeleteOperator(admin.IfRevision(ctx, p.state.Operators[name].Revision), name)
				return err
			})
			p.add(c)
		}
	}
}

// field notes a difference, if there is one.
func (c *Change) field(name, old, next string) {
	if old != next {
		c.Fields = append(c.Fields, Field{name, old, next})
	}
}

// flag notes a difference of what is true or false; false is the default and not worth a word in what is new.
func (c *Change) flag(name string, old, next bool) {
	switch {
	case old == next:
	case c.Action == Create:
		c.field(name, "", "true")
	default:
		c.field(name, fmt.Sprint(old), fmt.Sprint(next))
	}
}

// items notes what a list loses and gains.
func (c *Change) items(name string, old, next []string) {
	for _, x := range old {
		if !slices.Contains(next, x) {
			c.field(name, x, "")
		}
	}
	for _, x := range next {
		if !slices.Contains(old, x) {
			c.field(name, "", x)
		}
	}
}

func (c *Change) step(do, did, what string, run func(context.Context, *admin.Client) error) {
	c.steps = append(c.steps, step{do, did, what, run})
}
