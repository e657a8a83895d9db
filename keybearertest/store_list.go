package keybearertest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keybearer/keybearer"
)

// testListByName: scopes, callers and operators come in order of name, page by page, filtered by text.
func testListByName(t *testing.T, s keybearer.Store) {
	var b keybearer.Batch
	names := []string{"a", "a-b", "a0", "b", "ba", "crm", "docs", "docs-2", "z", "zz", "0", "9"}
	for i, name := range names {
		scope, caller, operator := newScope(name), newCaller(name), newOperator(name)
		if i%3 == 0 {
			scope.Description, caller.Description, operator.Description = "The Billing team", "The Billing team", "The Billing team"
		}
		if i%4 == 1 {
			bury(scope)
			bury(caller)
			bury(operator)
		}
		b.Writes = append(b.Writes, puts(scope, caller, operator).Writes...)
	}
	commit(t, s, b)
	byName(t, "scopes", s.Scopes, names, func(r *keybearer.Scope) string { return r.Name })
	byName(t, "callers", s.Callers, names, func(r *keybearer.Caller) string { return r.Name })
	byName(t, "operators", s.Operators, names, func(r *keybearer.Operator) string { return r.Name })
}

func byName[T any](t *testing.T, what string, list func(context.Context, keybearer.Query) (keybearer.Page[T], error), names []string, nameOf func(T) string) {
	t.Helper()
	var all, live, billing []string
	for i, name := range names {
		all = append(all, name)
		if i%4 != 1 {
			live = append(live, name)
		}
		if i%4 != 1 && i%3 == 0 {
			billing = append(billing, name)
		}
	}
	for _, c := range []struct {
		q    keybearer.Query
		want []string
	}{
		{keybearer.Query{Deleted: true}, all},
		{keybearer.Query{}, live},
		{keybearer.Query{Text: "bILLing"}, billing},
		{keybearer.Query{Text: "docs", Deleted: true}, []string{"docs", "docs-2"}},
		{keybearer.Query{Text: "nothing has this"}, nil},
		// What concerns credentials only is ignored.
		{keybearer.Query{ScopeID: "scp_x", Kind: keybearer.Basic, Subject: "app:x", Sight: new(keybearer.Sight), AfterID: "0"}, live},
	} {
		want := slices.Sorted(slices.Values(c.want))
		for _, limit := range []int{1, 2, 5, 100} {
			var got []string
			q := c.q
			if q.AfterID != "" {
				limit = 100
			}
			for _, r := range pages(t, limit, q, list) {
				got = append(got, nameOf(r))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s %+v, %d a page: got %q, want %q", what, c.q, limit, got, want)
			}
		}
	}
	_, err := list(t.Context(), keybearer.Query{Cursor: "!"})
	wantCode(t, what+" with a cursor of no listing", err, keybearer.Invalid)
}

// testListCredentials compares listings of every filter with a model that looks at each record in turn.
func testListCredentials(t *testing.T, s keybearer.Store) {
	var all []*keybearer.Credential
	var b keybearer.Batch
	scopeNames := make(map[string]string)
	kinds := []keybearer.Kind{keybearer.Basic, keybearer.Bearer, keybearer.Header}
	subjects := []keybearer.Subject{"app:a", "app:ab", "user:a", "user:A", "group:a", "user:a%", "user:a_"}
	hosts := []string{"api.example.com", "*.Example.com", "crm.example.org", "2001:db8::1", "10.0.0.1"}
	words := []string{"", "Customers", "100% of _them_", `back\slash`, "Größe ÄRGER", "crm", "it's \"quoted\""}
	for i, name := range []string{"global", "docs", "a", "docs-2", "empty", "z"} {
		scope := newScope(name)
		scopeNames[scope.ID] = name
		b.Writes = append(b.Writes, write(scope))
		if name == "empty" {
			continue
		}
		for j := range 25 {
			n := i*31 + j*17
			c := newCredential(scope, fmt.Sprintf("%s%d", []string{"crm", "mail-", "x.", "x_"}[n%4], j))
			c.Description = words[n%len(words)]
			c.Current.Terms.Kind = kinds[n%len(kinds)]
			for k := range n % 3 {
				c.Current.Terms.Rules = append(c.Current.Terms.Rules, keybearer.Rule{Scheme: "https", Host: hosts[(n+k)%len(hosts)], Port: 443})
			}
			for k := range n % 4 {
				c.Grants = append(c.Grants, keybearer.Grant{Subject: subjects[(n+2*k)%len(subjects)], Level: keybearer.Use + keybearer.Level((n+k)%4)})
			}
			if n%5 == 0 {
				bury(c)
			}
			all = append(all, c)
			b.Writes = append(b.Writes, write(c))
		}
	}
	commit(t, s, b)
	slices.SortFunc(all, func(x, y *keybearer.Credential) int {
		return cmp.Or(cmp.Compare(scopeNames[x.ScopeID], scopeNames[y.ScopeID]), cmp.Compare(x.Name, y.Name))
	})
	ids := []string{"", keybearer.NewID(keybearer.IDScope)}
	for id := range scopeNames {
		ids = append(ids, id)
	}
	slices.Sort(ids[2:])
	texts := append([]string{"crm1", "CRM", "example", ".ORG", "%", "_", `\`, "größe ä", "a%", "'", `"`, ":", "nowhere", "crm\x1fcrm"}, words...)

	rapid.Check(t, func(rt *rapid.T) {
		q := keybearer.Query{
			ScopeID: rapid.SampledFrom(ids).Draw(rt, "scope"),
			Text:    rapid.SampledFrom(append([]string{""}, texts...)).Draw(rt, "text"),
			Kind:    rapid.SampledFrom(append([]keybearer.Kind{""}, kinds...)).Draw(rt, "kind"),
			Subject: rapid.SampledFrom(append([]keybearer.Subject{"", "app:", "app:a\n", "!app:a", "app:a\n!app:a", "app:a\n!app:ab"}, subjects...)).Draw(rt, "subject"),
			Deleted: rapid.Bool().Draw(rt, "deleted"),
		}
		if rapid.Bool().Draw(rt, "sighted") {
			q.Sight = &keybearer.Sight{
				Subjects: rapid.SliceOfN(rapid.SampledFrom(append([]keybearer.Subject{"", "!app:a", "user:nobody"}, subjects...)), 0, 4).Draw(rt, "subjects"),
				ScopeIDs: rapid.SliceOfN(rapid.SampledFrom(ids), 0, 2).Draw(rt, "scopes"),
			}
		}
		limit := rapid.IntRange(1, 200).Draw(rt, "limit")
		var want []string
		for _, c := range all {
			if fits(c, &q) {
				want = append(want, c.ID)
			}
		}
		var got []string
		for _, c := range pages(t, limit, q, s.Credentials) {
			got = append(got, c.ID)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("%+v: got %d records %v, want %d %v", q, len(got), got, len(want), want)
		}
		q.AfterID = rapid.SampledFrom([]string{"0", all[7].ID, all[60].ID, "~"}).Draw(rt, "after")
		q.Cursor = "ignored"
		want = slices.DeleteFunc(want, func(id string) bool { return id <= q.AfterID })
		slices.Sort(want)
		got = nil
		for _, c := range pages(t, limit, q, s.Credentials) {
			got = append(got, c.ID)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("by id %+v: got %v, want %v", q, got, want)
		}
	})
	_, err := s.Credentials(t.Context(), keybearer.Query{Cursor: "!"})
	wantCode(t, "credentials with a cursor of no listing", err, keybearer.Invalid)
}

// fits is the model of a query.
func fits(c *keybearer.Credential, q *keybearer.Query) bool {
	in := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(q.Text)) }
	text := in(c.Name) || in(c.Description)
	for _, r := range c.Current.Terms.Rules {
		text = text || in(r.Host)
	}
	granted := q.Subject == ""
	for _, g := range c.Grants {
		granted = granted || g.Subject == q.Subject
	}
	seen := q.Sight == nil
	if !seen {
		for _, g := range c.Grants {
			for _, subject := range q.Sight.Subjects {
				seen = seen || g.Subject == subject && (g.Level == keybearer.View || g.Level == keybearer.Edit || g.Level == keybearer.Administer)
			}
		}
		for _, id := range q.Sight.ScopeIDs {
			seen = seen || c.ScopeID == id
		}
	}
	return text && granted && seen &&
		(q.ScopeID == "" || c.ScopeID == q.ScopeID) &&
		(q.Kind == "" || c.Current.Terms.Kind == q.Kind) &&
		(q.Deleted || c.DeletedAt.IsZero())
}

// testListByID: a long job that goes through a scope by id meets every record once, while others come and go.
func testListByID(t *testing.T, s keybearer.Store) {
	scope, other := newScope("docs"), newScope("other")
	b := puts(scope, other)
	var want []string
	for i := range 50 {
		c := newCredential(scope, fmt.Sprintf("c%d", i))
		want = append(want, c.ID)
		b.Writes = append(b.Writes, write(c), write(newCredential(other, fmt.Sprintf("c%d", i))))
	}
	seq := commit(t, s, b)
	slices.Sort(want)
	var got []string
	for after := "0"; after != ""; {
		p := must(s.Credentials(t.Context(), keybearer.Query{ScopeID: scope.ID, AfterID: after, Limit: 7}))(t)
		var work keybearer.Batch
		for _, c := range p.Items {
			if c.Revision != seq {
				t.Errorf("%s was met twice", c.ID)
			}
			got = append(got, c.ID)
			next := c.Clone()
			next.Name = "renamed-" + c.Name // the order by name changes under way
			work.Writes = append(work.Writes, write(next))
		}
		if len(p.Items) > 0 {
			commit(t, s, work)
			if last := p.Items[len(p.Items)-1].ID; p.Next != "" && p.Next != last {
				t.Errorf("next is %q, want the last id %q", p.Next, last)
			}
		}
		after = p.Next
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d records, want %d", len(got), len(want))
	}
}

// testSearch: a text is found in one of the fields, not across two; a later version of the record counts.
func testSearch(t *testing.T, s keybearer.Store) {
	scope := newScope("docs")
	c := newCredential(scope, "crm")
	c.Description = "mail"
	c.Current.Terms.Rules = []keybearer.Rule{{Scheme: "https", Host: "api.example.com", Port: 443}, {Scheme: "https", Host: "hooks.example.com", Port: 443}}
	c.Previous = &keybearer.Version{Number: 1, Terms: keybearer.Terms{Rules: []keybearer.Rule{{Scheme: "https", Host: "old.example.net", Port: 443}}}}
	c.Revision = commit(t, s, puts(scope, c))
	find := func(text string) int {
		return len(must(s.Credentials(t.Context(), keybearer.Query{Text: text}))(t).Items)
	}
	for text, want := range map[string]int{
		"crm": 1, "mail": 1, "HOOKS.": 1, "api.example.com": 1, "crmmail": 0, "mailcrm": 0, "crm mail": 0, "mail crm": 0,
		"comhooks": 0, "com hooks": 0, "old.example.net": 0, "docs": 0, "sealed": 0, "https": 0, "crd_": 0,
	} {
		if got := find(text); got != want {
			t.Errorf("search %q: %d records, want %d", text, got, want)
		}
	}
	c.Description, c.Current.Terms.Rules = "post", nil
	commit(t, s, puts(c))
	for text, want := range map[string]int{"post": 1, "mail": 0, "hooks": 0} {
		if got := find(text); got != want {
			t.Errorf("after the change, search %q: %d records, want %d", text, got, want)
		}
	}
}

// testLimits: 100 records a page unless asked otherwise, 1000 at most.
func testLimits(t *testing.T, s keybearer.Store) {
	scope := newScope("docs")
	b := puts(scope)
	for i := range 1001 {
		b.Writes = append(b.Writes, write(newCredential(scope, fmt.Sprintf("c%04d", i))))
	}
	commit(t, s, b)
	for _, c := range []struct{ limit, want int }{{0, 100}, {1, 1}, {100, 100}, {1000, 1000}, {1001, 1000}, {1 << 30, 1000}} {
		p := must(s.Credentials(t.Context(), keybearer.Query{Limit: c.limit}))(t)
		if len(p.Items) != c.want || p.Next == "" {
			t.Errorf("limit %d: %d records, next %q", c.limit, len(p.Items), p.Next)
		}
	}
	p := must(s.Credentials(t.Context(), keybearer.Query{}))(t)
	p = must(s.Credentials(t.Context(), keybearer.Query{Cursor: p.Next, Limit: 1000}))(t)
	if len(p.Items) != 901 || p.Next != "" || p.Items[0].Name != "c0100" {
		t.Errorf("the last page: %d records from %q, next %q", len(p.Items), p.Items[0].Name, p.Next)
	}
}

// testCount: live credentials and tombstones of one scope.
func testCount(t *testing.T, s keybearer.Store) {
	scope, other := newScope("docs"), newScope("other")
	b := puts(scope, other, newCredential(other, "c"))
	var last *keybearer.Credential
	for i := range 12 {
		last = newCredential(scope, fmt.Sprintf("c%d", i))
		if i < 5 {
			bury(last)
		}
		b.Writes = append(b.Writes, write(last))
	}
	last.Revision = commit(t, s, b)
	check := func(id string, wantLive, wantDeleted int) {
		t.Helper()
		live, deleted, err := s.CountCredentials(t.Context(), id)
		if live != wantLive || deleted != wantDeleted || err != nil {
			t.Errorf("count: %d live, %d deleted, %v; want %d and %d", live, deleted, err, wantLive, wantDeleted)
		}
	}
	check(scope.ID, 7, 5)
	check(other.ID, 1, 0)
	bury(last)
	last.Revision = commit(t, s, puts(last))
	check(scope.ID, 6, 6)
	commit(t, s, keybearer.Batch{Writes: []keybearer.Write{remove(last)}})
	check(scope.ID, 6, 5)
}
