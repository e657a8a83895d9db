package sqlstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// large asks for the long runs: 1,000,000 credentials instead of 100,000, 1,000 kills instead of 30.
var large = os.Getenv("KEYBEARER_SCALE") != ""

// fill stores n credentials in ten scopes, of the size that real ones have, and returns the scopes.
func fill(t testing.TB, s *sqlstore.Store, n int) []*keybearer.Scope {
	t.Helper()
	var scopes []*keybearer.Scope
	var b keybearer.Batch
	for i := range 10 {
		scope := &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: fmt.Sprintf("team-%d", i)}
		scopes = append(scopes, scope)
		b.Writes = append(b.Writes, keybearer.Write{Scope: scope})
	}
	sealed := make([]byte, 300)
	for i := range n {
		for j := range sealed {
			sealed[j] = byte(i >> (j % 24))
		}
		b.Writes = append(b.Writes, keybearer.Write{Credential: &keybearer.Credential{
			ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scopes[i%10].ID, Name: fmt.Sprintf("service-%07d", i),
			Description: fmt.Sprintf("what service number %d is for, in some words", i),
			Grants: []keybearer.Grant{
				{Subject: keybearer.AppSubject(fmt.Sprintf("app-%d", i%1000)), Level: keybearer.Use},
				{Subject: "group:staff", Level: keybearer.View},
			},
			Current: keybearer.Version{Number: 1, Sealed: sealed, Terms: keybearer.Terms{Kind: keybearer.Bearer, Rules: []keybearer.Rule{
				{Scheme: "https", Host: fmt.Sprintf("api-%d.example.com", i), Port: 443},
			}}},
		}})
		if len(b.Writes) >= 200 || i == n-1 {
			if _, err := s.Commit(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			b.Writes = nil
		}
	}
	return scopes
}

// within runs fn a few times and checks its best time: the machine may be busy with other things.
func within(t *testing.T, what string, limit time.Duration, fn func(try int)) {
	t.Helper()
	best := time.Duration(1 << 62)
	for try := range 5 {
		start := time.Now()
		fn(try)
		best = min(best, time.Since(start))
	}
	t.Logf("%-32s %v", what, best.Round(time.Microsecond))
	if best > limit && !raced { // the detector makes everything slow
		t.Errorf("%s takes %v, want at most %v", what, best, limit)
	}
}

// resident returns the memory of this process that is in use, SQLite's included.
func resident(t *testing.T) int {
	t.Helper()
	runtime.GC()
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Log(err)
		return 0
	}
	var total, pages int
	if _, err := fmt.Sscan(string(status), &total, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// TestScale: what a large store costs.
func TestScale(t *testing.T) {
	// The limits leave room for a busy machine: alone, all of these take less than 50 ms.
	n, slow := 100_000, time.Duration(2)
	switch {
	case large:
		n, slow = 1_000_000, 20 // what reads all names takes as much longer
	case raced:
		n = 10_000 // the detector sees nothing more in more records
	}
	dir := filepath.Join(t.TempDir(), "home")
	path := filepath.Join(dir, "keybearer.db")
	s := openAtOnce(t, path)
	start := time.Now()
	scopes := fill(t, s, n)
	t.Logf("%d credentials stored in %v", n, time.Since(start).Round(time.Millisecond))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("file: %d MB, %d bytes each", info.Size()>>20, info.Size()/int64(n))
	before := resident(t)

	within(t, "open and first look-up", time.Second, func(try int) {
		s = openAtOnce(t, path)
		if _, err := s.Credential(t.Context(), keybearer.Ref{Scope: "team-3", Name: fmt.Sprintf("service-%07d", 3+10*try)}); err != nil {
			t.Fatal(err)
		}
		if try < 4 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	defer s.Close()
	const lookups = 2000
	within(t, fmt.Sprintf("%d look-ups", lookups), lookups*5*time.Millisecond, func(try int) {
		for i := range lookups {
			k := (i*7919 + try*104729) % n
			if _, err := s.Credential(t.Context(), keybearer.Ref{Scope: fmt.Sprintf("team-%d", k%10), Name: fmt.Sprintf("service-%07d", k)}); err != nil {
				t.Fatal(err)
			}
		}
	})
	last := fmt.Sprintf("service-%07d", n-1)
	for _, q := range []struct {
		what  string
		limit time.Duration
		query keybearer.Query
		items int
	}{
		{"first page", 100 * time.Millisecond, keybearer.Query{}, 100},
		{"a page of 1000", 200 * time.Millisecond, keybearer.Query{Limit: 1000}, 1000},
		{"first page of a scope", 100 * time.Millisecond, keybearer.Query{ScopeID: scopes[7].ID}, 100},
		{"search, one match at the end", slow * 100 * time.Millisecond, keybearer.Query{Text: strings.ToUpper(last)}, 1},
		{"search, no match", slow * 100 * time.Millisecond, keybearer.Query{Text: "no such thing"}, 0},
		{"search in a scope, no match", slow * 100 * time.Millisecond, keybearer.Query{Text: "no such thing", ScopeID: scopes[7].ID}, 0},
		{"search, many matches", 100 * time.Millisecond, keybearer.Query{Text: "example.com"}, 100},
		{"kind, no match", slow * 100 * time.Millisecond, keybearer.Query{Kind: keybearer.Basic}, 0},
		{"a rare subject", slow * 100 * time.Millisecond, keybearer.Query{Subject: "app:app-999"}, min(100, n/1000)},
		{"a frequent subject", 100 * time.Millisecond, keybearer.Query{Subject: "group:staff"}, 100},
		{"by id", 100 * time.Millisecond, keybearer.Query{AfterID: "crd_m"}, 100},
		{"by id in a scope", 100 * time.Millisecond, keybearer.Query{AfterID: "crd_m", ScopeID: scopes[7].ID}, 100},
	} {
		within(t, q.what, q.limit, func(int) {
			p, err := s.Credentials(t.Context(), q.query)
			if err != nil || len(p.Items) != q.items {
				t.Fatalf("%s: %d records, %v", q.what, len(p.Items), err)
			}
		})
	}
	deep := must(s.Credentials(t.Context(), keybearer.Query{ScopeID: scopes[9].ID, Limit: 500}))(t)
	within(t, "a later page", 100*time.Millisecond, func(int) {
		if p := must(s.Credentials(t.Context(), keybearer.Query{Cursor: deep.Next}))(t); p.Items[0].Name <= deep.Items[499].Name {
			t.Fatal("the page is not behind the cursor")
		}
	})
	within(t, "count of a scope", slow*20*time.Millisecond, func(int) {
		if live, _, err := s.CountCredentials(t.Context(), scopes[0].ID); err != nil || live != n/10 {
			t.Fatal(live, err)
		}
	})
	c := must(s.Credential(t.Context(), keybearer.Ref{Scope: "team-9", Name: last}))(t).Clone()
	within(t, "a change", 100*time.Millisecond, func(try int) {
		c.Description = fmt.Sprint("changed ", try)
		c.Revision = must(s.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Credential: c}}}))(t)
	})
	if grown := resident(t) - before; grown > 64<<20 && !raced {
		t.Errorf("memory grew by %d MB", grown>>20)
	} else {
		t.Logf("memory grew by %d MB", grown>>20)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestPlans: no query of the store reads a whole table of records to find or to sort.
func TestPlans(t *testing.T) {
	s := open(t)
	scope := addScope(t, s, "docs")
	ctx := t.Context()
	for _, ref := range []keybearer.Ref{{Scope: "docs", Name: "crm"}, {Scope: scope.ID, Name: "crm"}, {Scope: "docs", Name: "crd_x"}, {Scope: scope.ID, Name: "crd_x"}} {
		_, _ = s.Credential(ctx, ref)
	}
	for _, name := range []string{"x", "scp_x", "cal_x", "opr_x"} {
		_, _ = s.Scope(ctx, name)
		_, _ = s.Caller(ctx, name)
		_, _ = s.Operator(ctx, name)
	}
	_, _ = s.CallerByToken(ctx, keybearer.TokenHash{})
	_, _ = s.OperatorByToken(ctx, keybearer.TokenHash{})
	_, _, _ = s.CountCredentials(ctx, scope.ID)
	_, _ = s.Changes(ctx, 0, 10)
	_, _ = s.Events(ctx, 10)
	_, _ = s.Usage(ctx, "a", "b", "c")
	_, _ = s.UsageHours(ctx, time.Time{}, "")
	for _, q := range []keybearer.Query{{}, {Cursor: "ZB9j"}, {AfterID: "0"}} {
		for _, scopeID := range []string{"", scope.ID} {
			for _, text := range []string{"", "x"} {
				for _, kind := range []keybearer.Kind{"", keybearer.Basic} {
					for _, subject := range []keybearer.Subject{"", "app:x"} {
						for _, sight := range []*keybearer.Sight{nil, {Subjects: []keybearer.Subject{"user:x", "group:y"}, ScopeIDs: []string{scope.ID}}} {
							for _, deleted := range []bool{false, true} {
								q.ScopeID, q.Text, q.Kind, q.Subject, q.Sight, q.Deleted = scopeID, text, kind, subject, sight, deleted
								_, _ = s.Credentials(ctx, q)
							}
						}
					}
				}
			}
		}
	}
	statements := s.Statements()
	if len(statements) < 60 {
		t.Fatalf("%d statements", len(statements))
	}
	for _, text := range statements {
		rows, err := s.Reader().QueryContext(ctx, "EXPLAIN QUERY PLAN "+text, make([]any, strings.Count(text, "?"))...)
		if err != nil {
			t.Fatal(text, err)
		}
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			listing := strings.HasPrefix(detail, "SCAN credentials USING INDEX credentials_listing")
			if strings.Contains(detail, "TEMP B-TREE") && !strings.Contains(text, "usage_callers") ||
				strings.Contains(detail, "SCAN credentials") && !listing || strings.Contains(detail, "SCAN changes USING") {
				t.Errorf("%s\n\t%s", text, detail)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
