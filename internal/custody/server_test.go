package custody_test

import (
	"context"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// betweenStore does something before the first commit, as another server may.
type betweenStore struct {
	keybearer.Store
	do func()
}

func (s *betweenStore) Commit(ctx context.Context, b keybearer.Batch) (uint64, error) {
	if do := s.do; do != nil {
		s.do = nil
		do()
	}
	return s.Store.Commit(ctx, b)
}

// What was restored must not die with the tombstones of a scope that another server deletes at the same moment.
func TestARestoreAndADeleteOfTheScopeDoNotBothSucceed(t *testing.T) {
	l := newLab(t)
	l.scope("docs")
	l.create("docs", "crm")
	if _, err := l.DeleteCredential(t.Context(), by(root), ref("docs", "crm"), true); err != nil {
		t.Fatal(err)
	}
	deleting := l.cfg
	deleting.Keyring = openOnly{l.cfg.Keyring} // it notes the work and leaves it
	other, err := custody.New(deleting)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	l.cfg.Store = &betweenStore{l.store, func() {
		if _, err := other.DeleteScope(t.Context(), by(root), "docs", custody.Confirmation{Confirm: "docs", Expected: 1}); err != nil {
			t.Error(err)
		}
	}}
	restoring := l.another()
	defer restoring.Close()
	_, err = restoring.RestoreCredential(t.Context(), by(root), ref("docs", "crm"))
	wantCode(t, err, keybearer.NotFound)
}

// A key may have been rotated in the keyring, past Keybearer. Whoever asks for a rotation then gets one all the same.
func TestRotateMakesAVersionThoughTheKeyringHasANewerOneThanTheScopeKnows(t *testing.T) {
	l := newLab(t)
	l.scope("docs")
	l.create("docs", "crm")
	key := l.scopeRecord("docs").Key.Name
	if _, err := l.keyring.RotateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	s, err := l.RotateKey(t.Context(), by(root), "docs")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := l.keyring.KeyVersion(t.Context(), key); err != nil || got != 3 || s.Key.Version != 3 {
		t.Fatalf("the keyring has version %d, %v, and the scope %d; want 3", got, err, s.Key.Version)
	}
	if got := l.secretOf(ref("docs", "crm")); got != "s3cret" {
		t.Errorf("the secret is %q", got)
	}
}
