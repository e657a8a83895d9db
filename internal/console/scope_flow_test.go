package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keybearer/keybearer"
)

// generation of the key of docs.
func (p *people) generation() uint32 {
	p.t.Helper()
	s, err := p.Scope(p.t.Context(), everything, "docs")
	if err != nil {
		p.t.Fatal(err)
	}
	return s.Key.Generation
}

const (
	lookAt  = "/scopes/docs/regenerate"
	confirm = "/scopes/docs/regenerate/confirm"
)

// confirming is the form of the second step, as the first leads to it.
func (v *visitor) confirming(pairs ...string) url.Values {
	v.o.t.Helper()
	step := confirm + "?" + v.filled(lookAt, confirm).Encode()
	return v.filled(step, lookAt, append([]string{"confirm", "docs", "expected_credentials", "2"}, pairs...)...)
}

func TestAScopeIsMadeWithItsKeyAndWithout(t *testing.T) {
	p := newPeople(t)
	r := p.ann.sends("/scopes/+new", "/scopes", "name", "shop", "description", "The <b>shop</b>")
	r.wants(t, http.StatusSeeOther)
	if to := r.Header().Get("Location"); to != "/scopes/shop" {
		t.Errorf("it leads to %s", to)
	}
	p.ann.get("/scopes/shop").wants(t, http.StatusOK, "Created scope shop.", "The <b>shop</b>", "ready", "Generation 1", "!Generate key")

	bare := p.ann.filled("/scopes/+new", "/scopes", "name", "bare")
	bare.Del("generate")
	p.ann.form("/scopes", bare).wants(t, http.StatusSeeOther)
	p.ann.get("/scopes/bare").wants(t, http.StatusOK, "no key", "Generate key", "token", "!Rotate")
	p.ann.sends("/scopes/bare", "/scopes/bare/generate").wants(t, http.StatusSeeOther)
	p.ann.get("/scopes/bare").wants(t, http.StatusOK, "Generated the key of bare.", "ready", "Rotate")

	for _, wrong := range []struct {
		name   string
		status int
		says   string
	}{{"shop", http.StatusConflict, "taken"}, {"Bad Name", http.StatusBadRequest, "lower-case letters"}} {
		r := p.ann.sends("/scopes/+new", "/scopes", "name", wrong.name, "description", "kept")
		r.wants(t, wrong.status, wrong.says, `value="kept"`, `aria-invalid="true"`)
	}
}

// Each of the three that a regenerate needs is missing once, and nothing happens.
func TestRegenerateTakesTheNameTheCountAndPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeople(t)
		_, token, err := p.RotateOperatorToken(t.Context(), everything, "bob", time.Time{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		p.bob.get(lookAt).wants(t, http.StatusOK, "2 credentials", "1 in use, and 1 that was deleted", "web", "old", "never")
		for _, wrong := range []struct{ field, value, says string }{
			{"confirm", "dcs", "This is not the name"},
			{"confirm", "", "This is not the name"},
			{"expected_credentials", "3", "This is not how many"},
			{"expected_credentials", "", "In digits"},
			{"expected_credentials", "-2", "In digits"},
		} {
			r := p.bob.form(lookAt, p.bob.confirming(wrong.field, wrong.value))
			r.wants(t, r.Code, wrong.says, `aria-invalid="true"`)
			if r.Code < 400 || p.generation() != 1 {
				t.Fatalf("%+v: %d", wrong, r.Code)
			}
		}

		time.Sleep(6 * time.Minute) // the sign-in is no proof of presence any more
		sent := p.bob.confirming()
		if _, asked := sent["token"]; !asked {
			t.Fatal("the form does not ask for the token")
		}
		for _, wrong := range []string{"", "nonsense-canary", token.Reveal() + "a", p.token} {
			sent.Set("token", wrong)
			r := p.bob.form(lookAt, sent)
			r.wants(t, http.StatusForbidden, "!nonsense-canary", "!"+token.Reveal(), "!"+p.token)
			if p.generation() != 1 {
				t.Fatalf("regenerated with the token %q", wrong)
			}
		}
		sent.Set("token", token.Reveal())
		p.bob.form(lookAt, sent).wants(t, http.StatusSeeOther)
		if p.generation() != 2 {
			t.Fatal("not regenerated")
		}
		r := p.bob.get("/scopes/docs")
		r.wants(t, http.StatusOK, "Regenerated the key of docs. 2 credentials destroyed.", "Generation 2", "what earlier ones sealed does not open any more", "!"+token.Reveal())
		if _, err := p.Credential(t.Context(), everything, keybearer.Ref{Scope: "docs", Name: "web"}); keybearer.CodeOf(err) != keybearer.NotFound {
			t.Errorf("the credential is still there: %v", err)
		}
		if _, asked := p.bob.filled("/scopes/docs/delete", "/scopes/docs/delete")["token"]; asked {
			t.Error("what was proved just now is asked for again")
		}
	})
}

func TestCredentialsStayWithoutTheirSecretsWhereThatIsWanted(t *testing.T) {
	p := newPeople(t)
	step := confirm + "?" + p.bob.filled(lookAt, confirm, "keep", "shells").Encode()
	p.bob.sends(step, lookAt, "confirm", "docs", "expected_credentials", "2").wants(t, http.StatusSeeOther)
	p.bob.get("/scopes/docs").wants(t, http.StatusOK, "still there and need new ones")
	c, err := p.Credential(t.Context(), everything, keybearer.Ref{Scope: "docs", Name: "web"})
	if err != nil || c.State != keybearer.NeedsSecret {
		t.Errorf("%v, %v", c.State, err)
	}
}

// What is confirmed is what was looked at: one more, one less, or one in the place of another.
func TestAListThatChangedIsLookedAtAgain(t *testing.T) {
	p := newPeople(t)
	first := confirm + "?" + p.bob.filled(lookAt, confirm).Encode()
	sent := p.bob.confirming()
	p.make("docs", "new")
	p.bob.get(first).wants(t, http.StatusConflict, "The list has changed since you looked", "new")
	p.bob.form(lookAt, sent).wants(t, http.StatusConflict, "The list has changed since you looked", "new")
	if _, err := p.DeleteCredential(t.Context(), everything, keybearer.Ref{Scope: "docs", Name: "new"}, true); err != nil {
		t.Fatal(err)
	}
	sent = p.bob.confirming("expected_credentials", "3")
	if _, err := p.RestoreCredential(t.Context(), everything, keybearer.Ref{Scope: "docs", Name: "new"}); err != nil { // as many as before
		t.Fatal(err)
	}
	p.bob.form(lookAt, sent).wants(t, http.StatusConflict, "The list has changed")
	stale := p.bob.confirming("expected_credentials", "3")
	p.bob.sends("/scopes/docs", "/scopes/docs/rotate").wants(t, http.StatusSeeOther)
	p.bob.form(lookAt, stale).wants(t, http.StatusPreconditionFailed, "Somebody else changed it")
	if p.generation() != 1 {
		t.Fatal("regenerated all the same")
	}
}

func TestAScopeIsDeletedWhenItIsEmpty(t *testing.T) {
	p := newPeople(t)
	const path = "/scopes/docs/delete"
	p.bob.get(path).wants(t, http.StatusOK, "still holds 1 credential", "!Delete the scope</button>")
	if _, err := p.DeleteCredential(t.Context(), everything, keybearer.Ref{Scope: "docs", Name: "web"}, true); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][]string{{"confirm", "doc", "expected_credentials", "2"}, {"confirm", "docs", "expected_credentials", "1"}} {
		if r := p.bob.sends(path, path, wrong...); r.Code < 400 {
			t.Fatalf("%v: %d", wrong, r.Code)
		}
	}
	p.bob.sends(path, path, "confirm", "docs", "expected_credentials", "2").wants(t, http.StatusSeeOther)
	p.ann.get("/scopes").wants(t, http.StatusOK, "!/scopes/docs")
	p.ann.get("/scopes/global/delete").wants(t, http.StatusConflict, "stays")
}

// A second editor is told, and what they typed is kept.
func TestWhoEditsAfterAnotherIsTold(t *testing.T) {
	p := newPeople(t)
	const path = "/scopes/docs/edit"
	second := p.bob.filled(path, path, "description", "from bob")
	p.ann.sends(path, path, "description", "from ann").wants(t, http.StatusSeeOther)
	r := p.bob.form(path, second)
	r.wants(t, http.StatusPreconditionFailed, "from bob", "There is now: from ann")
	if s, _ := p.Scope(t.Context(), everything, "docs"); s.Description != "from ann" {
		t.Fatalf("it is now %q", s.Description)
	}
	p.bob.form(path, formIn(t, r.html, path)).wants(t, http.StatusSeeOther)
	if s, _ := p.Scope(t.Context(), everything, "docs"); s.Description != "from bob" {
		t.Fatalf("it is now %q", s.Description)
	}
	unchanged := p.bob.filled(path, path, "description", "later")
	p.ann.sends("/scopes/docs", "/scopes/docs/rotate").wants(t, http.StatusSeeOther) // changes the scope, and nothing that the form shows
	p.bob.form(path, unchanged).wants(t, http.StatusSeeOther)
}

// underWay puts work into the scope's journal, and nobody carries it out.
func (p *people) underWay(fn func(*keybearer.Scope)) {
	p.t.Helper()
	s, err := p.store.Scope(p.t.Context(), "docs")
	if err != nil {
		p.t.Fatal(err)
	}
	next := s.Clone()
	fn(next)
	if _, err := p.store.Commit(p.t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: next}}}); err != nil {
		p.t.Fatal(err)
	}
}

func TestLongWorkIsShownAsItGoesOn(t *testing.T) {
	p := newPeople(t)
	for kind, words := range map[keybearer.WorkKind]string{
		keybearer.WorkRotate: "Use goes on meanwhile", keybearer.WorkMove: "Use goes on meanwhile", keybearer.WorkRegenerate: "refused",
	} {
		p.underWay(func(s *keybearer.Scope) {
			s.Work = &keybearer.ScopeWork{Kind: kind, Cursor: "0", Done: 30, Total: 120, By: "user:ann", StartedAt: time.Now()}
		})
		page := p.bob.get("/scopes/docs")
		page.wants(t, http.StatusOK, words, `<progress class="meter" value="30" max="120"`, "30 of 120 credentials", "25 %", `hx-trigger="every 1s"`, "Refresh", "!Rotate</button>")
		if offered := strings.Contains(page.html, `href="/scopes/docs/regenerate"`); offered != (kind != keybearer.WorkRegenerate) {
			t.Errorf("%s: offers to regenerate: %v", kind, offered)
		}
		part := p.bob.get("/scopes/docs/key", "HX-Request", "true")
		part.wants(t, http.StatusOK, `<progress class="meter" value="30"`, `hx-trigger="every 1s"`, "!<html")
		p.bob.get("/scopes").wants(t, http.StatusOK, "30 of 120")
	}
	p.underWay(func(s *keybearer.Scope) { s.Work = nil })
	p.bob.get("/scopes/docs/key", "HX-Request", "true").wants(t, http.StatusOK, "ready", "!hx-trigger", "!<progress", "Rotate</button>")
	p.bob.get("/scopes/docs/key").wants(t, http.StatusSeeOther)
	p.eve.get("/scopes/docs/key", "HX-Request", "true").wants(t, http.StatusForbidden)
}

// A rotation that cannot be done says why on the scope's page.
func TestWhatCannotBeDoneNowIsTold(t *testing.T) {
	p := newPeople(t)
	form := p.bob.filled("/scopes/docs", "/scopes/docs/rotate")
	p.underWay(func(s *keybearer.Scope) {
		s.Work = &keybearer.ScopeWork{Kind: keybearer.WorkRotate, Cursor: "0", Total: 5, By: "user:ann", StartedAt: time.Now()}
	})
	p.bob.form("/scopes/docs/rotate", form).wants(t, http.StatusSeeOther)
	p.bob.get("/scopes/docs").wants(t, http.StatusOK, "Not done.")
	form.Set("revision", "0")
	p.bob.form("/scopes/docs/rotate", form).wants(t, http.StatusSeeOther)
	p.bob.get("/scopes/docs").wants(t, http.StatusOK, "A rotation of this key is under way")
	p.bob.post("/scopes/docs/generate").wants(t, http.StatusSeeOther)
	p.bob.get("/scopes/docs").wants(t, http.StatusOK, "already has a key")
}
