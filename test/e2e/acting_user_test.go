package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// acting is a world with an issuer of acting users whom billing and other may assert, and of callers.
type acting struct {
	*world
	issuer *harness.Issuer
	key    *harness.IssuerKey
	n      int
}

func newActing(t *testing.T) *acting {
	t.Helper()
	w := prepareWorld(t)
	a := &acting{world: w, issuer: harness.StartIssuer(t, w.ca)}
	a.key = a.issuer.Publish(harness.NewKey(t, "a", "ES256"))
	w.Configure(t, w.options(
		"identity jwt {", "issuer "+a.issuer.URL, "audience "+callersAudience, "map shop-app app:billing", "}",
		"acting_user {", "issuer "+a.issuer.URL, "audience "+usersAudience, "callers app:billing app:other", "groups_claim groups", "azp client-7 app:billing", "}",
	), "")
	w.start()
	w.billing("*.example.com")
	w.must("", "grant", "add", "docs/crm", "user:ann", "use")
	w.must("", "grant", "add", "docs/crm", "group:sales", "use")
	w.credential("docs/personal", "bearer", append(private("*.example.com"), "--require-user")...)
	w.grant("docs/personal", "billing", "use")
	w.must("", "grant", "add", "docs/personal", "user:ann", "use")
	for _, name := range []string{"other", "shop"} {
		w.caller(name, "docs")
		w.grant("docs/crm", name, "use")
	}
	return a
}

// assertion returns what ann asserts to billing, changed; it has a jti of its own, and none of it may arrive anywhere.
func (a *acting) assertion(changes map[string]any) string {
	a.t.Helper()
	a.n++
	c := map[string]any{"aud": usersAudience, "sub": "ann", "azp": "app:billing", "jti": fmt.Sprintf("jti-%d", a.n)}
	for name, v := range changes {
		c[name] = v
	}
	text := a.key.Sign(a.t, nil, claim(a.issuer.URL, c))
	a.planted = append(a.planted, text)
	return text
}

// get is a request of billing's on behalf of whom the assertion names.
func (a *acting) get(credential, id, assertion string, lines ...string) string {
	lines = append(lines, "Keybearer-Credential: "+credential, "Proxy-Authorization: Bearer "+a.tokens["billing"], harness.IDHeader+": "+id)
	if assertion != "" {
		lines = append(lines, "Keybearer-Acting-User: "+assertion)
	}
	return request("GET", "http://api.example.com/hook", "api.example.com", lines...)
}

// Both the app and the person must hold use. The audit log names both; the assertion counts once, reaches nobody, and a refusal does not use it up.
func TestActingUsers(t *testing.T) {
	a := newActing(t)
	api := a.recorder("api.example.com", nil)
	n := 0
	id := func() string { n++; return fmt.Sprintf("user-%d", n) }
	proves := func(name, credential, user, assertion string, lines ...string) {
		t.Helper()
		at := id()
		got := a.ask(t, a.get(credential, at, assertion, lines...))
		if got.StatusCode != 200 {
			t.Fatalf("%s: %s", name, got.raw)
		}
		a.right(t, api.One(t, at), credential)
		for _, phase := range []keybearer.Phase{keybearer.Intent, keybearer.Outcome} {
			if e := a.event(t, got.Header.Get("Keybearer-Request-Id"), phase); e.Caller != "billing" || e.ActingUser != user {
				t.Errorf("%s: %s is audited as %s for %q", name, phase, e.Caller, e.ActingUser)
			}
		}
	}
	proves("by a grant of the user's", "docs/crm", "ann", a.assertion(nil))
	proves("by a grant of a group's", "docs/crm", "bob", a.assertion(map[string]any{"sub": "bob", "groups": []string{"ops", "sales"}}))
	proves("azp by its binding", "docs/crm", "ann", a.assertion(map[string]any{"azp": "client-7"}))
	proves("made by another library", "docs/crm", "ann", signed(t, a.key, claim(a.issuer.URL, map[string]any{"aud": usersAudience, "sub": "ann", "azp": "billing", "jti": "jose"})))
	proves("a credential that asks for a user", "docs/personal", "ann", a.assertion(nil))
	proves("without a user, where none is asked for", "docs/crm", "", "")
	again := a.assertion(nil)
	proves("copied elsewhere", "docs/crm", "ann", again, "X-User: "+again, "Authorization: Bearer "+again, "Cookie: u="+again)
	caller := a.key.Sign(t, nil, claim(a.issuer.URL, nil))
	a.planted = append(a.planted, caller)

	arrived := api.Len()
	used, unused := a.assertion(nil), a.assertion(nil)
	proves("the first time", "docs/crm", "ann", used)
	arrived++
	for _, c := range []struct {
		name, request string
		code          keybearer.Code
		says          string
	}{
		{"the second time", a.get("docs/crm", "x", used), keybearer.UserRequired, "used before"},
		{"the second time, for another credential", a.get("docs/personal", "x", used), keybearer.UserRequired, "used before"},
		{"the same jti once more", a.get("docs/crm", "x", a.assertion(map[string]any{"jti": fmt.Sprintf("jti-%d", a.n-1), "exp": time.Now().Add(3 * time.Minute).Unix()})), keybearer.UserRequired, "used before"},
		{"none, where one is asked for", a.get("docs/personal", "x", ""), keybearer.UserRequired, ""},
		{"a person without a grant", a.get("docs/crm", "x", a.assertion(map[string]any{"sub": "eve"})), keybearer.CredentialForbidden, ""},
		{"a person with another group", a.get("docs/crm", "x", a.assertion(map[string]any{"sub": "eve", "groups": []string{"Sales"}})), keybearer.CredentialForbidden, ""},
		{"an app's name as a person", a.get("docs/crm", "x", a.assertion(map[string]any{"sub": "billing"})), keybearer.CredentialForbidden, ""},
		{"a credential that the app may not use", a.get("docs/none", "x", a.assertion(nil)), keybearer.CredentialForbidden, ""},
		{"a wrong one, for a credential that the app may not use", a.get("docs/none", "x", "x.y.z"), keybearer.CredentialForbidden, ""},
		{"no JWT", a.get("docs/crm", "x", "ann"), keybearer.UserRequired, "no issuer"},
		{"the proof of a caller", a.get("docs/crm", "x", caller), keybearer.UserRequired, "audience"},
		{"made for another app", a.get("docs/crm", "x", a.assertion(map[string]any{"azp": "other"})), keybearer.UserRequired, "this caller"},
		{"expired", a.get("docs/crm", "x", a.assertion(map[string]any{"iat": time.Now().Add(-4 * time.Minute).Unix(), "exp": time.Now().Add(-2 * time.Minute).Unix()})), keybearer.UserRequired, "expired"},
		{"lives too long", a.get("docs/crm", "x", a.assertion(map[string]any{"exp": time.Now().Add(time.Hour).Unix()})), keybearer.UserRequired, "too long"},
		{"no jti", a.get("docs/crm", "x", a.assertion(map[string]any{"jti": nil})), keybearer.UserRequired, "no id"},
		{"by a stranger", a.get("docs/crm", "x", harness.NewKey(t, "a", "ES256").Sign(t, nil, claim(a.issuer.URL, map[string]any{"aud": usersAudience, "sub": "ann", "azp": "billing", "jti": "s"}))), keybearer.UserRequired, "does not fit"},
		{"twice", a.get("docs/crm", "x", a.assertion(nil), "Keybearer-Acting-User: "+a.assertion(nil)), keybearer.TagInvalid, ""},
		{"a destination that no rule admits", strings.ReplaceAll(a.get("docs/crm", "x", unused), "api.example.com", "api.example.net"), keybearer.DestinationNotAllowed, ""},
		{"a method that is none", strings.Replace(a.get("docs/crm", "x", unused), "GET", "TRACE", 1), keybearer.BadRequest, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := a.ask(t, c.request)
			isRefusal(t, got, c.code, c.code.Info().Status)
			if !strings.Contains(string(got.body), c.says) {
				t.Errorf("it does not say %q: %s", c.says, got.body)
			}
		})
	}
	t.Run("an assertion proves no caller", func(t *testing.T) {
		for header, status := range map[string]int{"Proxy-Authorization": 407, "Authorization": 401} {
			raw := request("GET", "http://api.example.com/hook", "api.example.com", "Keybearer-Credential: docs/crm", header+": Bearer "+unused)
			if status == 401 {
				raw = request("GET", "/hook", a.Proxy.String(), "Keybearer-Credential: docs/crm", "Keybearer-Destination: https://api.example.com", header+": Bearer "+unused)
			}
			isRefusal(t, a.ask(t, raw), keybearer.CallerUnauthenticated, status)
		}
	})
	t.Run("an app that may not use the issuer", func(t *testing.T) {
		raw := strings.Replace(a.get("docs/crm", "x", a.assertion(map[string]any{"azp": "shop"})), a.tokens["billing"], a.tokens["shop"], 1)
		got := a.ask(t, raw)
		isRefusal(t, got, keybearer.UserRequired, 403)
		if !strings.Contains(string(got.body), "not trusted for this caller") {
			t.Errorf("%s", got.body)
		}
	})
	if n := api.Len() - arrived; n > 0 {
		t.Errorf("%d refused requests arrived", n)
	}
	proves("what was refused is not used up", "docs/crm", "ann", unused)

	a.Restart(t)
	if got := a.ask(t, a.get("docs/crm", "x", used)); isRefusal(t, got, keybearer.UserRequired, 403) == "" || !strings.Contains(string(got.body), "used before") {
		t.Errorf("after a restart: %s", got.body)
	}
	proves("a new one after a restart", "docs/crm", "ann", a.assertion(nil))
	sweep(t, a.planted, []string{a.Home, a.Log}, nil)
}

// Inside a tunnel each request asserts its own user: nothing carries over, and CONNECT may not look as if it did.
func TestActingUsersInATunnel(t *testing.T) {
	a := newActing(t)
	api := a.recorder("api.example.com", nil)
	proof := "Proxy-Authorization: Bearer " + a.tokens["billing"]
	isRefusal(t, a.ask(t, request("CONNECT", "api.example.com:80", "api.example.com:80", proof, "Keybearer-Acting-User: "+a.assertion(nil))), keybearer.TagInvalid, 400)

	say := talk(t, a.Proxy.String())
	if got := say(request("CONNECT", "api.example.com:80", "api.example.com:80", proof)); got.StatusCode != 200 {
		t.Fatalf("CONNECT: %s", got.raw)
	}
	inner := func(id string, lines ...string) string {
		return request("GET", "/hook", "api.example.com", append(lines, "Keybearer-Credential: docs/personal", harness.IDHeader+": "+id)...)
	}
	for i, c := range []struct {
		user string
		code keybearer.Code
	}{{"ann", ""}, {"", keybearer.UserRequired}, {"eve", keybearer.CredentialForbidden}, {"ann", ""}} {
		id := fmt.Sprintf("tunnel-%d", i)
		var lines []string
		if c.user != "" {
			lines = append(lines, "Keybearer-Acting-User: "+a.assertion(map[string]any{"sub": c.user}))
		}
		got := say(inner(id, lines...))
		if c.code != "" {
			isRefusal(t, got, c.code, 403)
			continue
		}
		if got.StatusCode != 200 {
			t.Fatalf("%s", got.raw)
		}
		a.right(t, api.One(t, id), "docs/personal")
		if e := a.event(t, got.Header.Get("Keybearer-Request-Id"), keybearer.Outcome); e.ActingUser != c.user {
			t.Errorf("audited for %q", e.ActingUser)
		}
	}
}

// When a person's grant is taken away, the streams that run on their behalf end, and those of others go on.
func TestAStreamEndsWithItsUsersGrant(t *testing.T) {
	a := newActing(t)
	a.server("api.example.com", harness.ServerOptions{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(rw, "data: x\n\n"); err != nil {
				return
			}
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
	})})
	open := func(assertion string) *bufio.Reader {
		req, err := http.NewRequest("GET", "http://api.example.com/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		if assertion != "" {
			req.Header.Set("Keybearer-Acting-User", assertion)
		}
		resp, err := a.client(t, "billing", "docs/crm").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if resp.StatusCode != 200 {
			t.Fatalf("%s", resp.Status)
		}
		return bufio.NewReader(resp.Body)
	}
	ann, bob, nobody := open(a.assertion(nil)), open(a.assertion(map[string]any{"sub": "bob", "groups": []string{"sales"}})), open("")
	event := func(r *bufio.Reader) error {
		_, err := r.ReadString('\n')
		return err
	}
	for _, r := range []*bufio.Reader{ann, bob, nobody} {
		if err := event(r); err != nil {
			t.Fatal(err)
		}
	}
	// ends reads on until the stream ends.
	ends := func(whose string, r *bufio.Reader) {
		t.Helper()
		ended := make(chan error, 1)
		go func() {
			for {
				if err := event(r); err != nil {
					ended <- err
					return
				}
			}
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s stream goes on 10 s after the grant was taken away", whose)
		}
	}
	a.must("", "grant", "remove", "docs/crm", "user:ann")
	ends("ann's", ann)
	for name, r := range map[string]*bufio.Reader{"bob's": bob, "nobody's": nobody} {
		for range 20 {
			if err := event(r); err != nil {
				t.Fatalf("%s stream ended, too: %v", name, err)
			}
		}
	}
	a.must("", "grant", "remove", "docs/crm", "group:sales")
	ends("bob's", bob)
	for range 20 {
		if err := event(nobody); err != nil {
			t.Fatalf("nobody's stream ended, too: %v", err)
		}
	}
}
