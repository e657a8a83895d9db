package custody_test

import (
	"context"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

func TestScopeLifecycle(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	if s, err := l.Scope(ctx, by(root), keybearer.GlobalScope); err != nil || s.Key != nil {
		t.Fatalf("global: %+v, %v; want it there without a key", s, err)
	}
	s, err := l.CreateScope(ctx, by(root), "docs", "papers")
	if err != nil || s.Name != "docs" || s.Description != "papers" || s.Key != nil || s.Revision == 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	_, err = l.CreateScope(ctx, by(root), "docs", "")
	wantCode(t, err, keybearer.AlreadyExists)
	for _, bad := range []string{"", "Docs", "-docs", "do_cs", "a.b", "x/y", "scp_aaaaaaaaaaaaaaaaaaaaaaaaaa"} {
		_, err := l.CreateScope(ctx, by(root), bad, "")
		wantCode(t, err, keybearer.Invalid)
	}
	_, err = l.CreateCredential(ctx, by(root), "docs", bearer("crm", "s3cret"))
	wantCode(t, err, keybearer.ScopeKeyMissing)
	_, err = l.RotateKey(ctx, by(root), "docs")
	wantCode(t, err, keybearer.ScopeKeyMissing)

	s, err = l.GenerateKey(ctx, by(root), "docs")
	if err != nil || s.Key == nil || s.Key.Generation != 1 || s.Key.Version != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	_, err = l.GenerateKey(ctx, by(root), "docs")
	wantCode(t, err, keybearer.ScopeKeyExists)

	other := "other words"
	if s, err = l.EditScope(ctx, by(root), s.ID, &other); err != nil || s.Description != other {
		t.Fatalf("%+v, %v", s, err)
	}
	page, err := l.Scopes(ctx, by(root), keybearer.Query{})
	if err != nil || len(page.Items) != 2 || page.Items[0].Name != "docs" || page.Items[1].Name != "global" {
		t.Fatalf("%+v, %v", page, err)
	}
	admin := custody.Actor{Subject: "user:ada", Roles: []string{keybearer.RoleScopeAdmin + s.ID}}
	if page, err = l.Scopes(ctx, by(admin), keybearer.Query{}); err != nil || len(page.Items) != 1 || page.Items[0].Name != "docs" {
		t.Fatalf("a scope admin sees %+v, %v", page, err)
	}
}

func TestDeleteScope(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	l.scope("docs")
	c := l.credential("docs", "crm", "s3cret", "api.example.com")
	old, key := l.record(ref("docs", "crm")), l.scopeRecord("docs").Key
	none := custody.Confirmation{Confirm: "docs"}
	_, err := l.DeleteScope(ctx, by(root), "docs", none)
	wantCode(t, err, keybearer.ScopeNotEmpty)
	if _, err := l.DeleteCredential(ctx, by(root), ref("docs", "crm"), false); err != nil {
		t.Fatal(err)
	}
	_, err = l.DeleteScope(ctx, by(root), "docs", none)
	wantCode(t, err, keybearer.CountMismatch)
	_, err = l.DeleteScope(ctx, by(root), "docs", custody.Confirmation{Confirm: "doc", Expected: 1})
	wantCode(t, err, keybearer.ConfirmationRequired)
	_, err = l.DeleteScope(ctx, by(root), keybearer.GlobalScope, custody.Confirmation{Confirm: "global"})
	wantCode(t, err, keybearer.Conflict)

	s, err := l.DeleteScope(ctx, by(root), "docs", custody.Confirmation{Confirm: "docs", Expected: 1})
	if err != nil || s.DeletedAt.IsZero() || s.Work != nil || s.Key != nil {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := l.keyring.KeyVersion(ctx, key.Name); keybearer.CodeOf(err) != keybearer.NotFound {
		t.Fatalf("the key is still there: %v", err)
	}
	if _, err := l.opened(&keybearer.Scope{ID: c.ScopeID, Key: key}, old.ID, &old.Current); err == nil {
		t.Fatal("a secret of the deleted scope opens")
	}
	_, err = l.Credential(ctx, by(root), ref("docs", "crm"))
	wantCode(t, err, keybearer.NotFound)
	_, err = l.CreateScope(ctx, by(root), "docs", "")
	wantCode(t, err, keybearer.AlreadyExists)
	_, err = l.GenerateKey(ctx, by(root), "docs")
	wantCode(t, err, keybearer.NotFound)
}

func TestRevision(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	s := l.scope("docs")
	words := "words"
	_, err := l.EditScope(ctx, custody.Ask{Actor: root, Revision: s.Revision - 1}, "docs", &words)
	wantCode(t, err, keybearer.Stale)
	if s, err = l.EditScope(ctx, custody.Ask{Actor: root, Revision: s.Revision}, "docs", &words); err != nil {
		t.Fatal(err)
	}
	c := l.credential("docs", "crm", "s3cret", "api.example.com")
	_, err = l.SetSecret(ctx, custody.Ask{Actor: root, Revision: c.Revision + 1}, ref("docs", "crm"), text("other"))
	wantCode(t, err, keybearer.Stale)
	if got := l.secretOf(ref("docs", "crm")); got != "s3cret" {
		t.Fatalf("a stale change was made: %q", got)
	}
	if c, err = l.SetSecret(ctx, custody.Ask{Actor: root, Revision: c.Revision}, ref("docs", "crm"), text("other")); err != nil || c.Version != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	if r := l.record(ref("docs", "crm")).Revision; r != c.Revision {
		t.Fatalf("answered revision %d, stored %d", c.Revision, r)
	}
}

// touchy has another server change the scope just before its next commit.
type touchy struct {
	keybearer.Store
	scope string
}

func (s *touchy) Commit(ctx context.Context, b keybearer.Batch) (uint64, error) {
	if name := s.scope; name != "" {
		s.scope = ""
		r, err := s.Store.Scope(ctx, name)
		if err == nil {
			_, err = s.Store.Commit(ctx, keybearer.Batch{Writes: []keybearer.Write{{Scope: r}}})
		}
		if err != nil {
			return 0, err
		}
	}
	return s.Store.Commit(ctx, b)
}

// What others do to the scope meanwhile does not make the credential's revision a wrong one.
func TestRevisionIsTheRecordsOwn(t *testing.T) {
	store := new(touchy)
	l := newLab(t, func(c *custody.Config) { store.Store, c.Store = c.Store, store })
	ctx := t.Context()
	l.scope("docs")
	c := l.credential("docs", "crm", "one")
	store.scope = "docs"
	c, err := l.SetSecret(ctx, custody.Ask{Actor: root, Revision: c.Revision}, crm, text("two"))
	if err != nil || l.secretOf(crm) != "two" || c.Version != 2 {
		t.Fatal(err)
	}
	s, err := l.Scope(ctx, by(root), "docs")
	if err != nil {
		t.Fatal(err)
	}
	store.scope = "docs"
	_, err = l.EditScope(ctx, custody.Ask{Actor: root, Revision: s.Revision}, "docs", new("words"))
	wantCode(t, err, keybearer.Stale)
}
