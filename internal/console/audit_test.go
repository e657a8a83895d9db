package console

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/keybearer/keybearer"
)

func TestAnExportHoldsWhatThePageShows(t *testing.T) {
	w := newTown(t)
	w.credential("crm")
	w.credential("mail")
	w.operator("ann", keybearer.RoleInstanceAdmin)
	p := w.signIn("ann")
	var links []string
	p.get("/audit?" + url.Values{"credential": {"docs/crm"}, "event": {"change"}, "q": {"credential & create"}}.Encode()).walk(func(n *html.Node) {
		if to, _ := attribute(n, "href"); strings.HasPrefix(to, "/audit/export") {
			links = append(links, to)
		}
	})
	if len(links) != 2 {
		t.Fatalf("links %q", links)
	}
	for _, link := range links {
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		if q := u.Query(); q.Get("credential") != "docs/crm" || q.Get("event") != "change" || q.Get("q") != "credential & create" {
			t.Errorf("%s asks for %v", link, q)
		}
	}
	for _, link := range []string{"/audit/export?credential=docs/crm", "/audit/export?format=csv&credential=docs/crm"} {
		if body := p.get(link).body; !strings.Contains(body, "crm") || strings.Contains(body, "mail") {
			t.Errorf("%s: %s", link, body)
		}
	}
}

// Who may not read the log any more does not go on reading what they opened before.
func TestALiveLogEndsWithTheRightToReadIt(t *testing.T) {
	for name, end := range map[string]func(*town) error{
		"the role is taken": func(w *town) error {
			return only(w.custody.EditOperator(t.Context(), w.by(w.root), "ann", nil, nil, &[]string{}))
		},
		"the operator is disabled": func(w *town) error { return only(w.custody.DisableOperator(t.Context(), w.by(w.root), "ann")) },
		"the token is revoked":     func(w *town) error { return only(w.custody.RevokeOperatorToken(t.Context(), w.by(w.root), "ann", "")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTown(t)
			w.operator("ann", keybearer.RoleScopeAdmin+"docs")
			p := w.signIn("ann")
			r := get[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/audit/live", nil))
			resp := get[*http.Response](t)(p.client.Do(r))
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}
			w.credential("before")
			one := make([]byte, 1)
			if _, err := io.ReadFull(resp.Body, one); err != nil {
				t.Fatal(err)
			}
			if err := end(w); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(resp.Body); err != nil { // ends
				t.Fatal(err)
			}
		})
	}
}

// One person's browsers do not take what all the others need.
func TestAPersonFollowsTheLogSoManyTimesAtOnce(t *testing.T) {
	w := newTown(t)
	w.credential("crm")
	for _, name := range []string{"ann", "bob"} {
		w.operator(name, keybearer.RoleInstanceAdmin)
	}
	ann, bob := w.signIn("ann"), w.signIn("bob")
	follow := func(p *person) *http.Response {
		t.Helper()
		resp := get[*http.Response](t)(p.client.Do(get[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, w.server.URL+"/audit/live", nil))))
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	var one *http.Response
	for range maxLive {
		if one = follow(ann); one.StatusCode != http.StatusOK {
			t.Fatal(one.Status)
		}
	}
	if resp := follow(ann); resp.StatusCode != http.StatusTooManyRequests {
		t.Error(resp.Status)
	}
	if resp := follow(bob); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	if err := one.Body.Close(); err != nil { // and its place is another's
		t.Fatal(err)
	}
	for follow(ann).StatusCode != http.StatusOK {
		if t.Context().Err() != nil {
			t.Fatal("the place is not given back")
		}
	}
}

func TestASharesPlacesAreGivenBack(t *testing.T) {
	var s share
	first := get[func()](t)(s.take("user:ann", 2))
	get[func()](t)(s.take("user:ann", 2))
	if _, err := s.take("user:ann", 2); keybearer.CodeOf(err) != keybearer.RateLimited {
		t.Error(err)
	}
	get[func()](t)(s.take("user:bob", 2))
	first()
	get[func()](t)(s.take("user:ann", 2))()
}
