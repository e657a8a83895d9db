package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
)

// The page that shows a token is the answer to the form that made it, and the only page that ever does.
func TestATokenIsShownOnce(t *testing.T) {
	p := newPeople(t)
	form := p.ann.filled("/callers/+new", "/callers", "name", "shop", "description", "The shop", "rate", "30/m", "expires", "2999-01-31")
	form.Add("scopes", "docs")
	r := p.ann.form("/callers", form)
	r.wants(t, http.StatusCreated, "It is shown this once", "HTTP_PROXY=http://_:kb_", "@127.0.0.1:9080", "ends 1 Feb 2999, 00:00 UTC")
	token := r.theToken(t)
	if r.Header().Get("Cache-Control") != "no-store" || !p.good(token) {
		t.Errorf("kept by %q, good: %v", r.Header().Get("Cache-Control"), p.good(token))
	}
	c, err := p.Caller(t.Context(), everything, "shop")
	if err != nil || c.Limits.Rate != 0.5 || len(c.Scopes) != 1 || c.Description != "The shop" {
		t.Errorf("%+v, %v", c, err)
	}

	p.ann.form("/callers", form).wants(t, http.StatusConflict, "sent already", "!"+token)
	again := p.ann.filled("/callers/billing/token", "/callers/billing/token")
	second := p.ann.form("/callers/billing/token", again).theToken(t)
	for range 2 { // reloaded
		p.ann.form("/callers/billing/token", again).wants(t, http.StatusConflict, "sent already", "!"+second, "!kb_")
	}
	if c, err := p.Caller(t.Context(), everything, "billing"); err != nil || len(c.Tokens) != 2 {
		t.Errorf("there are %d tokens, %v", len(c.Tokens), err)
	}
	operator := p.ann.sends("/operators/+new", "/operators", "name", "carl", "groups", "sales support").theToken(t)
	third := p.ann.sends("/operators/bob/token", "/operators/bob/token").theToken(t)
	for _, path := range append([]string{"/callers/shop", "/callers/shop/token", "/operators/carl"}, every...) {
		r := p.ann.get(path)
		if r.Code != http.StatusOK {
			t.Errorf("%s: %d", path, r.Code)
		}
		for _, secret := range []string{token, second, third, operator, p.token} {
			if strings.Contains(r.html, secret) || strings.Contains(r.html, "s3cret") {
				t.Errorf("%s shows a secret", path)
			}
		}
	}
}

// However often the form comes at the same time.
func TestAFormThatComesManyTimesAtOnceMakesOneToken(t *testing.T) {
	p := newPeople(t)
	form := p.ann.filled("/callers/billing/token", "/callers/billing/token", "revision", "")
	var group sync.WaitGroup
	var mu sync.Mutex
	shown := 0
	for range 8 {
		group.Go(func() {
			v := &visitor{o: p.office, cookies: p.ann.cookies}
			r := v.form("/callers/billing/token", form)
			mu.Lock()
			defer mu.Unlock()
			if tokens.MatchString(r.html) {
				shown++
			}
		})
	}
	group.Wait()
	c, err := p.Caller(t.Context(), everything, "billing")
	if err != nil || shown != 1 || len(c.Tokens) != 2 {
		t.Errorf("%d shown, %d tokens, %v", shown, len(c.Tokens), err)
	}
}

// A form of which nothing came may be mended and sent again.
func TestAFormThatWasWrongIsSentAgain(t *testing.T) {
	p := newPeople(t)
	form := p.ann.filled("/callers/+new", "/callers", "name", "Bad Name", "description", "kept")
	for _, wrong := range []struct{ field, value, says string }{
		{"name", "Bad Name", "lower-case letters"},
		{"name", "billing", "taken"},
		{"rate", "fast", "number of requests"},
		{"rate", "0.0000001/h", "one request an hour"},
		{"burst", "0", "whole number"},
		{"concurrency", "many", "whole number"},
		{"concurrency", "2000000", "million"},
		{"expires", "soon", "not a day"},
		{"expires", "1999-01-01", "future"},
	} {
		one := url.Values{}
		for k, v := range form {
			one[k] = v
		}
		one.Set("name", "good")
		one.Set(wrong.field, wrong.value)
		r := p.ann.form("/callers", one)
		if r.wants(t, r.Code, wrong.says, `value="kept"`, `aria-describedby="`+wrong.field+"-error"); r.Code != http.StatusBadRequest && r.Code != http.StatusConflict {
			t.Errorf("%+v: %d", wrong, r.Code)
		}
	}
	form.Set("name", "good")
	p.ann.form("/callers", form).theToken(t)

	form = p.ann.filled("/callers/+new", "/callers", "name", "certified", "proof", "other")
	p.ann.form("/callers", form).wants(t, http.StatusSeeOther)
	if c, err := p.Caller(t.Context(), everything, "certified"); err != nil || len(c.Tokens) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

// How long older tokens stay good is as it was chosen.
func TestOlderTokensStayGoodAsLongAsChosen(t *testing.T) {
	for choice, want := range map[string]time.Duration{"24h": 24 * time.Hour, "168h": 7 * 24 * time.Hour, "0s": 0, "keep": -1} {
		p := newPeople(t)
		r := p.ann.sends("/callers/billing/token", "/callers/billing/token", "overlap", choice)
		newest := r.theToken(t)
		if !p.good(newest) || p.good(p.token) != (want != 0) {
			t.Errorf("%s: the new one is good: %v, the older one: %v", choice, p.good(newest), p.good(p.token))
		}
		r.wants(t, http.StatusCreated, "docs%2Fweb:"+newest, "Keybearer-Credential: docs/web", "http://api.example.com/")
		c, err := p.Caller(t.Context(), everything, "billing")
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case want == 0 && len(c.Tokens) != 1, want != 0 && len(c.Tokens) != 2:
			t.Errorf("%s: %d tokens", choice, len(c.Tokens))
		case want < 0 && !c.Tokens[0].ExpiresAt.IsZero():
			t.Errorf("%s: the older one ends at %v", choice, c.Tokens[0].ExpiresAt)
		case want > 0 && (time.Until(c.Tokens[0].ExpiresAt) > want || time.Until(c.Tokens[0].ExpiresAt) < want-time.Hour):
			t.Errorf("%s: the older one ends at %v", choice, c.Tokens[0].ExpiresAt)
		}
	}
	p := newPeople(t)
	p.ann.sends("/callers/billing/token", "/callers/billing/token", "overlap", "9h").wants(t, http.StatusBadRequest, "Choose how long")
}

// The page says when the app has moved to its newest token.
func TestThePageSaysWhetherTheAppHasMovedToItsNewestToken(t *testing.T) {
	p := newPeople(t)
	used := func(i int) {
		c, err := p.Caller(t.Context(), everything, "billing")
		if err != nil {
			t.Fatal(err)
		}
		err = p.store.RecordUses(t.Context(), []keybearer.UseRecord{
			{CredentialID: p.web.ID, Scope: "docs", Caller: "billing", TokenID: c.Tokens[i].ID, Host: "api.example.com:443", Status: 200, At: time.Now()},
		}, keybearer.Checkpoint{})
		if err != nil {
			t.Fatal(err)
		}
	}
	const page = "/callers/billing"
	used(0)
	p.ann.get(page).wants(t, http.StatusOK, "just now", "!newest token")
	p.ann.sends(page+"/token", page+"/token").theToken(t)
	p.ann.get(page).wants(t, http.StatusOK, "The newest token has not been used yet.", "ending")
	used(1)
	p.ann.get(page).wants(t, http.StatusOK, "The app has moved to the newest token.")
	used(0)
	p.ann.get(page).wants(t, http.StatusOK, "An older token is still in use", "still in use")
}

func TestTokensAreRevokedOneByOneAndAll(t *testing.T) {
	p := newPeople(t)
	const page = "/callers/billing"
	second := p.ann.sends(page+"/token", page+"/token", "overlap", "keep").theToken(t)
	c, err := p.Caller(t.Context(), everything, "billing")
	if err != nil {
		t.Fatal(err)
	}
	one := page + "/revoke?id=" + c.Tokens[0].ID
	p.ann.get(one).wants(t, http.StatusOK, c.Tokens[0].ID, "Revoke a token of billing")
	p.ann.get(page+"/revoke?id=tok_none").wants(t, http.StatusNotFound)
	p.ann.sends(one, page+"/revoke").wants(t, http.StatusSeeOther)
	if p.good(p.token) || !p.good(second) {
		t.Fatal("the wrong one was revoked")
	}
	stale := p.ann.filled(page+"/revoke", page+"/revoke")
	third := p.ann.sends(page+"/token", page+"/token", "overlap", "keep").theToken(t)
	p.ann.form(page+"/revoke", stale).wants(t, http.StatusSeeOther)
	p.ann.get(page).wants(t, http.StatusOK, "Not done: It was changed since you read it.")
	if !p.good(third) {
		t.Fatal("a token that was not looked at was revoked")
	}
	p.ann.sends(page+"/revoke", page+"/revoke").wants(t, http.StatusSeeOther)
	if p.good(second) || p.good(third) {
		t.Error("not all were revoked")
	}
}

func TestACallerIsChangedDisabledAndDeleted(t *testing.T) {
	p := newPeople(t)
	const page = "/callers/billing"
	p.ann.get(page).wants(t, http.StatusOK, "docs/ web", "use", "!not bound")
	edit := p.ann.filled(page+"/edit", page+"/edit", "scopes", "crm", "concurrency", "none")
	p.ann.form(page+"/edit", edit).wants(t, http.StatusSeeOther)
	p.ann.get(page).wants(t, http.StatusOK, "not bound to docs, so refused", "any number under way")
	r := p.ann.form(page+"/edit", edit)
	r.wants(t, http.StatusPreconditionFailed, "Somebody else changed it")

	p.ann.sends(page, page+"/disable").wants(t, http.StatusSeeOther)
	if p.good(p.token) {
		t.Error("the token of a disabled caller is good")
	}
	p.ann.sends(page, page+"/enable").wants(t, http.StatusSeeOther)
	p.ann.sends(page+"/delete", page+"/delete", "confirm", "biling").wants(t, http.StatusBadRequest, "This is not its name")
	if !p.good(p.token) {
		t.Error("deleted without its name")
	}
	p.ann.sends(page+"/delete", page+"/delete", "confirm", "billing").wants(t, http.StatusSeeOther)
	p.ann.get("/callers").wants(t, http.StatusOK, "Deleted caller billing.", `!href="/callers/billing"`)
	p.ann.get(page).wants(t, http.StatusNotFound)
}

func TestAnOperatorHasTheRolesAndGroupsOfTheForm(t *testing.T) {
	p := newPeople(t)
	form := p.ann.filled("/operators/+new", "/operators", "name", "carl", "groups", "sales\n support", "admin", "on")
	form.Add("scopes", "docs")
	form.Add("scopes", "global")
	if !p.good(p.ann.form("/operators", form).theToken(t)) {
		t.Error("the token is not good")
	}
	o, err := p.Operator(t.Context(), everything, "carl")
	if err != nil || strings.Join(o.Roles, " ") != "instance-admin scope-admin:docs scope-admin:global" || strings.Join(o.Groups, " ") != "sales support" {
		t.Errorf("%+v, %v", o, err)
	}
	const page = "/operators/carl"
	edit := p.ann.filled(page+"/edit", page+"/edit", "groups", "sales")
	edit.Del("admin")
	edit["scopes"] = []string{"crm"}
	p.ann.form(page+"/edit", edit).wants(t, http.StatusSeeOther)
	p.ann.get(page).wants(t, http.StatusOK, "scope admin of crm", "!instance admin", "sales", "!support")
	p.ann.form(page+"/edit", edit).wants(t, http.StatusPreconditionFailed, "Somebody else changed it")
	p.ann.sends(page+"/edit", page+"/edit", "groups", "bad\x01group").wants(t, http.StatusBadRequest, "printable")
	p.ann.sends(page+"/delete", page+"/delete", "confirm", "x").wants(t, http.StatusBadRequest, "This is not its name")
	p.ann.sends(page, page+"/disable").wants(t, http.StatusSeeOther)
	p.ann.get("/operators").wants(t, http.StatusOK, "disabled")
}

// Whatever is typed where, what is secret comes back nowhere.
func TestNothingSecretThatIsTypedComesBack(t *testing.T) {
	p := newPeople(t)
	const canary = "canary-9f2c"
	for _, path := range []string{
		"/scopes", "/scopes/docs/edit", "/scopes/docs/regenerate", "/scopes/docs/delete", "/scopes/docs/rotate", "/callers", "/callers/billing/edit", "/callers/billing/token",
		"/callers/billing/revoke", "/callers/billing/delete", "/operators", "/operators/bob/edit", "/operators/bob/token", "/operators/bob/delete",
	} {
		for _, field := range []string{"token", "secret", "username"} {
			r := p.ann.post(path, field, canary, "name", "Bad Name", "revision", "1")
			if strings.Contains(r.html, canary) || strings.Contains(r.Header().Get("Location"), canary) {
				t.Errorf("%s: what was typed as %s comes back", path, field)
			}
		}
	}
}
