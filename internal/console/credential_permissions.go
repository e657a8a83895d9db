package console

import (
	"slices"
	"strings"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/policy"
)

// permissionsPage tells who may do what with the credential.
type permissionsPage struct {
	one
	Rows    []permission
	Levels  []Option
	Kinds   []Option
	Callers []string
	Confirm *confirmation // of what would take the person's own administer
}

// permission is a grant as the page shows it.
type permission struct {
	keybearer.Grant
	Kind, Name string
	Own        bool // the person's own, or that of a group of theirs
}

// confirmation asks whether the person means it.
type confirmation struct {
	To      string // the address to send it to
	Subject keybearer.Subject
	Level   string // "" to remove it
	Last    bool   // nobody would hold administer any more
}

// levels and what each lets somebody do.
var levels = []Option{
	{"use", "Use", "send requests through the proxy with it"},
	{"view", "View", "also see it here: kind, domains, state, last use; check requests"},
	{"edit", "Edit", "also replace the secret, roll back, change kind, header, description, expiry"},
	{"administer", "Administer", "also permissions, domains, trial, disable, delete and restore"},
}

var subjectKinds = []Option{{"app", "App", ""}, {"user", "Person", ""}, {"group", "Group", ""}}

func (v *visit) permissions() error {
	query := v.r.URL.Query()
	f := &form{Values: query}
	if kind, name := keybearer.Subject(query.Get("subject")).Split(); name != "" {
		query.Set("subject_kind", kind)
		query.Set("subject", name)
	}
	return v.permissionsForm(f)
}

func (v *visit) permissionsForm(f *form) error { return v.permissionsConfirm(f, nil) }

func (v *visit) permissionsConfirm(f *form, confirm *confirmation) error {
	o, err := v.one("/permissions", f)
	if err != nil {
		return err
	}
	p := &permissionsPage{one: o, Levels: levels, Kinds: subjectKinds, Confirm: confirm}
	own := v.subjects()
	for _, g := range o.Grants {
		row := permission{Grant: g, Own: slices.Contains(own, g.Subject)}
		row.Kind, row.Name = g.Subject.Split()
		p.Rows = append(p.Rows, row)
	}
	order := map[string]int{"app": 0, "user": 1, "group": 2}
	slices.SortStableFunc(p.Rows, func(a, b permission) int { return order[a.Kind] - order[b.Kind] })
	if o.CanAdminister() {
		p.Callers = v.suggested(&o)
	}
	return v.showOne(&o, "credential-permissions", "Permissions", p)
}

// subjects are those under which the person holds grants.
func (v *visit) subjects() []keybearer.Subject {
	all := []keybearer.Subject{v.person.Subject}
	for _, g := range v.person.Groups {
		all = append(all, keybearer.GroupSubject(g))
	}
	return all
}

// typedSubject is "app:billing" of "app" and "billing", and of "app:billing" whatever the kind.
func typedSubject(kind, name string) keybearer.Subject {
	name = strings.TrimSpace(name)
	for _, k := range subjectKinds {
		if strings.HasPrefix(name, k.Value+":") {
			return keybearer.Subject(name)
		}
	}
	return keybearer.Subject(kind + ":" + name)
}

func (v *visit) setPermission() error {
	f := v.posted()
	subject := typedSubject(f.Get("subject_kind"), f.Get("subject"))
	level, err := keybearer.ParseLevel(f.Get("level"))
	if err != nil {
		return v.again(keybearer.AsError(err).In("level"), f, v.permissionsForm)
	}
	if ask, err := v.takesOwn(subject, level); err != nil || ask != nil {
		return v.confirmed(f, ask, err)
	}
	c, err := v.Custody.SetGrant(v.r.Context(), v.ask(), v.ref(), subject, level)
	if err != nil {
		if e := keybearer.AsError(err); e.Code == keybearer.Invalid {
			err = e.In("subject")
		}
		return v.again(err, f, v.permissionsForm)
	}
	base := credentialPath(c.Scope, c.Name)
	to := base + "/permissions"
	if back := f.Get("back"); back == base || strings.HasPrefix(back, base+"/") { // from where somebody found out that they lack it
		to = back
	}
	return v.done(string(subject)+" holds "+level.String()+" now.", to)
}

func (v *visit) removePermission() error {
	f := v.posted()
	subject := keybearer.Subject(f.Get("of"))
	if ask, err := v.takesOwn(subject, keybearer.NoLevel); err != nil || ask != nil {
		return v.confirmed(f, ask, err)
	}
	c, err := v.Custody.RemoveGrant(v.r.Context(), v.ask(), v.ref(), subject)
	if err != nil {
		return v.again(err, f, v.permissionsForm)
	}
	to := credentialPath(c.Scope, c.Name) + "/permissions"
	if c.Level < keybearer.View && !v.person.ScopeAdmin(c.ScopeID) {
		to = "/credentials" // they do not see it any more
	}
	return v.done(string(subject)+" holds nothing on "+c.Scope+"/"+c.Name+" any more.", to)
}

func (v *visit) confirmed(f *form, ask *confirmation, err error) error {
	if err != nil {
		return v.again(err, f, v.permissionsForm)
	}
	return v.permissionsConfirm(&form{Revision: f.Revision}, ask)
}

// takesOwn asks the person whether they mean a change that takes administer from themselves, unless they have said so.
func (v *visit) takesOwn(subject keybearer.Subject, level keybearer.Level) (*confirmation, error) {
	if v.r.PostFormValue("sure") == "yes" {
		return nil, nil
	}
	c, err := v.Custody.Credential(v.r.Context(), v.ask(), v.ref())
	if err != nil {
		return nil, err
	}
	after := without(&c, subject)
	if level != keybearer.NoLevel {
		after = append(after, keybearer.Grant{Subject: subject, Level: level})
	}
	if c.Level < keybearer.Administer || policy.LevelOf(after, v.subjects()...) >= keybearer.Administer {
		return nil, nil
	}
	ask := &confirmation{To: credentialPath(c.Scope, c.Name) + "/permissions", Subject: subject}
	if level == keybearer.NoLevel {
		ask.To += "/remove"
	} else {
		ask.Level = level.String()
	}
	ask.Last = !slices.ContainsFunc(after, func(g keybearer.Grant) bool { return g.Level >= keybearer.Administer })
	return ask, nil
}

func without(c *custody.Credential, subject keybearer.Subject) []keybearer.Grant {
	return slices.DeleteFunc(slices.Clone(c.Grants), func(g keybearer.Grant) bool { return g.Subject == subject })
}
