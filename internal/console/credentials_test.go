package console_test

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

const day = 24 * time.Hour

func TestTheListShowsEachPersonWhatTheyMaySee(t *testing.T) {
	o := newOffice(t)
	docs, _ := o.scope("docs"), o.scope("ops")
	o.caller("billing", "docs")
	crm := o.make("docs", "crm", granting("app:billing", keybearer.Use), granting("user:vera", keybearer.View), granting("user:uma", keybearer.Use))
	o.make("docs", "hidden")
	o.make("ops", "deploy")
	o.used(crm, "billing", time.Hour)
	for _, tc := range []struct {
		name  string
		roles []string
		want  []string
		texts []string
	}{
		{"ira", []string{keybearer.RoleInstanceAdmin}, []string{"docs/crm", "docs/hidden", "ops/deploy"}, []string{"3 credentials", "billing", "1 hour ago", "24 hours: 1 use"}},
		{"sam", []string{scopeAdminOf(docs)}, []string{"docs/crm", "docs/hidden"}, []string{"2 credentials", "no caller"}},
		{"vera", nil, []string{"docs/crm"}, []string{"1 credential", "billing", "!no caller"}}, // by use: she may not list grants
		{"uma", nil, []string{}, []string{"No credential that you may see", "user:uma", "!crm"}},
		{"nora", nil, []string{}, []string{"No credential that you may see", "user:nora", "!crm"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			page := o.signedIn(tc.name, tc.roles...).get("/credentials")
			page.wants(t, http.StatusOK, tc.texts...)
			if diff := cmp.Diff(tc.want, page.names()); diff != "" {
				t.Error(diff)
			}
		})
	}
	stranger := &visitor{o: o}
	if r := stranger.get("/credentials?q=crm"); r.Code != http.StatusSeeOther || r.Header().Get("Location") != "/sign-in?next=%2Fcredentials%3Fq%3Dcrm" {
		t.Errorf("who is not signed in gets %d to %s", r.Code, r.Header().Get("Location"))
	}
}

func TestFiltersOfTheListAreInItsAddress(t *testing.T) {
	o := newOffice(t)
	o.scope("docs")
	o.scope("ops")
	o.caller("billing", "docs")
	o.make("docs", "crm", granting("app:billing", keybearer.Use), func(n *custody.NewCredential) { n.Description = "Webhooks of Sales" })
	o.make("docs", "old", func(n *custody.NewCredential) { n.ExpiresAt = time.Now().Add(day) })
	o.make("docs", "legacy", func(n *custody.NewCredential) {
		n.Kind, n.Secret.Username, n.Rules = keybearer.Basic, keybearer.NewSecret("u"), []custody.Destination{{Rule: "hooks.example.org"}}
	})
	o.make("ops", "off", granting("group:night", keybearer.View))
	o.make("ops", "gone")
	o.make("ops", "shell", func(n *custody.NewCredential) { n.NoSecret, n.Secret = true, custody.Secret{} })
	o.used(o.make("ops", "busy"), "billing", day)
	ctx := t.Context()
	if _, err := o.DisableCredential(ctx, everything, keybearer.Ref{Scope: "ops", Name: "off"}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.DeleteCredential(ctx, everything, keybearer.Ref{Scope: "ops", Name: "gone"}, true); err != nil {
		t.Fatal(err)
	}
	ann := o.signedIn("ann", keybearer.RoleInstanceAdmin)
	for query, want := range map[string]string{
		"":                       "docs/crm docs/legacy docs/old ops/busy ops/off ops/shell",
		"q=SALES":                "docs/crm",
		"q=hooks.example":        "docs/legacy",
		"q=%25":                  "",
		"scope=docs":             "docs/crm docs/legacy docs/old",
		"scope=docs&kind=basic":  "docs/legacy",
		"used_by=billing":        "docs/crm",
		"used_by=app%3Abilling":  "docs/crm",
		"used_by=group%3Anight":  "ops/off",
		"used_by=nobody":         "",
		"state=active":           "docs/crm docs/legacy docs/old ops/busy",
		"state=disabled":         "ops/off",
		"state=expiring":         "docs/old",
		"state=unused":           "docs/crm docs/legacy",
		"state=needs_secret":     "ops/shell",
		"state=deleted":          "ops/gone",
		"state=no-such":          "",
		"q=&scope=&kind=&state=": "docs/crm docs/legacy docs/old ops/busy ops/off ops/shell",
	} {
		page := ann.get("/credentials?" + query)
		if got := strings.Join(page.names(), " "); page.Code != http.StatusOK || got != want {
			t.Errorf("%s: %d %s, want %s", query, page.Code, got, want)
		}
		part := ann.get("/credentials?"+query, "HX-Request", "true")
		if !slices.Equal(part.names(), page.names()) || strings.Contains(part.html, "<html") || !strings.Contains(part.html, `hx-swap-oob="innerHTML"`) {
			t.Errorf("%s: the part for htmx holds %v: %s", query, part.names(), part.text)
		}
	}
	if to := ann.get("/credentials?q=&scope=docs&kind=&cursor=", "HX-Request", "true").Header().Get("HX-Push-Url"); to != "/credentials?scope=docs" {
		t.Errorf("the address becomes %s", to)
	}
	ann.get("/credentials?q=nothing").wants(t, http.StatusOK, "Nothing matches", "Clear the filters")
	ann.get("/credentials?scope=nowhere").wants(t, http.StatusNotFound, "There is no such scope")
	ann.get("/credentials?cursor=x").wants(t, http.StatusBadRequest, "Begin again without a cursor")
	// What is chosen stays chosen, and what was searched for stays written, and harmless.
	ann.get(`/credentials?scope=docs&kind=basic&q=%22%3E%3Cscript%3E`).wants(t, http.StatusOK,
		`<option value="docs" selected>`, `<option value="basic" selected>`, `value="&#34;&gt;&lt;script&gt;"`, `!"><script>`)
}

func TestPagesOfTheListShowAllOnce(t *testing.T) {
	o := newOffice(t)
	o.scope("docs")
	want := []string{}
	for i := range 120 {
		name := fmt.Sprintf("c%03d", i)
		o.make("docs", name)
		want = append(want, "docs/"+name)
	}
	ann := o.signedIn("ann", keybearer.RoleInstanceAdmin)
	got, address := []string{}, "/credentials?kind=bearer&q=C"
	next := regexp.MustCompile(`<a class="button" href="([^"]+)">Next page</a>`)
	for n := 1; ; n++ {
		page := ann.get(address)
		page.wants(t, http.StatusOK)
		got = append(got, page.names()...)
		if first := strings.Contains(page.text, "First page"); first != (n > 1) {
			t.Errorf("page %d links to the first: %t", n, first)
		}
		m := next.FindStringSubmatch(page.html)
		if m == nil {
			page.wants(t, http.StatusOK, "20 credentials on this last page")
			break
		}
		page.wants(t, http.StatusOK, "50 credentials on this page")
		address = html.UnescapeString(m[1])
		if !strings.Contains(address, "kind=bearer") || !strings.Contains(address, "q=C") || n > 5 {
			t.Fatalf("page %d: the next is %s", n, address)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestASpaceShowsTheGlobalCredentialsThatItMayUse(t *testing.T) {
	o := newOffice(t)
	docs, _ := o.scope("docs"), o.scope("ops")
	o.scope("global")
	o.caller("billing", "docs")
	o.caller("other", "ops")
	o.make("docs", "own")
	o.make("global", "shared", granting("app:billing", keybearer.Use))
	o.make("global", "elsewhere", granting("app:other", keybearer.Use), granting("user:sam", keybearer.View))
	o.make("global", "person", granting("user:sam", keybearer.Administer))
	ann, sam := o.signedIn("ann", keybearer.RoleInstanceAdmin), o.signedIn("sam", scopeAdminOf(docs))
	page := ann.get("/credentials?scope=docs")
	page.wants(t, http.StatusOK, "Global, for use from docs", `<span class="badge plain">global</span>`)
	if diff := cmp.Diff([]string{"docs/own", "global/shared"}, page.names()); diff != "" {
		t.Error(diff)
	}
	if got := ann.get("/credentials?scope=docs&q=own").names(); !slices.Equal(got, []string{"docs/own"}) {
		t.Errorf("a search shows %v", got)
	}
	sam.get("/credentials?scope=docs").wants(t, http.StatusOK, "None that you may see", "!global/shared") // he holds nothing on it
	for _, address := range []string{"/credentials", "/credentials?scope=global", "/credentials?scope=docs&state=disabled"} {
		ann.get(address).wants(t, http.StatusOK, "!for use from")
	}
	// Somebody who does not administer the space is told nothing of who may use what.
	o.signedIn("vera").get("/credentials?scope=docs").wants(t, http.StatusOK, "!for use from")
}

func TestAnEmptyListTeachesWhatComesFirst(t *testing.T) {
	o := newOffice(t)
	ann := o.signedIn("ann", keybearer.RoleInstanceAdmin)
	ann.get("/credentials").wants(t, http.StatusOK, "Begin with a scope", `href="/scopes"`)
	ann.get("/credentials/new").wants(t, http.StatusOK, "Generate a scope’s key first", `href="/scopes/global"`, "!<form method=\"post\" action=\"/credentials\"")
	if _, err := o.CreateScope(t.Context(), everything, "docs", ""); err != nil {
		t.Fatal(err)
	}
	ann.get("/credentials?scope=docs").wants(t, http.StatusOK, "This scope has no key", `href="/scopes/docs"`)
	if _, err := o.GenerateKey(t.Context(), everything, "docs"); err != nil {
		t.Fatal(err)
	}
	ann.get("/credentials?scope=docs").wants(t, http.StatusOK, "No credential here yet", `href="/credentials/new?scope=docs"`)
	ann.get("/credentials/new").wants(t, http.StatusOK, `<a href="/scopes/global">global</a>`, `<option value="docs">`, `!<option value="global">`)
	o.signedIn("vera").get("/credentials/new").wants(t, http.StatusOK, "You administer no scope")
}
