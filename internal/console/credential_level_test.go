package console

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// deed is something that a page of a credential offers: the page, the form, and what custody does for it.
type deed struct {
	name, page, form string
	fields           []string // typed
	prepare          func(w *town, ref keybearer.Ref)
	do               func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error
}

// unsent is in the place of the proxy.
func unsent(context.Context, custody.Probe) (custody.Probed, error) { return custody.Probed{}, nil }

func only[T any](_ T, err error) error { return err }

var narrower = []custody.Destination{{Rule: "api.example.com/v1"}}

func tried(w *town, ref keybearer.Ref) {
	get[custody.Credential](w.t)(w.custody.TryDestinations(w.t.Context(), w.by(w.root), ref, narrower))
}

func replaced(w *town, ref keybearer.Ref) {
	get[custody.Credential](w.t)(w.custody.SetSecret(w.t.Context(), w.by(w.root), ref, secret))
}

func disabled(w *town, ref keybearer.Ref) {
	get[custody.Credential](w.t)(w.custody.DisableCredential(w.t.Context(), w.by(w.root), ref))
}

func deleted(w *town, ref keybearer.Ref) {
	get[custody.Credential](w.t)(w.custody.DeleteCredential(w.t.Context(), w.by(w.root), ref, false))
}

var deeds = []deed{
	{"edit", "/edit", "/edit", []string{"description", "new"}, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.EditCredential(ctx, ask, ref, custody.Patch{Description: new("new")}))
	}},
	{"require a user", "/edit", "/edit", []string{"require_user", "on"}, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.EditCredential(ctx, ask, ref, custody.Patch{RequireUser: new(true)}))
	}},
	{"replace the secret", "/secret", "/secret", []string{"secret", canary}, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.SetSecret(ctx, ask, ref, secret))
	}},
	{"roll back", "", "/rollback", nil, replaced, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.RollbackCredential(ctx, ask, ref))
	}},
	{"grant", "/permissions", "/permissions", []string{"subject_kind", "app", "subject", "sync", "level", "use"}, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.SetGrant(ctx, ask, ref, "app:sync", keybearer.Use))
	}},
	{"take a grant away", "/permissions", "/permissions/remove", []string{"of", "app:billing"}, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.RemoveGrant(ctx, ask, ref, "app:billing"))
	}},
	{"remove a domain", "/domains", "/domains/remove", []string{"rule", "https://api.example.com/v1"}, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.RemoveDestination(ctx, ask, ref, "https://api.example.com/v1"))
	}},
	{"add a domain", "/domains/add?destinations=api.example.org", "/domains/add", []string{"secret", canary}, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.AddDestinations(ctx, ask, ref, []custody.Destination{{Rule: "api.example.org"}}, secret))
	}},
	{"replace the domains", "/domains/replace?destinations=api.example.com/v1", "/domains/replace", nil, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.ReplaceDestinations(ctx, ask, ref, narrower, custody.Secret{}))
	}},
	{"try", "/domains/try?destinations=api.example.com/v1", "/domains/try", nil, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.TryDestinations(ctx, ask, ref, narrower))
	}},
	{"enforce", "/domains", "/domains/enforce", nil, tried, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.EnforceTrial(ctx, ask, ref))
	}},
	{"discard", "/domains", "/domains/discard", nil, tried, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.DiscardTrial(ctx, ask, ref))
	}},
	{"test", "/check?caller=billing&method=GET&url=https://api.example.com/v1", "/check", nil, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		_, err := c.Test(ctx, ask, custody.Probe{Credential: ref, Caller: "billing", Method: "GET", URL: "https://api.example.com/v1"}, unsent)
		return err
	}},
	{"disable", "/danger", "/disable", nil, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.DisableCredential(ctx, ask, ref))
	}},
	{"enable", "", "/enable", nil, disabled, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.EnableCredential(ctx, ask, ref))
	}},
	{"delete", "/danger", "/delete", []string{"name", "{name}"}, nil, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.DeleteCredential(ctx, ask, ref, false))
	}},
	{"restore", "", "/restore", nil, deleted, func(ctx context.Context, c *custody.Custody, ask custody.Ask, ref keybearer.Ref) error {
		return only(c.RestoreCredential(ctx, ask, ref))
	}},
}

// For every level and every deed: the console offers it exactly when custody permits it, does it exactly then, and answers as custody does otherwise.
func TestEachLevelSeesAndDoesExactlyItsPart(t *testing.T) {
	w := newTown(t)
	for _, who := range []struct{ name, level, role string }{
		{name: "nobody"},
		{name: "user", level: "use"},
		{name: "viewer", level: "view"},
		{name: "editor", level: "edit"},
		{name: "owner", level: "administer"},
		{name: "keeper", role: keybearer.RoleScopeAdmin + "docs"},
		{name: "chief", role: keybearer.RoleInstanceAdmin},
		{name: "both", level: "administer", role: keybearer.RoleScopeAdmin + "docs"},
	} {
		var roles []string
		if who.role != "" {
			roles = []string{who.role}
		}
		actor := w.operator(who.name, roles...)
		browser := w.signIn(who.name)
		for i, d := range deeds {
			t.Run(who.name+"/"+d.name, func(t *testing.T) {
				make := func(twin string) keybearer.Ref {
					grants := []string{"app:billing use"}
					if who.level != "" {
						grants = append(grants, "user:"+who.name+" "+who.level)
					}
					ref := w.credential(fmt.Sprintf("%s-%d%s", who.name, i, twin), grants...)
					if d.prepare != nil {
						d.prepare(w, ref)
					}
					return ref
				}
				want := d.do(t.Context(), w.custody, w.by(actor), make("-twin"))
				ref := make("")
				base := pageOf(ref)
				page := browser.get(base + d.page)
				form := page.form(base + d.form)
				seen := keybearer.CodeOf(only(w.custody.Credential(t.Context(), w.by(actor), ref))) == ""
				if seen != (page.status == 200) {
					t.Errorf("the page answers %d, and custody shows it: %v", page.status, seen)
				}
				// A grant to oneself is offered with a form of the same address, but with another subject.
				offered := form != nil && (len(d.fields) == 0 || form.Has(strings.Split(d.fields[0], " ")[0]))
				if d.name == "require a user" {
					offered = form != nil && strings.Contains(page.body, `type="checkbox" id="require_user"`)
				}
				if offered != (want == nil) {
					t.Errorf("the page offers it: %v; custody says %v", offered, want)
				}
				if form == nil {
					form = url.Values{"was": {editValues(new(w.now(ref))).Encode()}, "destinations": {"api.example.com/v1"}, "caller": {"billing"}, "method": {"GET"}, "url": {"https://api.example.com/v1"}}
					if d.name == "add a domain" {
						form.Set("destinations", "api.example.org")
					}
					if d.name == "edit" || d.name == "require a user" {
						for name, values := range editValues(new(w.now(ref))) {
							form[name] = values
						}
					}
				}
				for j := 0; j < len(d.fields); j += 2 {
					form.Set(d.fields[j], strings.ReplaceAll(d.fields[j+1], "{name}", ref.Name))
				}
				before := w.now(ref).Revision
				sent := len(w.sent)
				got := browser.post(base+d.form, form)
				status := 303
				if d.name == "test" {
					status = 200
				}
				if want != nil {
					status = keybearer.CodeOf(want).Info().Status
				}
				if got.status != status {
					t.Errorf("it answers %d, want %d (custody says %v)", got.status, status, want)
				}
				did := w.now(ref).Revision != before || len(w.sent) != sent
				if did != (want == nil) {
					t.Errorf("it was done: %v; custody says %v", did, want)
				}
				if want != nil && status == 403 && !got.has("Ask someone who holds administer on it") && !got.has("grant it to yourself") {
					t.Errorf("the refusal does not say whom to ask: %s", got.text())
				}
			})
		}
	}
}

func TestAPageSaysWhatIsLackingAndWhomToAsk(t *testing.T) {
	w := newTown(t)
	w.operator("viewer")
	w.operator("keeper", keybearer.RoleScopeAdmin+"docs")
	ref := w.credential("crm", "user:viewer view", "app:billing use")
	viewer, keeper := w.signIn("viewer"), w.signIn("keeper")
	for page, takes := range map[string]string{
		"/edit": "edit", "/secret": "edit", "/permissions": "administer", "/domains": "administer", "/domains/add": "administer", "/danger": "administer",
	} {
		viewer.get(pageOf(ref)+page).wants("You hold view on this credential. It takes "+takes, "Ask someone who holds administer on it, or an admin of scope docs.")
		a := keeper.get(pageOf(ref)+page).wants("You hold nothing on this credential. It takes "+takes, "you may grant it to yourself")
		form := a.need(pageOf(ref) + "/permissions")
		if got := keeper.post(pageOf(ref)+"/permissions", form); got.status != 303 || got.to != pageOf(ref)+page {
			t.Errorf("%s: granting oneself answers %d, to %s", page, got.status, got.to)
		}
		if got := keeper.get(pageOf(ref) + page); got.has("You hold nothing") || got.has("It takes "+takes) {
			t.Errorf("%s: the page still says that something is lacking", page)
		}
		get[custody.Credential](t)(w.custody.RemoveGrant(t.Context(), w.by(custody.Actor{Subject: "user:root"}), ref, "user:keeper"))
	}
	viewer.get(pageOf(ref) + "/history").wants("It takes the role scope-admin of docs")
	keeper.get(pageOf(ref)+"/history").wants("root", "created it", "granted user:keeper", "removed a grant user:keeper")
	if viewer.get(pageOf(ref) + "/permissions").has("billing") {
		t.Error("who holds view is shown the grants")
	}
}

// Whatever is posted where, the secret comes back nowhere: the lab looks at every answer.
func TestNoAnswerHoldsASecretThatWasPosted(t *testing.T) {
	w := newTown(t)
	w.operator("owner")
	ref := w.credential("crm", "user:owner administer", "app:billing use")
	owner := w.signIn("owner")
	base := pageOf(ref)
	for _, path := range []string{
		"/edit", "/secret", "/rollback", "/permissions", "/permissions/remove", "/domains/add", "/domains/replace", "/domains/try", "/domains/remove",
		"/domains/enforce", "/domains/discard", "/check", "/enable", "/delete", "/restore",
	} {
		for _, revision := range []string{"", "1"} {
			for _, odd := range []url.Values{
				{"secret": {canary}, "username": {canary}},
				{"secret": {canary + "\n"}, "kind": {"basic"}, "destinations": {"api.example.net"}, "was": {""}},
				{"secret": {"Bearer " + canary}, "kind": {"bearer"}, "destinations": {"api.example.net"}},
				{"secret": {canary, canary}, "username": {canary + ":"}, "kind": {"basic"}, "destinations": {"not a rule!"}},
				{"token": {canary}, "secret": {canary}, "kind": {"header"}, "header": {"Bad Header"}},
			} {
				odd.Set("revision", revision)
				owner.post(base+path, odd)
			}
		}
	}
	for _, tab := range append(tabs, struct{ To, Text string }{To: "/edit"}, struct{ To, Text string }{To: "/secret"}) {
		if a := owner.get(base + tab.To); a.status != 200 {
			t.Errorf("%s: %d", tab.To, a.status)
		}
	}
}

func TestWhatNobodyMayKnowOfIsNotThere(t *testing.T) {
	w := newTown(t)
	w.operator("stranger")
	ref := w.credential("crm")
	stranger := w.signIn("stranger")
	for _, tab := range tabs {
		there, nowhere := stranger.get(pageOf(ref)+tab.To), stranger.get(credentialPath("docs", "none")+tab.To)
		if there.status != 404 || nowhere.status != 404 {
			t.Errorf("%s: %d, and %d for what is not there", tab.To, there.status, nowhere.status)
		}
	}
}
