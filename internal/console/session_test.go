package console_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/signin"
)

func TestASessionEndsByItself(t *testing.T) {
	for name, test := range map[string]struct {
		idle  time.Duration // 0: the default
		each  time.Duration // pause between requests
		until time.Duration // when it is over; the request before was still answered
		mark  func(*http.Request)
	}{
		"without a request":                       {each: 30 * time.Minute, until: 30 * time.Minute},
		"after all that time, whoever is there":   {each: 29 * time.Minute, until: 12*time.Hour + 5*time.Minute},
		"after what was configured":               {idle: 10 * time.Minute, each: 9 * time.Minute, until: 12 * time.Hour},
		"though a page asks again by itself":      {each: time.Minute, until: 30 * time.Minute, mark: with(signin.UnattendedHeader, "1")},
		"though a page waits for events":          {each: time.Minute, until: 30 * time.Minute, mark: with("Accept", "text/event-stream")},
		"a minute after that is not late by much": {each: 31 * time.Minute, until: 31 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t, func(d *desk) { d.idle = test.idle })
				b := d.browser()
				b.signIn(d.operator("ann"))
				mark := test.mark
				if mark == nil {
					mark = func(*http.Request) {}
				}
				began := time.Now()
				for {
					time.Sleep(test.each)
					p := b.get("/account", mark)
					if p.StatusCode == http.StatusOK {
						if time.Since(began) >= test.until {
							t.Fatalf("it lives after %v", time.Since(began))
						}
						continue
					}
					if time.Since(began) < test.until {
						t.Fatalf("it ended after %v: %d", time.Since(began), p.StatusCode)
					}
					return
				}
			})
		})
	}
}

func TestWhatEndsASession(t *testing.T) {
	for name, end := range map[string]func(d *desk, b *browser, tokenID string) error{
		"the token is revoked": func(d *desk, _ *browser, id string) error {
			_, err := d.RevokeOperatorToken(d.t.Context(), root, "ann", id)
			return err
		},
		"the token is replaced without overlap": func(d *desk, _ *browser, _ string) error {
			_, _, err := d.RotateOperatorToken(d.t.Context(), root, "ann", time.Time{}, new(time.Duration))
			return err
		},
		"the operator is disabled": func(d *desk, _ *browser, _ string) error {
			_, err := d.DisableOperator(d.t.Context(), root, "ann")
			return err
		},
		"the operator is deleted": func(d *desk, _ *browser, _ string) error {
			_, err := d.DeleteOperator(d.t.Context(), root, "ann")
			return err
		},
		"they sign out": func(_ *desk, b *browser, _ string) error {
			b.post("/sign-out")
			return nil
		},
		"they sign out everywhere, elsewhere": func(d *desk, b *browser, _ string) error {
			other := d.browser()
			_, token, err := d.RotateOperatorToken(d.t.Context(), root, "ann", time.Time{}, nil)
			if err == nil {
				other.signIn(token.Reveal())
				other.post("/sign-out", "everywhere", "yes")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			b, other := d.browser(), d.browser()
			b.signIn(d.operator("ann"))
			other.signIn(d.operator("bob"))
			o, err := d.Operator(t.Context(), root, "ann")
			if err != nil {
				t.Fatal(err)
			}
			cookie := *b.cookies[signin.CookieName]
			if !b.in() {
				t.Fatal("not signed in")
			}
			if err := end(d, b, o.Tokens[0].ID); err != nil {
				t.Fatal(err)
			}
			b.cookies[signin.CookieName] = &cookie // the server ends it, whatever the browser keeps
			if b.in() {
				t.Error("it did not end")
			}
			if _, err := d.EnableOperator(t.Context(), root, "ann"); err == nil {
				b.cookies[signin.CookieName] = &cookie
				if strings.Contains(name, "disabled") && b.in() {
					t.Error("it came back")
				}
			}
			if !other.in() {
				t.Error("another operator's session ended too")
			}
		})
	}
}

func TestASessionGetsANewNameWhenItGainsPower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		b := d.browser()
		b.cookies[signin.CookieName] = &http.Cookie{Name: signin.CookieName, Value: "planted", SameSite: http.SameSiteStrictMode}
		token := d.operator("ann")
		b.signIn(token)
		first := b.session()
		if first == "planted" || len(first) < 40 {
			t.Fatalf("the session is called %q", first)
		}
		time.Sleep(10 * time.Minute)
		if p := b.post("/confirm", "token", token, "next", "/credentials"); p.Header.Get("Location") != "/credentials" {
			t.Fatalf("confirm: %d %s", p.StatusCode, p.body)
		}
		second := b.session()
		if second == first {
			t.Error("the session keeps its name when it is confirmed")
		}
		old := d.browser()
		old.cookies[signin.CookieName] = &http.Cookie{Name: signin.CookieName, Value: first}
		if old.in() || !b.in() {
			t.Error("the old name is good still, or the new one is not")
		}
		again := d.browser() // somebody else's browser signs in over a session that was planted
		again.cookies[signin.CookieName] = &http.Cookie{Name: signin.CookieName, Value: second}
		again.signIn(d.operator("bob"))
		if again.session() == second || b.in() {
			t.Error("two operators share a session")
		}
	})
}

// Whoever confirms all day long is signed out like everybody.
func TestToConfirmDoesNotProlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		b := d.browser()
		token := d.operator("ann")
		b.signIn(token)
		for range 24 {
			time.Sleep(29 * time.Minute)
			b.post("/confirm", "token", token)
		}
		if !b.in() {
			t.Fatal("it ended early")
		}
		time.Sleep(25 * time.Minute)
		if b.in() {
			t.Errorf("it lives after 12 hours")
		}
	})
}

// A request that was under way when its session ended does not bring it back.
func TestASessionThatEndedStaysEnded(t *testing.T) {
	d := newDesk(t)
	b := d.browser()
	b.signIn(d.operator("ann"))
	cookie := *b.cookies[signin.CookieName]
	inside, ended := make(chan struct{}), make(chan struct{})
	slow := d.config.SignIn.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-ended
		d.config.SignIn.Say(r.Context(), signin.Toast{Tone: "good", Text: "done"}) // which changes the session
		w.WriteHeader(http.StatusOK)
	}))
	var wg sync.WaitGroup
	wg.Go(func() {
		serve(t, slow, &cookie)
	})
	<-inside
	b.post("/sign-out")
	close(ended)
	wg.Wait()
	b.cookies[signin.CookieName] = &cookie
	if b.in() {
		t.Error("it is back")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		token, other := d.operator("ann"), d.browser()
		other.signIn(d.operator("bob"))
		var all []*browser
		for i := range 22 {
			b := d.browser()
			b.address = "127.0.0." + strconv.Itoa(2+i) + ":1"
			time.Sleep(time.Second)
			b.signIn(token)
			all = append(all, b)
		}
		var live []bool
		for _, b := range all {
			live = append(live, b.in())
		}
		want := make([]bool, 22)
		for i := 2; i < 22; i++ {
			want[i] = true
		}
		if d := cmp.Diff(want, live); d != "" {
			t.Error(d)
		}
		if !other.in() {
			t.Error("another operator's session ended")
		}
		if p := all[21].get("/account"); strings.Count(p.body, "another browser") != 19 || strings.Count(p.body, "this one") != 1 {
			t.Errorf("the account shows other sessions than there are: %s", p.body)
		}
	})
}

// A reload keeps who is signed in, under the new limits.
func TestAReloadKeepsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		b := d.browser()
		b.signIn(d.operator("ann"))
		d.configure(func(d *desk) { d.idle = 5 * time.Minute })
		if !b.in() {
			t.Fatal("the reload ended the session")
		}
		time.Sleep(6 * time.Minute)
		if b.in() {
			t.Error("the session lasts as the old configuration had it")
		}
	})
}

func TestTheAccountPageSaysWhoIsThere(t *testing.T) {
	d := newDesk(t)
	if _, err := d.CreateScope(t.Context(), root, "docs", ""); err != nil {
		t.Fatal(err)
	}
	_, token, err := d.CreateOperator(t.Context(), root, custody.NewOperator{Name: "ann", Roles: []string{"scope-admin:docs"}, Groups: []string{"writers"}})
	if err != nil {
		t.Fatal(err)
	}
	b := d.browser()
	b.signIn(token.Reveal())
	if p := b.get("/account"); !p.has("user:ann", "scope-admin:docs", "group:writers", "this one") || p.has("scp_") {
		t.Errorf("%s", p.body)
	}
	b.last = home + "/account"
	if p := b.post("/account/theme", "theme", "dark"); p.Header.Get("Location") != "/account" || b.cookies["__Host-keybearer-theme"] == nil {
		t.Errorf("%d %v", p.StatusCode, p.Header)
	}
	if p := b.get("/account"); !p.has(`<html lang="en" data-theme="dark">`) {
		t.Errorf("it is not dark: %s", p.body[:200])
	}
	b.cookies["__Host-keybearer-theme"].Value = "dark-and-more"
	if p := b.get("/account"); !p.has(`<html lang="en">`) {
		t.Errorf("%s", p.body[:200])
	}
	b.post("/account/theme", "theme", "")
	if b.cookies["__Host-keybearer-theme"] != nil {
		t.Error("the choice was not taken back")
	}
	if d := cmp.Diff(map[string]int{"sign-in allow": 1}, d.actions()); d != "" {
		t.Error(d)
	}
}

// Who is disabled and enabled again has to sign in again, though their browsers asked for nothing meanwhile.
func TestWhoIsDisabledIsSignedOutForGood(t *testing.T) {
	d := newDesk(t)
	bob, ann := d.browser(), d.browser()
	bob.signIn(d.operator("bob"))
	ann.signIn(d.operator("ann"))
	for _, to := range []string{"/operators/bob/disable", "/operators/bob/enable"} {
		if p := ann.post(to); p.StatusCode != http.StatusSeeOther {
			t.Fatalf("%s: %d %s", to, p.StatusCode, p.body)
		}
	}
	if bob.in() || !ann.in() {
		t.Errorf("bob %v, ann %v", bob.in(), ann.in())
	}
}

// What destroys takes a proof of the last minutes, by a clock that goes forward.
func TestAProofOfPresenceHoldsForMinutes(t *testing.T) {
	for by, asked := range map[time.Duration]bool{4 * time.Minute: false, 6 * time.Minute: true, -time.Hour: true} {
		d := newDesk(t)
		if _, err := d.CreateScope(t.Context(), root, "docs", ""); err != nil {
			t.Fatal(err)
		}
		b := d.browser()
		b.signIn(d.operator("ann"))
		d.wait(by)
		if p := b.get("/scopes/docs/delete"); p.StatusCode != http.StatusOK || p.has("Your operator token, once more") != asked {
			t.Errorf("after %v: %d, asked %v", by, p.StatusCode, !asked)
		}
		p := b.post("/scopes/docs/delete", "confirm", "docs", "expected_credentials", "0")
		if (p.StatusCode == http.StatusForbidden) != asked {
			t.Errorf("after %v: %d", by, p.StatusCode)
		}
	}
}
