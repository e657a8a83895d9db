package console_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/signin"
	"github.com/keybearer/keybearer/test/harness"
)

func TestSignInAtTheProvider(t *testing.T) {
	d := newDesk(t, withProvider())
	b := d.browser()
	if p := b.get("/sign-in?next=/account"); !p.has("Sign in with "+strings.TrimPrefix(d.issuer.URL, "https://"), "/sign-in/oidc?next=%2faccount", "kbo_") {
		t.Errorf("%s", p.body)
	}
	asked := b.leave("/sign-in/oidc?next=/account")
	for name, want := range map[string]string{
		"client_id": clientID, "response_type": "code", "redirect_uri": home + signin.CallbackPath, "code_challenge_method": "S256", "scope": "openid profile email",
	} {
		if got := asked[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q", name, got)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(asked.Get(name)) < 43 {
			t.Errorf("%s is %q", name, asked.Get(name))
		}
	}
	answer := d.issuer.code(asked)
	p := b.comeBack(answer)
	if !arrived(p) || !p.has("next=%2Faccount") || p.Header.Get("Referrer-Policy") != "strict-origin" || b.cookies[signin.FlowCookieName] != nil {
		t.Fatalf("%d %v %s\n%s", p.StatusCode, p.Header, p.body, d.said.String())
	}
	if p := b.get("/sign-in?kept=1&next=%2Faccount"); p.Header.Get("Location") != "/account" {
		t.Errorf("%d %v", p.StatusCode, p.Header)
	}
	if p := b.get("/account"); !p.has("user:ann@example.com", "instance-admin", "group:platform", "groups are those of that time") {
		t.Errorf("%s", p.body)
	}
	verifier := d.issuer.asked.Get("code_verifier")
	sum := sha256.Sum256([]byte(verifier))
	if base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") || d.issuer.basic != [2]string{clientID, d.issuer.secret} || d.issuer.asked.Has("client_secret") {
		t.Errorf("the token endpoint was asked with %v by %v", d.issuer.asked, d.issuer.basic)
	}
	if found := d.leaks(answer.Get("code"), asked.Get("state"), asked.Get("nonce"), verifier, d.issuer.secret, b.session()); found != nil {
		t.Error(found)
	}
	if d := cmp.Diff(map[string]int{"sign-in allow": 1}, d.actions()); d != "" {
		t.Error(d)
	}
}

// What an ID token must say, and must not.
func TestWhatTheProviderMustSay(t *testing.T) {
	d := newDesk(t, withProvider())
	now := time.Now()
	n := 0
	for name, test := range map[string]struct {
		claims map[string]any
		header map[string]any
		ok     bool
	}{
		"all":                                {ok: true},
		"another issuer":                     {claims: map[string]any{"iss": "https://evil.example"}},
		"its issuer with a slash":            {claims: map[string]any{"iss": d.issuer.URL + "/"}},
		"no issuer":                          {claims: map[string]any{"iss": nil}},
		"another audience":                   {claims: map[string]any{"aud": "other"}},
		"no audience":                        {claims: map[string]any{"aud": nil}},
		"us and others, for us":              {claims: map[string]any{"aud": []string{"other", clientID}, "azp": clientID}, ok: true},
		"us and others, for others":          {claims: map[string]any{"aud": []string{"other", clientID}, "azp": "other"}},
		"us and others, for nobody knows":    {claims: map[string]any{"aud": []string{"other", clientID}}},
		"for others alone":                   {claims: map[string]any{"azp": "other"}},
		"another nonce":                      {claims: map[string]any{"nonce": "x"}},
		"no nonce":                           {claims: map[string]any{"nonce": nil}},
		"over":                               {claims: map[string]any{"exp": now.Add(-time.Minute).Unix()}},
		"no end":                             {claims: map[string]any{"exp": nil}},
		"not yet":                            {claims: map[string]any{"nbf": now.Add(time.Hour).Unix()}},
		"an address that is not verified":    {claims: map[string]any{"email_verified": false}},
		"an address that may be verified":    {claims: map[string]any{"email_verified": nil}},
		"an address verified in words":       {claims: map[string]any{"email_verified": "true"}, ok: true},
		"an address not verified in words":   {claims: map[string]any{"email_verified": "false"}},
		"no address":                         {claims: map[string]any{"email": nil}},
		"an empty address":                   {claims: map[string]any{"email": ""}},
		"a list of addresses":                {claims: map[string]any{"email": []string{"ann@example.com"}}},
		"an address that is no id":           {claims: map[string]any{"email": "ann b@example.com"}},
		"the socket's user":                  {claims: map[string]any{"email": "uid-0"}},
		"no groups":                          {claims: map[string]any{"groups": nil}, ok: true},
		"one group as text":                  {claims: map[string]any{"groups": "platform"}, ok: true},
		"groups of another form":             {claims: map[string]any{"groups": map[string]any{"platform": true}}},
		"groups in numbers":                  {claims: map[string]any{"groups": []int{1}}},
		"too many groups":                    {claims: map[string]any{"groups": make([]string, 1001)}},
		"a signature by its public key":      {header: map[string]any{"alg": "HS256"}},
		"no signature":                       {header: map[string]any{"alg": "none"}},
		"a key that it does not have":        {header: map[string]any{"kid": "k9"}},
		"a key that the token brings itself": {header: map[string]any{"kid": "k9", "jwk": map[string]any{"kty": "EC"}}},
	} {
		n++
		d.issuer.say(test.claims)
		d.issuer.header = test.header
		b := d.browser()
		b.address = "10.0.0." + string(rune('0'+n/10)) + string(rune('0'+n%10)) + ":1"
		b.address = strings.Replace(b.address, ".0.0.0", ".0.1.", 1)
		p := b.comeBack(d.issuer.code(b.leave("/sign-in/oidc")))
		if ok := arrived(p) && b.in(); ok != test.ok {
			t.Errorf("%s: %d %s", name, p.StatusCode, p.body)
		}
		if !test.ok && (p.StatusCode != http.StatusUnauthorized || b.session() != "" || !p.has("kbo_")) {
			t.Errorf("%s: %d, session %q", name, p.StatusCode, b.session())
		}
	}
}

// What a browser may come back with, and must not.
func TestWhatBringsABrowserBack(t *testing.T) {
	for name, test := range map[string]struct {
		change func(d *desk, b *browser, answer url.Values)
		say    string // what the page says
		ok     bool
	}{
		"the answer":                     {func(*desk, *browser, url.Values) {}, "", true},
		"an answer that names its maker": {func(d *desk, _ *browser, a url.Values) { a.Set("iss", d.issuer.URL) }, "", true},
		"an answer that names another":   {func(_ *desk, _ *browser, a url.Values) { a.Set("iss", "https://evil.example") }, "not the identity provider", false},
		"another state":                  {func(_ *desk, _ *browser, a url.Values) { a.Set("state", "x") }, "not begun in this browser", false},
		"no state":                       {func(_ *desk, _ *browser, a url.Values) { a.Del("state") }, "not begun in this browser", false},
		"two states":                     {func(_ *desk, _ *browser, a url.Values) { a.Add("state", "x") }, "not begun in this browser", false},
		"no cookie":                      {func(_ *desk, b *browser, _ url.Values) { delete(b.cookies, signin.FlowCookieName) }, "not begun in this browser", false},
		"a cookie that nobody gave":      {func(_ *desk, b *browser, _ url.Values) { b.cookies[signin.FlowCookieName].Value = "x" }, "not begun in this browser", false},
		"no code":                        {func(_ *desk, _ *browser, a url.Values) { a.Del("code") }, "does not hold", false},
		"two codes":                      {func(_ *desk, _ *browser, a url.Values) { a.Add("code", a.Get("code")) }, "does not hold", false},
		"a code that was used":           {func(d *desk, _ *browser, a url.Values) { delete(d.issuer.codes, a.Get("code")) }, "does not hold", false},
		"the answer to somebody else": {func(d *desk, _ *browser, a url.Values) { // login CSRF: the attacker's own
			other := d.browser()
			other.address = "10.0.0.9:1"
			for name, values := range d.issuer.code(other.leave("/sign-in/oidc")) {
				a[name] = values
			}
		}, "not begun in this browser", false},
		"the code of somebody else": {func(d *desk, _ *browser, a url.Values) {
			other := d.browser()
			other.address = "10.0.0.9:1"
			a.Set("code", d.issuer.code(other.leave("/sign-in/oidc")).Get("code"))
		}, "does not hold", false},
		"a refusal": {func(_ *desk, _ *browser, a url.Values) {
			a.Del("code")
			a.Set("error", "access_denied")
			a.Set("error_description", "<b>call 555-canary</b>")
		}, "did not let you in", false},
		"a refusal in words of an attacker": {func(_ *desk, _ *browser, a url.Values) {
			a.Set("error", "please call 555-canary")
			a.Set("error_uri", "https://evil.example/555-canary")
		}, "refused to sign you in", false},
	} {
		d := newDesk(t, withProvider())
		b := d.browser()
		asked := b.leave("/sign-in/oidc")
		answer := d.issuer.code(asked)
		was, flow := copyOf(answer), *b.cookies[signin.FlowCookieName]
		test.change(d, b, answer)
		p := b.comeBack(answer)
		if arrived(p) != test.ok || test.ok != b.in() || !p.has(test.say) {
			t.Errorf("%s: %d %s", name, p.StatusCode, p.body)
		}
		if found := d.leaks("555-canary", was.Get("code"), was.Get("state"), d.issuer.secret, asked.Get("nonce")); found != nil {
			t.Errorf("%s: %s", name, found)
		}
		if !test.ok && d.actions()["sign-in refuse"] == 0 {
			t.Errorf("%s: nothing in the audit log", name)
		}
		// It counted once.
		again := d.browser()
		again.cookies[signin.FlowCookieName], again.address = &flow, "10.0.0.8:1"
		d.issuer.codes[was.Get("code")] = asked.Get("nonce") // the provider would
		if strings.HasPrefix(name, "no cookie") || strings.HasPrefix(name, "a cookie that") {
			continue // it is still under way
		}
		if p := again.comeBack(was); arrived(p) || again.in() {
			t.Errorf("%s: it counts again", name)
		}
	}
}

func copyOf(v url.Values) url.Values {
	out := url.Values{}
	for name, values := range v {
		out[name] = slices.Clone(values)
	}
	return out
}

func TestAnAnswerThatComesTooLateIsNone(t *testing.T) {
	d := newDesk(t, withProvider())
	b := d.browser()
	answer := d.issuer.code(b.leave("/sign-in/oidc"))
	d.wait(10 * time.Minute)
	if p := b.comeBack(answer); arrived(p) || !p.has("took too long") {
		t.Errorf("%d %s", p.StatusCode, p.body)
	}
}

// Where answers are said to name their maker, those that do not are refused (RFC 9207).
func TestAnAnswerNamesItsMakerWhereItMust(t *testing.T) {
	d := newDesk(t, withProvider())
	d.issuer.about = map[string]any{"authorization_response_iss_parameter_supported": true, "token_endpoint_auth_methods_supported": []string{"client_secret_post"}}
	b := d.browser()
	if p := b.comeBack(d.issuer.code(b.leave("/sign-in/oidc"))); arrived(p) {
		t.Error("an answer of nobody counts")
	}
	answer := d.issuer.code(b.leave("/sign-in/oidc"))
	answer.Set("iss", d.issuer.URL)
	if p := b.comeBack(answer); !arrived(p) || d.issuer.asked.Get("client_secret") != d.issuer.secret || d.issuer.basic[1] != "" {
		t.Errorf("%d %s", p.StatusCode, p.body)
	}
}

// Roles and records are judged at each request, by the configuration of that time.
func TestASessionByTheProviderIsJudgedAgain(t *testing.T) {
	in := func(d *desk) *browser {
		b := d.browser()
		if p := b.comeBack(d.issuer.code(b.leave("/sign-in/oidc"))); !arrived(p) {
			d.t.Fatalf("%d %s", p.StatusCode, p.body)
		}
		return b
	}
	record := custody.NewOperator{Name: "ann@example.com", Groups: []string{"writers"}, NoToken: true}
	t.Run("a record adds, and ends it", func(t *testing.T) {
		d := newDesk(t, withProvider())
		b := in(d)
		if _, _, err := d.CreateOperator(t.Context(), root, record); err != nil {
			t.Fatal(err)
		}
		if p := b.get("/account"); !p.has("group:writers", "group:platform") {
			t.Errorf("%s", p.body)
		}
		if _, err := d.DisableOperator(t.Context(), root, record.Name); err != nil {
			t.Fatal(err)
		}
		if b.in() {
			t.Error("a disabled operator is signed in")
		}
		if p := b.comeBack(d.issuer.code(b.leave("/sign-in/oidc"))); arrived(p) || !p.has("disabled or was deleted") || b.in() {
			t.Errorf("a disabled operator signs in: %d %s", p.StatusCode, p.body)
		}
		d.issuer.say(map[string]any{"email": "ANN@example.com"})
		if p := b.comeBack(d.issuer.code(b.leave("/sign-in/oidc"))); arrived(p) {
			t.Errorf("a disabled operator signs in in capitals: %d %s", p.StatusCode, p.body)
		}
	})
	t.Run("deleted", func(t *testing.T) {
		d := newDesk(t, withProvider())
		b := in(d)
		_, _, err := d.CreateOperator(t.Context(), root, record)
		if err == nil {
			_, err = d.DeleteOperator(t.Context(), root, record.Name)
		}
		if err != nil || b.in() {
			t.Errorf("a deleted operator is signed in, %v", err)
		}
	})
	t.Run("scopes by name, as of the request", func(t *testing.T) {
		d := newDesk(t, withProvider())
		d.issuer.say(map[string]any{"groups": []string{"docs-admins"}})
		b := in(d)
		if p := b.get("/account"); p.has("scope-admin:docs") {
			t.Error("a role for a scope that is not there")
		}
		if p := b.get("/credentials/new"); p.StatusCode != http.StatusOK {
			t.Errorf("%d", p.StatusCode)
		}
		if _, err := d.CreateScope(t.Context(), root, "docs", ""); err != nil {
			t.Fatal(err)
		}
		if p := b.get("/account"); !p.has("scope-admin:docs") || p.has("instance-admin") {
			t.Errorf("%s", p.body)
		}
	})
	t.Run("who has nothing sees empty pages", func(t *testing.T) {
		d := newDesk(t, withProvider())
		d.issuer.say(map[string]any{"groups": nil})
		b := in(d)
		if p := b.get("/account"); !p.has("none: you see what you were granted") {
			t.Errorf("%s", p.body)
		}
		if p := b.get("/credentials"); p.StatusCode != http.StatusOK {
			t.Errorf("%d %s", p.StatusCode, p.body)
		}
	})
	t.Run("a reload changes the mapping", func(t *testing.T) {
		d := newDesk(t, withProvider())
		b := in(d)
		cfg := d.provider.ProviderConfig
		change := func(fn func(*signin.ProviderConfig)) {
			next := cfg
			fn(&next)
			var err error
			if d.provider, err = signin.NewProvider(next); err != nil {
				t.Fatal(err)
			}
			d.configure()
		}
		change(func(c *signin.ProviderConfig) { c.InstanceAdmins = nil })
		if p := b.get("/account"); p.has("instance-admin") {
			t.Error("the role outlives its mapping")
		}
		for name, fn := range map[string]func(*signin.ProviderConfig){
			"issuer": func(c *signin.ProviderConfig) { c.Issuer = "https://other.example" }, "client": func(c *signin.ProviderConfig) { c.ClientID = "other" },
			"claim": func(c *signin.ProviderConfig) { c.UserClaim = "sub" }, "claim of groups": func(c *signin.ProviderConfig) { c.GroupsClaim = "roles" },
		} {
			change(func(*signin.ProviderConfig) {})
			b := in(d)
			if change(fn); b.in() {
				t.Errorf("the session outlives its provider's %s", name)
			}
		}
		change(func(*signin.ProviderConfig) {})
		b = in(d)
		d.provider = nil
		if d.configure(); b.in() {
			t.Error("the session outlives its provider")
		}
		if p := b.get("/sign-in/oidc"); p.StatusCode != http.StatusNotFound {
			t.Errorf("%d", p.StatusCode)
		}
	})
}

// A provider that is away keeps nobody from signing in with a token, and is asked again.
func TestAProviderThatIsAway(t *testing.T) {
	d := newDesk(t, withProvider())
	d.issuer.answer = func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<b>555-canary</b>")
		return true
	}
	b := d.browser()
	for range 3 {
		if p := b.get("/sign-in/oidc"); p.StatusCode != http.StatusServiceUnavailable || !p.has("cannot be asked now", "kbo_") || p.Header.Get("Retry-After") == "" || p.has("555-canary") {
			t.Fatalf("%d %s", p.StatusCode, p.body)
		}
	}
	if n := len(d.issuer.Requests()); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	b.signIn(d.operator("bob"))
	d.issuer.answer = nil
	d.wait(5 * time.Second)
	b = d.browser()
	answer := d.issuer.code(b.leave("/sign-in/oidc"))
	// It goes away on the way back.
	d.issuer.answer = func(w http.ResponseWriter, r *http.Request) bool { panic(http.ErrAbortHandler) }
	if p := b.comeBack(answer); p.StatusCode != http.StatusServiceUnavailable || !p.has("cannot be asked now") {
		t.Errorf("%d %s", p.StatusCode, p.body)
	}
	d.issuer.answer = nil
	if p := b.comeBack(d.issuer.code(b.leave("/sign-in/oidc"))); !arrived(p) {
		t.Errorf("%d %s", p.StatusCode, p.body)
	}
}

func TestWhatAProviderMaySayOfItself(t *testing.T) {
	for name, about := range map[string]map[string]any{
		"another issuer":                             {"issuer": "https://evil.example"},
		"a token endpoint in clear":                  {"token_endpoint": "http://127.0.0.1/token"},
		"keys in clear":                              {"jwks_uri": "http://127.0.0.1/keys"},
		"no token endpoint":                          {"token_endpoint": ""},
		"an authorisation endpoint that is a script": {"authorization_endpoint": "javascript:alert(1)"},
	} {
		d := newDesk(t, withProvider())
		d.issuer.about = about
		if p := d.browser().get("/sign-in/oidc"); p.StatusCode != http.StatusServiceUnavailable || p.Header.Get("Location") != "" {
			t.Errorf("%s: %d", name, p.StatusCode)
		}
	}
	// Nor does anybody believe one whose certificate another authority made, or follow where one sends.
	d := newDesk(t, withProvider(func(c *signin.ProviderConfig) { c.CA = harness.NewCA(t).File }))
	if p := d.browser().get("/sign-in/oidc"); p.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d", p.StatusCode)
	}
	d = newDesk(t, withProvider())
	d.issuer.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/.well-known/openid-configuration" && r.URL.RawQuery == "" {
			http.Redirect(w, r, r.URL.Path+"?x", http.StatusFound)
			return true
		}
		return false
	}
	if p := d.browser().get("/sign-in/oidc"); p.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d", p.StatusCode)
	}
}

// New keys are found when they are needed, and those that were withdrawn are forgotten.
func TestTheProvidersKeysChange(t *testing.T) {
	d := newDesk(t, withProvider())
	b := d.browser()
	try := func() bool { return arrived(b.comeBack(d.issuer.code(b.leave("/sign-in/oidc")))) }
	if !try() {
		t.Fatal("it does not work at all")
	}
	old := d.issuer.key
	d.issuer.Withdraw()
	d.wait(time.Hour - time.Second)
	if !try() {
		t.Error("the provider is asked for its keys each time")
	}
	d.wait(time.Second)
	if try() {
		t.Error("a withdrawn key signs")
	}
	d.issuer.key = d.issuer.Publish(harness.NewKey(t, "k2", "ES256"))
	if !try() {
		t.Error("a new key is not found")
	}
	if d.issuer.key = old; try() {
		t.Error("the old one signs again")
	}
}

func TestTheClientsSecretIsReadEachTime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	d := newDesk(t, withProvider(func(c *signin.ProviderConfig) {
		c.Secret = func() (keybearer.Secret, error) {
			b, err := os.ReadFile(file)
			return keybearer.NewSecret(string(b)), err
		}
	}))
	b := d.browser()
	if p := b.comeBack(d.issuer.code(b.leave("/sign-in/oidc"))); p.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d", p.StatusCode)
	}
	if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := b.comeBack(d.issuer.code(b.leave("/sign-in/oidc"))); !arrived(p) || d.issuer.basic[1] != "second" {
		t.Errorf("%d, %v", p.StatusCode, d.issuer.basic)
	}
}

// To prove it again is to be asked anew by the provider, as the same person, in the same session.
func TestToProveItAgainAtTheProvider(t *testing.T) {
	for name, test := range map[string]struct {
		claims map[string]any
		change func(d *desk, b *browser)
		say    string
		ok     bool
	}{
		"as one was asked to":       {ok: true},
		"with a clock that is off":  {claims: map[string]any{"auth_time": time.Now().Add(-20 * time.Second).Unix()}, ok: true},
		"without being asked":       {claims: map[string]any{"auth_time": time.Now().Add(-time.Hour).Unix()}, say: "did not ask you"},
		"as nobody knows when":      {claims: map[string]any{"auth_time": nil}, say: "did not ask you"},
		"as will be":                {claims: map[string]any{"auth_time": time.Now().Add(time.Hour).Unix()}, say: "did not ask you"},
		"in words":                  {claims: map[string]any{"auth_time": "now"}, say: "did not ask you"},
		"as somebody else":          {claims: map[string]any{"email": "bob@example.com"}, say: "somebody else"},
		"in a session that ended":   {change: func(_ *desk, b *browser) { delete(b.cookies, signin.CookieName) }, say: "not signed in"},
		"in the session of another": {change: func(d *desk, b *browser) { b.signIn(d.operator("bob")) }, say: "somebody else"},
		"by an operator who is no more": {change: func(d *desk, b *browser) {
			_, _, err := d.CreateOperator(d.t.Context(), root, custody.NewOperator{Name: "ann@example.com"})
			if err == nil {
				_, err = d.DisableOperator(d.t.Context(), root, "ann@example.com")
			}
			if err != nil {
				d.t.Error(err)
			}
		}, say: "disabled"},
	} {
		d := newDesk(t, withProvider())
		b := d.browser()
		if p := b.comeBack(d.issuer.code(b.leave("/sign-in/oidc"))); !arrived(p) {
			t.Fatalf("%d %s", p.StatusCode, p.body)
		}
		before := b.session()
		if p := b.get("/confirm?next=/credentials"); !p.has("Prove it at", "/sign-in/oidc?again=yes&amp;next=%2fcredentials") {
			t.Errorf("%s", p.body)
		}
		asked := b.leave("/sign-in/oidc?again=yes&next=/credentials")
		if asked.Get("prompt") != "login" || asked.Get("max_age") != "0" {
			t.Errorf("%v", asked)
		}
		d.issuer.say(test.claims)
		if test.change != nil {
			test.change(d, b)
		}
		held := b.session()
		p := b.comeBack(d.issuer.code(asked))
		if arrived(p) != test.ok || !p.has(test.say) {
			t.Errorf("%s: %d %s", name, p.StatusCode, p.body)
		}
		if test.ok && (b.session() == before || !b.in() || !p.has("next=%2Fcredentials")) || !test.ok && held != "" && b.session() != "" && b.session() != held {
			t.Errorf("%s: the session is %q and was %q", name, b.session(), held)
		}
	}
	// Nobody proves again who is nobody.
	d := newDesk(t, withProvider())
	if p := d.browser().get("/sign-in/oidc?again=yes"); p.Header.Get("Location") != "" {
		t.Errorf("%d to %s", p.StatusCode, p.Header.Get("Location"))
	}
}

// From another name of the console the way leads by its public address, where the provider sends browsers back to.
func TestTheWayToTheProviderBeginsAtThePublicAddress(t *testing.T) {
	d := newDesk(t, withProvider(), func(d *desk) { d.config.Public = &url.URL{Scheme: "https", Host: "kb.example.com"} })
	if p := d.browser().get("/sign-in/oidc?next=/account"); p.Header.Get("Location") != "https://kb.example.com/sign-in/oidc?next=%2Faccount" {
		t.Errorf("%d to %s", p.StatusCode, p.Header.Get("Location"))
	}
}

func TestAProviderThatCannotWorkIsRefused(t *testing.T) {
	secret := func() (keybearer.Secret, error) { return keybearer.Secret{}, errors.New("none") }
	for name, cfg := range map[string]signin.ProviderConfig{
		"nothing": {}, "in clear": {Issuer: "http://idp.example.com", ClientID: "k", Secret: secret}, "a query": {Issuer: "https://idp.example.com?x", ClientID: "k", Secret: secret},
		"no client": {Issuer: "https://idp.example.com", Secret: secret}, "no secret": {Issuer: "https://idp.example.com", ClientID: "k"},
		"a user": {Issuer: "https://a:b@idp.example.com", ClientID: "k", Secret: secret},
	} {
		if _, err := signin.NewProvider(cfg); keybearer.CodeOf(err) != keybearer.Invalid || keybearer.AsError(err).Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
