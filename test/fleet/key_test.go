package fleet

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// TestRotationUnderLoadDropsNothing: 10,000 credentials are rewrapped while 2,000 requests a second use some hundred of them.
func TestRotationUnderLoadDropsNothing(t *testing.T) {
	const credentials, inUse, rate = 10_000, 300, 2000
	f := newFleet(t, plan{})
	f.billing(1)
	names := f.stock(t, credentials)[:inUse]
	store := f.open()
	for _, name := range names { // into the memory of each
		for _, n := range f.nodes {
			n.serves(name, "")
		}
	}
	l := f.load(rate, f.nodes, names...)
	f.pass(l, time.Second)
	began := l.now()
	scope, err := f.nodes[0].api.RotateKey(t.Context(), "docs")
	if err != nil {
		t.Fatal(err)
	}
	for scope.Work != nil {
		f.pass(l, 50*time.Millisecond)
		scope = must(f.nodes[1].api.Scope(t.Context(), "docs"))(t)
		if l.now()-began > 5*time.Minute {
			t.Fatalf("not done: %+v", scope.Work)
		}
	}
	took := l.now() - began
	f.pass(l, time.Second)
	seen := l.stop()
	if lost := seen.failed(); len(lost) > 0 {
		t.Errorf("%d of %d requests were lost: %s", len(lost), len(seen), lost.codes())
	}
	if sent := float64(len(seen)) / l.now().Seconds(); sent < 0.9*rate {
		t.Errorf("only %.0f requests a second were sent", sent)
	}
	for _, c := range stored(t, store, "docs") {
		if !bytes.HasPrefix(c.Current.Sealed, []byte("vault:v2:")) {
			t.Fatalf("%s is sealed %.9s after the rotation", c.Name, c.Current.Sealed)
		}
	}
	report(t, "a rotation of 10,000 credentials", fmt.Sprintf("done after %v under %d requests a second on three nodes: %d requests, none lost, half answered within %v, 99 %% within %v",
		took.Round(100*time.Millisecond), rate, len(seen), millis(seen.quantile(0.5)), millis(seen.quantile(0.99))))
}

// TestAfterARegenerateNothingThatVaultHasOpensTheOld: neither what lies in the database now nor what a dump from before has, with any key that
// is left, not even for who may do everything in Vault; and no other scope is touched.
func TestAfterARegenerateNothingThatVaultHasOpensTheOld(t *testing.T) {
	f := newFleet(t, plan{})
	f.billing(20)
	ctx, api := t.Context(), f.nodes[0].api
	must(api.CreateScope(ctx, admin.NewScope{Name: "other"}))(t)
	must(api.GenerateKey(ctx, "other"))(t)
	must(api.BindCaller(ctx, "billing", "other"))(t)
	for i := range 5 {
		f.credential(fmt.Sprintf("other/o%d", i))
	}
	must(api.SetSecret(ctx, keybearer.Ref{Scope: "docs", Name: "c0"}, admin.SecretInput{Secret: admin.NewPlaintext("a second one")}))(t) // c0 has a previous version, too
	must(api.DeleteCredential(ctx, keybearer.Ref{Scope: "docs", Name: "c1"}, true))(t)                                                   // and c1 is a tombstone
	store := f.open()
	before := stored(t, store, "other")
	otherScope := must(store.Scope(ctx, "other"))(t)

	dump := f.pg.Dump(t, f.dsn)
	must(api.RegenerateKey(ctx, "docs", admin.Regenerate{Confirmation: admin.Confirmation{Confirm: "docs", ExpectedCredentials: 20}}))(t)
	harness.Await(t, "the regenerate is done", 20*time.Second, func() error {
		if s := must(api.Scope(ctx, "docs"))(t); s.Work != nil {
			return fmt.Errorf("%+v", s.Work)
		}
		return nil
	})
	f.allow("docs/c2") // it must never arrive again
	for _, n := range f.nodes {
		if _, err := n.until("docs/c2", keybearer.CredentialForbidden, holdsWithin); err != nil {
			t.Error(err)
		}
	}

	// The backup, with the old shares and all, on a server of its own.
	backup := f.pg.Database(t)
	f.pg.Restore(t, backup, dump)
	old, err := sqlstore.OpenPostgres(ctx, sqlstore.PostgresConfig{DSN: keybearer.NewSecret(backup), Node: "old"})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	scope := must(old.Scope(ctx, "docs"))(t)
	var keys struct{ Data struct{ Keys []string } }
	f.vault.Do(t, "LIST", "keybearer/keys", nil).Decode(t, &keys)
	if len(keys.Data.Keys) != 2 { // of other, and the new one of docs
		t.Fatalf("Vault has the keys %v", keys.Data.Keys)
	}
	tried := 0
	opens := func(key string, s *keybearer.Scope, c *keybearer.Credential, v *keybearer.Version) bool {
		sc, err := keybearer.NewSealContext(s.ID, v.Generation, c.ID, v.Number, s.Key.Share)
		if err != nil {
			t.Fatal(err)
		}
		tried++
		a := f.vault.Do(t, "POST", "keybearer/decrypt/"+key, map[string]any{
			"ciphertext": string(v.Sealed), "context": base64.StdEncoding.EncodeToString(sc[:]),
		})
		if a.Status != http.StatusOK && a.Status != http.StatusBadRequest {
			t.Fatalf("Vault answers %d %s", a.Status, a.Body)
		}
		return a.Status == http.StatusOK
	}
	sealed := 0
	for _, c := range stored(t, old, "docs") {
		for _, v := range []*keybearer.Version{&c.Current, c.Previous} {
			if v == nil || len(v.Sealed) == 0 {
				continue
			}
			sealed++
			for _, key := range append(keys.Data.Keys, scope.Key.Name) {
				if opens(key, scope, c, v) {
					t.Errorf("%s opens with the key %s", c.Name, key)
				}
			}
		}
	}
	if sealed != 21 {
		t.Errorf("the dump has %d sealed secrets, want 21", sealed)
	}
	if left := stored(t, store, "docs"); len(left) != 0 {
		t.Errorf("%d credentials are left in the database", len(left))
	}
	for _, c := range before { // the same question, asked of what must open: the test can tell
		if !opens(otherScope.Key.Name, otherScope, c, &c.Current) {
			t.Errorf("other/%s does not open any more", c.Name)
		}
	}
	if diff := cmp.Diff(before, stored(t, store, "other")); diff != "" {
		t.Errorf("another scope has changed (-before +after):\n%s", diff)
	}
	f.ready("other/o0")
	report(t, "a regenerate, and a dump from before it", fmt.Sprintf("%d secrets, %d attempts with every key that Vault has and every right: none opens; the other scope is the same to the byte", sealed, tried-len(before)))
}
