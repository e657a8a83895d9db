package custody_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func TestListShowsOnlyWhatMayBeSeen(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	l.scope("ops")
	seen := []string{"docs/c05", "docs/c17", "docs/c29", "ops/c03"}
	for i := range 30 {
		l.credential("docs", fmt.Sprintf("c%02d", i), "s3cret", "api.example.com")
	}
	for i := range 5 {
		l.credential("ops", fmt.Sprintf("c%02d", i), "s3cret", "api.example.com")
	}
	for i, name := range seen {
		r, _ := keybearer.ParseRef(name)
		subject := keybearer.Subject("user:ada")
		if i%2 == 1 {
			subject = "group:sales"
		}
		if _, err := l.SetGrant(ctx, by(root), r, subject, keybearer.View); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.SetGrant(ctx, by(root), ref("docs", "c01"), "user:ada", keybearer.Use); err != nil { // not enough
		t.Fatal(err)
	}
	ada := custody.Actor{Subject: "user:ada", Groups: []string{"sales"}}
	for _, limit := range []int{1, 2, 7, 1000} {
		var got []string
		q := keybearer.Query{Limit: limit}
		for range 100 {
			page, err := l.Credentials(ctx, by(ada), "", q)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Items) > limit {
				t.Fatalf("%d items on a page of %d", len(page.Items), limit)
			}
			for _, c := range page.Items {
				got = append(got, c.Scope+"/"+c.Name)
				if c.Grants != nil {
					t.Errorf("%s shows its grants to somebody with view", c.Name)
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if !slices.Equal(got, seen) {
			t.Errorf("limit %d: %v, want %v", limit, got, seen)
		}
	}
	// A filter by subject would tell who holds grants.
	page, err := l.Credentials(ctx, by(ada), "", keybearer.Query{Subject: "user:uid-0"})
	if err != nil || len(page.Items) != 0 {
		t.Fatalf("%d found by another's subject, %v", len(page.Items), err)
	}
	if page, err = l.Credentials(ctx, by(ada), "", keybearer.Query{Subject: "group:sales"}); err != nil || len(page.Items) != 2 {
		t.Fatalf("%d found by the own group, %v", len(page.Items), err)
	}
	if page, err = l.Credentials(ctx, by(custody.Actor{Subject: "user:ada"}), "docs", keybearer.Query{}); err != nil || len(page.Items) != 2 {
		t.Fatalf("%d found without the group, %v", len(page.Items), err)
	}
}
