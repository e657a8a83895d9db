package console_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/signin"
)

func TestWhatProvesAnOperator(t *testing.T) {
	d := newDesk(t)
	token := d.operator("ann")
	disabled, deleted := d.operator("bob"), d.operator("cid")
	_, callers, err := d.CreateCaller(t.Context(), root, custody.NewCaller{Name: "app"})
	if err == nil {
		_, err = d.DisableOperator(t.Context(), root, "bob")
	}
	if err == nil {
		_, err = d.DeleteOperator(t.Context(), root, "cid")
	}
	if err != nil {
		t.Fatal(err)
	}
	var bodies []string
	for i, wrong := range []string{"", "x", token + "x", token[:len(token)-1], callers.Reveal(), disabled, deleted, "kbo_", "\x00", "%00"} {
		b := d.browser()
		b.address = fmt.Sprintf("10.0.0.%d:1", i)
		p := b.post("/sign-in", "token", wrong)
		if p.StatusCode != http.StatusUnauthorized || b.session() != "" {
			t.Errorf("%q: %d", wrong, p.StatusCode)
		}
		bodies = append(bodies, p.body)
	}
	for _, body := range bodies { // which does not tell whether there was anything to it
		if body != bodies[0] {
			t.Error("refusals differ")
		}
	}
	b := d.browser()
	b.signIn(token)
	if !b.in() {
		t.Error("the right one is refused")
	}
	if found := d.leaks(token, disabled, deleted, callers.Reveal(), b.session()); found != nil {
		t.Error(found)
	}
	if d := cmp.Diff(map[string]int{"sign-in allow": 1, "sign-in refuse": 10, "disable allow": 1, "delete allow": 1}, d.actions()); d != "" {
		t.Error(d)
	}
}

func TestAttemptsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		token := d.operator("ann")
		b := d.browser()
		b.address = "[2001:db8:1:2::1]:1"
		try := func(token string) page { return b.post("/sign-in", "token", token) }
		for i := range 20 {
			if p := try("wrong"); p.StatusCode != http.StatusUnauthorized {
				t.Fatalf("attempt %d: %d", i, p.StatusCode)
			}
		}
		p := try(token) // whether it is right is not looked at
		if p.StatusCode != http.StatusTooManyRequests || !p.has("too many attempts", "Retry-After") || p.Header.Get("Retry-After") != "5" {
			t.Errorf("%d %v %s", p.StatusCode, p.Header, p.body)
		}
		b.address = "[2001:db8:1:2:ffff::9]:1" // another address of one host
		if p := try("wrong"); p.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%d", p.StatusCode)
		}
		if p := b.get("/set-up/wrong"); p.StatusCode != http.StatusTooManyRequests {
			t.Errorf("set-up: %d", p.StatusCode)
		}
		other := d.browser()
		other.signIn(token)
		other.address = b.address
		if p := other.post("/confirm", "token", "wrong"); p.StatusCode != http.StatusTooManyRequests {
			t.Errorf("confirm: %d", p.StatusCode)
		}
		time.Sleep(3 * time.Second)
		b.signIn(token)

		// A flood from everywhere is bounded, and does not fill the audit log.
		refused := 0
		for i := range 1000 {
			b.address = fmt.Sprintf("10.%d.%d.1:1", i/250, i%250)
			if p := try("wrong"); p.StatusCode == http.StatusTooManyRequests {
				refused++
			}
		}
		if refused != 1000-198 && refused != 1000-199 && refused != 1000-200 {
			t.Errorf("%d of 1000 refused", refused)
		}
		if n := d.actions()["sign-in refuse"]; n < 10 || n > 14 {
			t.Errorf("%d refusals are in the audit log", n)
		}
		time.Sleep(time.Second)
		b.signIn(token)
	})
}

// OpenSetUp makes a set-up link.
func (d *desk) openSetUp() string {
	d.t.Helper()
	code, until, err := d.register.OfferSetUp(d.t.Context(), d.Custody, root)
	if err != nil {
		d.t.Fatal(err)
	}
	if left := time.Until(until); left > signin.SetUpTime || left < signin.SetUpTime-time.Minute {
		d.t.Errorf("it holds for %v", left)
	}
	return code.Reveal()
}

func TestTheSetUpLink(t *testing.T) {
	d := newDesk(t)
	replaced, code := d.openSetUp(), d.openSetUp()
	b := d.browser()
	for _, wrong := range []string{replaced, "x", code + "x", code[1:], "%00"} {
		if p := b.get("/set-up/" + wrong); p.StatusCode != http.StatusNotFound || !p.has("does not hold", "keybearer operator setup") {
			t.Errorf("%s: %d", wrong, p.StatusCode)
		}
		if p := b.post("/set-up/"+wrong, "name", "eve"); p.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", wrong, p.StatusCode)
		}
	}
	p := b.get("/set-up/" + code)
	if p.StatusCode != http.StatusOK || p.Header.Get("Referrer-Policy") != "strict-origin" || !p.has("first operator") {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	b.address = "10.0.0.1:1"
	if p := b.post("/set-up/"+code, "name", "Ann <b>"); p.StatusCode != http.StatusBadRequest || !p.has("Ann &lt;b&gt;", "name-error") {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	p = b.post("/set-up/"+code, "name", "ann")
	token := between(p.body, `<pre tabindex="0"><code>`, "</code>")
	if p.StatusCode != http.StatusCreated || !keybearer.LooksLikeToken(token) || !p.has("password manager", "data-copy") || !b.in() {
		t.Fatalf("%d %s", p.StatusCode, p.body)
	}
	other := d.browser()
	other.signIn(token)
	for _, path := range []string{"/set-up/" + code, "/set-up/" + replaced} {
		other.address = "10.0.0.2:1"
		if p := other.get(path); p.StatusCode != http.StatusNotFound {
			t.Errorf("it is good again: %d", p.StatusCode)
		}
		if p := other.post(path, "name", "eve"); p.StatusCode != http.StatusNotFound {
			t.Errorf("it is good again: %d", p.StatusCode)
		}
	}
	if _, _, err := d.register.OfferSetUp(t.Context(), d.Custody, root); keybearer.CodeOf(err) != keybearer.Conflict {
		t.Errorf("%v", err)
	}
	if found := d.leaks(code, replaced, b.session()); found != nil {
		t.Error(found)
	}
	want := map[string]int{"set-up-link allow": 2, "set-up allow": 1, "sign-in allow": 2, "sign-in refuse": 10}
	got := d.actions()
	got["sign-in refuse"] = min(got["sign-in refuse"], 10)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestASetUpLinkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		code := d.openSetUp()
		time.Sleep(15*time.Minute - time.Second)
		if p := d.browser().get("/set-up/" + code); p.StatusCode != http.StatusOK {
			t.Errorf("%d", p.StatusCode)
		}
		time.Sleep(time.Second)
		if p := d.browser().post("/set-up/"+code, "name", "ann"); p.StatusCode != http.StatusNotFound {
			t.Errorf("%d", p.StatusCode)
		}
	})
}

func TestOfTwoWhoHaveTheLinkOneWins(t *testing.T) {
	d := newDesk(t)
	code := d.openSetUp()
	const n = 6
	status := make(chan int, n)
	for i := range n {
		b := d.browser()
		b.address = "10.0.0." + strconv.Itoa(i) + ":1"
		go func() { status <- b.post("/set-up/"+code, "name", "op"+strconv.Itoa(i)).StatusCode }()
	}
	count := map[int]int{}
	for range n {
		count[<-status]++
	}
	if d := cmp.Diff(map[int]int{http.StatusCreated: 1, http.StatusNotFound: n - 1}, count); d != "" {
		t.Error(d)
	}
	page, err := d.Operators(t.Context(), root, keybearer.Query{})
	if err != nil || len(page.Items) != 1 {
		t.Errorf("%d operators, %v", len(page.Items), err)
	}
}

// An operator that was made elsewhere meanwhile ends the link.
func TestALinkIsOfNoUseBesideAnOperator(t *testing.T) {
	d := newDesk(t)
	code := d.openSetUp()
	d.operator("ann")
	if p := d.browser().post("/set-up/"+code, "name", "eve"); p.StatusCode != http.StatusConflict || !p.has("there is an operator already") && !p.has("There is an operator already") {
		t.Errorf("%d %s", p.StatusCode, p.body)
	}
	if p := d.browser().get("/set-up/" + code); p.StatusCode != http.StatusNotFound {
		t.Errorf("%d", p.StatusCode)
	}
}

func TestOnlyTheirOwnTokenConfirms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		token, other := d.operator("ann"), d.operator("bob")
		b := d.browser()
		b.signIn(token)
		time.Sleep(6 * time.Minute)
		before := b.session()
		for _, wrong := range []string{"", "x", other} {
			if p := b.post("/confirm", "token", wrong); p.StatusCode != http.StatusForbidden || b.session() != before {
				t.Errorf("%q: %d", wrong, p.StatusCode)
			}
		}
		if p := b.get("/confirm?next=/account"); !p.has("Your operator token", `value="/account"`) {
			t.Errorf("%s", p.body)
		}
		if p := b.post("/confirm", "token", token, "next", "/account"); p.StatusCode != http.StatusSeeOther || b.session() == before {
			t.Errorf("%d %s", p.StatusCode, p.body)
		}
		if p := d.browser().post("/confirm", "token", token); p.Header.Get("Location") != "/sign-in" {
			t.Errorf("nobody confirms: %d", p.StatusCode)
		}
	})
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}
