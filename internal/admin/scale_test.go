package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/records"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// crowded stores n credentials in ten scopes, of the size that real ones have: everybody of group:staff may use all, user:ada may see ten, one of each scope.
func crowded(tb testing.TB, s *sqlstore.Store, n int) {
	tb.Helper()
	var b keybearer.Batch
	var scopes []*keybearer.Scope
	for i := range 10 {
		scopes = append(scopes, &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: fmt.Sprintf("team-%d", i)})
		b.Writes = append(b.Writes, keybearer.Write{Scope: scopes[i]})
	}
	sealed := make([]byte, 300)
	kinds := []keybearer.Kind{keybearer.Bearer, keybearer.Header}
	for i := range n {
		for j := range sealed {
			sealed[j] = byte(i >> (j % 24))
		}
		grants := []keybearer.Grant{
			{Subject: keybearer.AppSubject(fmt.Sprintf("app-%d", i%1000)), Level: keybearer.Use},
			{Subject: "group:staff", Level: keybearer.Use},
		}
		if i >= n/2 && i < n/2+10 {
			grants = append(grants, keybearer.Grant{Subject: "user:ada", Level: keybearer.View})
		}
		b.Writes = append(b.Writes, keybearer.Write{Credential: &keybearer.Credential{
			ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scopes[i%10].ID, Name: fmt.Sprintf("service-%07d", i),
			Description: fmt.Sprintf("what service number %d is for, in some words", i), Grants: grants,
			Current: keybearer.Version{Number: 1, Sealed: sealed, Terms: keybearer.Terms{Kind: kinds[i%2], Rules: []keybearer.Rule{
				{Scheme: "https", Host: fmt.Sprintf("api-%d.example.com", i), Port: 443},
			}}},
		}})
		if len(b.Writes) >= 200 || i == n-1 {
			if _, err := s.Commit(tb.Context(), b); err != nil {
				tb.Fatal(err)
			}
			b.Writes = nil
		}
	}
}

var (
	everything = custody.Actor{Subject: "user:root", Roles: []string{keybearer.RoleInstanceAdmin}}
	// ada sees ten, and holds what hides them well: use on all others, through the first of many groups.
	fewThings = custody.Actor{Subject: "user:ada", Groups: []string{"staff", "sales", "support", "berlin", "legal", "finance", "ops", "press", "board", "guests"}}
)

// askings are what is asked of a listing of n credentials, and how many must be in the page.
func askings(n int) []asking {
	return []asking{
		{"first page", everything, "", "", 100},
		{"deep page", everything, "", behind(n), 100},
		{"search, many match", everything, "q=example.com", "", 100},
		{"search, one matches", everything, fmt.Sprintf("q=SERVICE-%07d", n-1), "", 1},
		{"search, none matches", everything, "q=no+such+thing", "", 0},
		{"kind, half match", everything, "kind=header", "", 100},
		{"kind, none matches", everything, "kind=basic", "", 0},
		{"subject, one in a thousand matches", everything, "subject=app:app-999", "", min(100, n/1000)},
		{"first page of who may see ten", fewThings, "", "", 10},
		{"search of who may see ten, none matches", fewThings, "q=no+such+thing", "", 0},
		{"subject, of who may see ten", fewThings, "subject=user:ada", "", 10},
	}
}

type asking struct {
	what   string
	by     custody.Actor
	query  string
	cursor string
	items  int
}

// behind is the cursor behind the credential in the middle of the last scope.
func behind(n int) string {
	return records.Cursor("team-9", fmt.Sprintf("service-%07d", n/2-n/2%10+9))
}

// on answers the asking by a handler over the store, as the server does, and returns the page.
func (a asking) on(tb testing.TB, h http.Handler) admin.Page[admin.Credential] {
	tb.Helper()
	target := "/api/v1/scopes/-/credentials?" + a.query
	if a.cursor != "" {
		target += "&cursor=" + a.cursor
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, target, nil))
	var page admin.Page[admin.Credential]
	if err := json.Unmarshal(answer.Body.Bytes(), &page); err != nil || answer.Code != http.StatusOK || len(page.Items) != a.items {
		tb.Fatalf("%s: %d, %d items, want %d: %v\n%.300s", a.what, answer.Code, len(page.Items), a.items, err, answer.Body)
	}
	return page
}

// crowdedServers are handlers over a full store of each kind, asked by whom the pointer says.
func crowdedServers(tb testing.TB, n int, by *custody.Actor) map[string]http.Handler {
	tb.Helper()
	dir := tb.TempDir()
	lite, err := sqlstore.OpenSQLite(tb.Context(), filepath.Join(dir, "home", "kb.db"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = lite.Close() })
	server := harness.StartPostgres(tb, "fsync=off")
	post, err := sqlstore.OpenPostgres(tb.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(server.Database(tb)), Node: "a"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = post.Close() })
	keyring, err := localkeys.Open(localkeys.Config{Path: filepath.Join(dir, "home", "keyring.key")})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = keyring.Close() })
	handlers := map[string]http.Handler{}
	for name, s := range map[string]struct {
		store  keybearer.Store
		ledger keybearer.Ledger
		fill   *sqlstore.Store
	}{"SQLite": {lite, lite, lite}, "PostgreSQL": {post, post, post.Store}} {
		crowded(tb, s.fill, n)
		log, err := audit.OpenFile(filepath.Join(dir, name+".jsonl"), audit.Options{})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = log.Close() })
		c, err := custody.New(custody.Config{Store: s.store, Keyring: keyring, Auditor: log, Ledger: s.ledger})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = c.Close() })
		handlers[name] = admin.New(admin.Config{Custody: c, Authenticate: func(*http.Request) (custody.Actor, error) { return *by, nil }})
	}
	return handlers
}

// Every listing of a full store answers with all that it should, in one page: whoever may see few among many does not page through nothing.
func TestListingsOfAFullStore(t *testing.T) {
	const n = 3000
	var by custody.Actor
	for name, h := range crowdedServers(t, n, &by) {
		for _, a := range askings(n) {
			by = a.by
			page := a.on(t, h)
			if a.items < 100 && page.Next != "" {
				t.Errorf("%s, %s: there is said to be another page", name, a.what)
			}
			if !slices.IsSortedFunc(page.Items, func(x, y admin.Credential) int {
				return slices.Compare([]string{x.Scope, x.Name}, []string{y.Scope, y.Name})
			}) {
				t.Errorf("%s, %s: out of order", name, a.what)
			}
		}
	}
}

// One operation is one listing of 100,000 credentials, answered by the handler of the admin API. docs/scale.md has the figures.
func BenchmarkListings(b *testing.B) {
	const n = 100_000
	var by custody.Actor
	servers := crowdedServers(b, n, &by)
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		for _, a := range askings(n) {
			b.Run(name+"/"+a.what, func(b *testing.B) {
				by = a.by
				var worst time.Duration
				for b.Loop() {
					start := time.Now()
					a.on(b, servers[name])
					worst = max(worst, time.Since(start))
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/listing")
				b.ReportMetric(float64(worst.Microseconds())/1000, "ms/worst")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
