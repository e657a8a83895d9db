package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/policy"
)

// origin is a destination that counts what it gets and answers as it is told.
type origin struct {
	*httptest.Server
	requests atomic.Int64
}

func newOrigin(t testing.TB, secure bool, answer http.HandlerFunc) *origin {
	t.Helper()
	o := &origin{}
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w, r)
	}))
	if secure {
		o.StartTLS()
	} else {
		o.Start()
	}
	t.Cleanup(o.Close)
	return o
}

// A redirect passes back as it is, whatever it says and wherever it leads: even where the rules would let the secret go.
func TestNoRedirectIsFollowed(t *testing.T) {
	l := newLab(t) // both origins show httptest's own certificate, which the lab trusts
	nowhere := func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s arrived with %q", r.Method, r.URL, r.Header)
	}
	second, clear := newOrigin(t, true, nowhere), newOrigin(t, false, nowhere)
	first := newOrigin(t, true, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.Header.Get("X-Location"))
		w.Header().Set("Refresh", "0; url="+r.Header.Get("X-Location"))
		var status int
		_, _ = fmt.Sscan(r.Header.Get("X-Status"), &status)
		w.WriteHeader(status)
	})
	rules := append(append(l.rules(first.URL), l.rules(second.URL)...), l.rules(clear.URL)...)
	for name, terms := range map[string]keybearer.Terms{
		"basic": {Kind: keybearer.Basic}, "bearer": {Kind: keybearer.Bearer}, "header": {Kind: keybearer.Header, Header: "X-Api-Key", Prefix: "Token "},
	} {
		terms.Rules = policy.CanonicalRules(rules)
		l.credential(name, terms, "s3cret-token")
	}
	client := l.client(l.serve(Route{}))
	host := strings.TrimPrefix(second.URL, "https://")
	locations := []string{
		second.URL + "/next", "//" + host + "/next", clear.URL + "/next", "http://" + host + "/next", "https://user:pass@" + host + "/", "/next", "next?x=1", "", first.URL + "/again", "HTTPS://" + host, `\\` + host,
	}
	asked := int64(0)
	for _, status := range []int{300, 301, 302, 303, 304, 305, 306, 307, 308} {
		for _, method := range keybearer.Methods {
			for _, kind := range []string{"basic", "bearer", "header"} {
				for _, location := range locations {
					r := l.request(method, "http"+strings.TrimPrefix(first.URL, "https")+"/from", "docs/"+kind, strings.NewReader("body"))
					r.Header.Set("X-Location", location)
					r.Header.Set("X-Status", fmt.Sprint(status))
					resp, err := client.Transport.RoundTrip(r)
					if err != nil {
						t.Fatal(status, method, kind, location, err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					asked++
					if got := resp.Header["Location"]; resp.StatusCode != status || len(got) != 1 || got[0] != location {
						t.Fatalf("%s, %s, %d to %q came back as %d to %q", kind, method, status, location, resp.StatusCode, got)
					}
				}
			}
		}
	}
	if n := first.requests.Load(); n != asked {
		t.Errorf("%d requests arrived of %d", n, asked)
	}
	if n := second.requests.Load() + clear.requests.Load(); n != 0 {
		t.Errorf("%d requests arrived at a second origin", n)
	}
	t.Logf("%d redirects", asked)
}

// A destination that asks for another proof, for the request or for the connection, is answered by the app alone.
func TestAChallengePassesBackAndNothingIsTriedAgain(t *testing.T) {
	l := newLab(t)
	var challenge atomic.Value
	first := newOrigin(t, true, func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header["Authorization"]; len(a) > 0 && !strings.HasPrefix(a[0], "Digest") {
			t.Errorf("Authorization %q arrived", a)
		}
		w.Header().Add("Www-Authenticate", challenge.Load().(string))
		w.Header().Set("Proxy-Authenticate", challenge.Load().(string))
		w.Header().Set("Connection", "keep-alive")
		w.WriteHeader(map[bool]int{true: 407, false: 401}[r.URL.Path == "/407"])
	})
	l.credential("key", keybearer.Terms{Kind: keybearer.Header, Header: "X-Api-Key", Rules: l.rules(first.URL)}, "s3cret-token")
	client := l.client(l.serve(Route{}))
	asked := int64(0)
	for _, c := range []string{"NTLM", "NTLM TlRMTVNTUAACAAAA", "Negotiate", "Negotiate YII=", "Basic realm=x", "Digest realm=x, nonce=y", "Bearer"} {
		challenge.Store(c)
		for _, path := range []string{"/401", "/407"} {
			for _, proof := range []string{"", "NTLM TlRMTVNTUAABAAAA", "ntlm x", "Negotiate YII=", "NEGOTIATE", " Negotiate x", "Digest username=u"} {
				r := l.request("GET", "http"+strings.TrimPrefix(first.URL, "https")+path, "docs/key", nil)
				if proof != "" {
					r.Header.Set("Authorization", proof)
				}
				resp, err := client.Transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				asked++
				if got := resp.Header["Www-Authenticate"]; fmt.Sprint("/", resp.StatusCode) != path || len(got) != 1 || got[0] != c || resp.Header.Get("Proxy-Authenticate") != "" {
					t.Errorf("%s: %d %q %q", c, resp.StatusCode, got, resp.Header.Get("Proxy-Authenticate"))
				}
			}
		}
	}
	if n := first.requests.Load(); n != asked {
		t.Errorf("%d requests arrived of %d", n, asked)
	}
}
