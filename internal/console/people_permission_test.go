package console_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/keybearer/keybearer"
)

// Who sees which page: y sees it, f is told that they may not. In the order instance admin, scope admin of docs, of crm, of global, one who may see a
// credential.
func TestPagesOfScopesCallersAndOperatorsAreForThoseWhoManageThem(t *testing.T) {
	p := newPeople(t)
	everybody := []*visitor{p.ann, p.bob, p.eve, p.greta, p.viewer}
	for path, want := range map[string]string{
		"/scopes":                    "yyyyy",
		"/scopes/+new":               "yffff",
		"/scopes/docs":               "yyfff",
		"/scopes/docs/edit":          "yyfff",
		"/scopes/docs/regenerate":    "yyfff",
		"/scopes/docs/delete":        "yyfff",
		"/scopes/global":             "yffyf",
		"/scopes/global/edit":        "yffyf",
		"/scopes/global/regenerate":  "yffff",
		"/callers":                   "yffff",
		"/callers/+new":              "yffff",
		"/callers/billing":           "yffff",
		"/callers/billing/edit":      "yffff",
		"/callers/billing/token":     "yffff",
		"/callers/billing/revoke":    "yffff",
		"/callers/billing/delete":    "yffff",
		"/operators":                 "yffff",
		"/operators/+new":            "yffff",
		"/operators/bob":             "yffff",
		"/operators/bob/edit":        "yffff",
		"/operators/bob/token":       "yffff",
		"/operators/bob/revoke":      "yffff",
		"/operators/bob/delete":      "yffff",
		"/operators/nobody":          "nffff",
		"/callers/nobody":            "nffff",
		"/scopes/nowhere":            "nffff",
		"/scopes/nowhere/regenerate": "nffff",
	} {
		for i, v := range everybody {
			status := map[byte]int{'y': http.StatusOK, 'f': http.StatusForbidden, 'n': http.StatusNotFound}[want[i]]
			if r := v.get(path); r.Code != status {
				t.Errorf("%s for number %d: %d, not %d", path, i, r.Code, status)
			}
		}
	}
}

func TestAListOfScopesHoldsThoseOfThePerson(t *testing.T) {
	p := newPeople(t)
	p.ann.get("/scopes").wants(t, http.StatusOK, "/scopes/docs", "/scopes/crm", "/scopes/global", "/scopes/+new")
	p.bob.get("/scopes").wants(t, http.StatusOK, "/scopes/docs", "!/scopes/crm", "!/scopes/global", "!/scopes/+new")
	p.viewer.get("/scopes").wants(t, http.StatusOK, "You administer no scope", "!/scopes/docs")
}

// A page offers what the person may do, and nothing else.
func TestAPageOffersWhatThePersonMayDo(t *testing.T) {
	p := newPeople(t)
	p.ann.get("/scopes/docs").wants(t, http.StatusOK, "/operators/bob", "/callers/billing", "/scopes/docs/rotate", "/scopes/docs/regenerate")
	p.bob.get("/scopes/docs").wants(t, http.StatusOK, "!/operators/bob", "!/callers/billing", "/scopes/docs/rotate", "/scopes/docs/regenerate")
	p.ann.get("/scopes/global").wants(t, http.StatusOK, "/scopes/global/regenerate", "!/scopes/global/delete")
	p.greta.get("/scopes/global").wants(t, http.StatusOK, "/scopes/global/rotate", "!/scopes/global/regenerate", "!/scopes/global/delete")
}

// Every change, and who of the instance admin's fellows may make it. Whoever may not changes nothing.
func TestChangesAreForThoseWhoMayMakeThem(t *testing.T) {
	p := newPeople(t)
	form := func(pairs ...string) url.Values {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return v
	}
	for _, change := range []struct {
		path string
		form url.Values
		by   []*visitor // beside the instance admin
	}{
		{"/scopes", form("name", "new"), nil},
		{"/scopes/docs/edit", form("description", "x"), []*visitor{p.bob}},
		{"/scopes/docs/generate", nil, []*visitor{p.bob}},
		{"/scopes/docs/rotate", nil, []*visitor{p.bob}},
		{"/scopes/docs/regenerate", form("confirm", "docs", "expected_credentials", "2"), []*visitor{p.bob}},
		{"/scopes/docs/delete", form("confirm", "docs", "expected_credentials", "1"), []*visitor{p.bob}},
		{"/scopes/global/rotate", nil, []*visitor{p.greta}},
		{"/scopes/global/regenerate", form("confirm", "global", "expected_credentials", "0"), nil},
		{"/callers", form("name", "new", "nonce", "1"), nil},
		{"/callers/billing/edit", form("description", "x"), nil},
		{"/callers/billing/token", form("nonce", "2"), nil},
		{"/callers/billing/revoke", nil, nil},
		{"/callers/billing/disable", nil, nil},
		{"/callers/billing/enable", nil, nil},
		{"/callers/billing/delete", form("confirm", "billing"), nil},
		{"/operators", form("name", "new", "nonce", "3", "admin", "on"), nil},
		{"/operators/bob/edit", form("admin", "on"), nil},
		{"/operators/bob/token", form("nonce", "4"), nil},
		{"/operators/bob/revoke", nil, nil},
		{"/operators/bob/disable", nil, nil},
		{"/operators/bob/enable", nil, nil},
		{"/operators/bob/delete", form("confirm", "bob"), nil},
	} {
		for _, v := range []*visitor{p.bob, p.eve, p.greta, p.viewer} {
			may := false
			for _, one := range change.by {
				may = may || one == v
			}
			if may {
				continue
			}
			before := p.commits()
			if r := v.form(change.path, change.form); r.Code != http.StatusForbidden || tokens.MatchString(r.html) {
				t.Errorf("%s: %d %s", change.path, r.Code, r.text)
			}
			if p.commits() != before {
				t.Errorf("%s changed something", change.path)
			}
		}
	}
	for _, v := range []*visitor{p.bob, p.ann} {
		v.sends("/scopes/docs/edit", "/scopes/docs/edit", "description", "by "+v.cookies[0].Name).wants(t, http.StatusSeeOther)
		v.sends("/scopes/docs", "/scopes/docs/rotate").wants(t, http.StatusSeeOther)
	}
	if s, err := p.Scope(t.Context(), everything, "docs"); err != nil || s.Key.Version != 3 {
		t.Errorf("the key was not rotated twice: %+v, %v", s.Key, err)
	}
}

// Nobody is let in by what they are not.
func TestWhoIsNotSignedInChangesNothing(t *testing.T) {
	p := newPeople(t)
	stranger := &visitor{o: p.office}
	for _, path := range every {
		if r := stranger.get(path); r.Code != http.StatusSeeOther {
			t.Errorf("%s: %d", path, r.Code)
		}
	}
	before := p.commits()
	for _, path := range []string{"/scopes", "/scopes/docs/rotate", "/scopes/docs/regenerate", "/callers", "/callers/billing/token", "/operators", "/operators/bob/token"} {
		if r := stranger.post(path, "name", "x", "nonce", "1"); r.Code != http.StatusSeeOther || tokens.MatchString(r.html) {
			t.Errorf("%s: %d", path, r.Code)
		}
	}
	if p.commits() != before {
		t.Error("a stranger changed something")
	}
}

// The last instance admin is warned and let go: root and the server's own user stay.
func TestTheLastInstanceAdminIsWarned(t *testing.T) {
	p := newPeople(t)
	p.ann.get("/operators/ann").wants(t, http.StatusOK, "You are the only instance admin")
	p.ann.get("/operators/ann/delete").wants(t, http.StatusOK, "only instance admin", "This is you")
	p.ann.get("/operators/ann/edit").wants(t, http.StatusOK, "ann is the only instance admin")
	p.ann.get("/operators/bob").wants(t, http.StatusOK, "!only instance admin")
	second := p.signedIn("zoe", keybearer.RoleInstanceAdmin)
	p.ann.get("/operators/ann").wants(t, http.StatusOK, "!only instance admin")
	if _, err := p.DisableOperator(t.Context(), everything, "zoe"); err != nil {
		t.Fatal(err)
	}
	if r := second.get("/scopes"); r.Code != http.StatusSeeOther {
		t.Errorf("a disabled operator sees the scopes: %d", r.Code)
	}
	p.ann.get("/operators/ann").wants(t, http.StatusOK, "only instance admin")
	p.ann.sends("/operators/ann/delete", "/operators/ann/delete", "confirm", "ann").wants(t, http.StatusSeeOther)
	if r := p.ann.get("/scopes"); r.Code != http.StatusSeeOther {
		t.Errorf("who is deleted sees the scopes: %d", r.Code)
	}
}
