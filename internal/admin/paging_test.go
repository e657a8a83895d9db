package admin_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
)

// While things are made and deleted on every side of where a listing stands, each thing that was there before and after is shown once, in order.
func TestPagesStayTrueWhileThingsComeAndGo(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.docs()
	create := func(name string, kind keybearer.Kind) error {
		_, err := l.CreateCredential(ctx, "docs", admin.NewCredential{Name: name, Kind: kind, NoSecret: true})
		return err
	}
	for _, list := range []struct {
		what   string
		make   func(name string) error
		remove func(name string) error
		page   func(q admin.ListQuery) ([]string, string, error)
	}{
		{
			"scopes",
			func(name string) error { _, err := l.CreateScope(ctx, admin.NewScope{Name: name}); return err },
			func(name string) error {
				_, err := l.DeleteScope(ctx, name, admin.Confirmation{Confirm: name})
				return err
			},
			func(q admin.ListQuery) ([]string, string, error) {
				p, err := l.Scopes(ctx, q)
				return namesOf(p.Items, func(s admin.Scope) string { return s.Name }), p.Next, err
			},
		},
		{
			"credentials of a scope",
			func(name string) error { return create(name, keybearer.Bearer) },
			func(name string) error {
				_, err := l.DeleteCredential(ctx, keybearer.Ref{Scope: "docs", Name: name}, true)
				return err
			},
			func(q admin.ListQuery) ([]string, string, error) {
				q.Kind = keybearer.Bearer
				p, err := l.Credentials(ctx, "docs", q)
				return namesOf(p.Items, func(c admin.Credential) string { return c.Name }), p.Next, err
			},
		},
		{
			"credentials of all scopes",
			func(name string) error { return create("x"+name, keybearer.Basic) },
			func(name string) error {
				_, err := l.DeleteCredential(ctx, keybearer.Ref{Scope: "docs", Name: "x" + name}, true)
				return err
			},
			func(q admin.ListQuery) ([]string, string, error) {
				q.Kind = keybearer.Basic
				p, err := l.Credentials(ctx, admin.AllScopes, q)
				return namesOf(p.Items, func(c admin.Credential) string { return strings.TrimPrefix(c.Name, "x") }), p.Next, err
			},
		},
		{
			"callers",
			func(name string) error {
				_, err := l.CreateCaller(ctx, admin.NewCaller{Name: name, NoToken: true})
				return err
			},
			func(name string) error { _, err := l.DeleteCaller(ctx, name); return err },
			func(q admin.ListQuery) ([]string, string, error) {
				p, err := l.Callers(ctx, q)
				return namesOf(p.Items, func(c admin.Caller) string { return c.Name }), p.Next, err
			},
		},
		{
			"operators",
			func(name string) error {
				_, err := l.CreateOperator(ctx, admin.NewOperator{Name: name, NoToken: true})
				return err
			},
			func(name string) error { _, err := l.DeleteOperator(ctx, name); return err },
			func(q admin.ListQuery) ([]string, string, error) {
				p, err := l.Operators(ctx, q)
				return namesOf(p.Items, func(o admin.Operator) string { return o.Name }), p.Next, err
			},
		},
	} {
		t.Run(list.what, func(t *testing.T) {
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			var stay []string
			for i := range 15 {
				name := fmt.Sprintf("p%02d", i)
				must(list.make(name))
				if i%3 == 1 {
					must(list.make(name + "-goes"))
				}
				stay = append(stay, name)
			}
			for _, limit := range []int{1, 4, 100} {
				var got []string
				q := admin.ListQuery{Limit: limit}
				for round := 0; ; round++ {
					names, next, err := list.page(q)
					must(err)
					if len(names) > limit {
						t.Fatalf("%d on a page of %d", len(names), limit)
					}
					got = append(got, names...)
					if next == "" {
						break
					}
					q.Cursor = next
					// Before where the listing stands, at the very place, and behind it.
					last := names[len(names)-1]
					stem, _, _ := strings.Cut(last, "-n")
					names = []string{fmt.Sprintf("a-%d-%d", limit, round), fmt.Sprintf("%s-n%d-%03d", stem, limit, 999-round)} // of those behind a place, only the first is behind it
					if round < 5 {
						names = append(names, fmt.Sprintf("zz-%d-%d", limit, round))
					}
					for _, name := range names {
						must(list.make(name))
						if round%2 == 0 && !strings.HasPrefix(name, "zz") {
							must(list.remove(name))
						}
					}
					if strings.HasSuffix(last, "-goes") { // what the cursor names goes
						must(list.remove(last))
					}
					if round > 300 {
						t.Fatal("it has no end")
					}
				}
				for i := range got {
					if slices.Contains(got[:i], got[i]) {
						t.Errorf("%s is there twice", got[i])
					}
				}
				kept := slices.DeleteFunc(got, func(name string) bool { return !slices.Contains(stay, name) })
				if diff := cmp.Diff(stay, kept); diff != "" {
					t.Errorf("%d at a time (-want +got):\n%s", limit, diff)
				}
			}
		})
	}
	for _, cursor := range []string{"x", "....", "%00"} {
		_, err := l.Scopes(ctx, admin.ListQuery{Cursor: cursor})
		wantCode(t, err, keybearer.Invalid)
	}
}

func namesOf[T any](items []T, name func(T) string) (out []string) {
	for _, item := range items {
		out = append(out, name(item))
	}
	return out
}

func TestUsageThroughTheClient(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	c := l.docs()
	l.uses(ctx, c, 3)
	a, err := l.Activity(ctx, "", time.Time{}, c.ID, c.ID, "crd_x")
	if err != nil || len(a.Scopes) != 1 || a.Scopes[0] != (admin.ScopeActivity{Scope: "docs", Uses: 3, Refused: 1}) || len(a.Credentials) != 1 || a.Credentials[0].ID != c.ID ||
		!slices.Equal(a.Refusals, []admin.RefusalCount{{Code: keybearer.MethodNotAllowed, Count: 1}}) || !a.Whole || !a.Counted {
		t.Fatalf("%+v, %v", a, err)
	}
	if a, err = l.Activity(ctx, "global", time.Time{}); err != nil || len(a.Hours) != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	n, err := l.Attention(ctx)
	if err != nil || n.Unused.Total != 0 || n.Unused.Credentials == nil || !n.Counted {
		t.Fatalf("%+v, %v", n, err)
	}
	if _, err := l.DisableCredential(ctx, crm); err != nil {
		t.Fatal(err)
	}
	if n, err = l.Attention(ctx); err != nil || n.Disabled.Total != 1 || n.Disabled.Credentials[0].ID != c.ID {
		t.Fatalf("%+v, %v", n, err)
	}
	u, err := l.Usage(ctx, crm, c.CreatedAt)
	if err != nil || u.Usage.Count != 3 || len(u.Hours) != 1 {
		t.Fatalf("%+v, %v", u, err)
	}
}

// uses records so many uses, and a refusal.
func (l *lab) uses(ctx context.Context, c admin.Credential, n int) {
	l.t.Helper()
	one := keybearer.UseRecord{CredentialID: c.ID, Scope: c.Scope, Caller: "app", Host: "h:443", Status: 200, At: c.CreatedAt}
	list := slices.Repeat([]keybearer.UseRecord{one}, n)
	one.Refused, one.Code = true, keybearer.MethodNotAllowed
	if err := l.store.RecordUses(ctx, append(list, one), keybearer.Checkpoint{}); err != nil {
		l.t.Fatal(err)
	}
}
