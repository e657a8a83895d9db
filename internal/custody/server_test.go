package custody_test

import (
	"context"
	"slices"
	"testing"
	"time"

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

// undying is a keyring that destroys nothing for now.
type undying struct{ keybearer.Keyring }

func (undying) DestroyKey(context.Context, string) error {
	return keybearer.NewError(keybearer.KeyringUnavailable, "")
}

// The last step of a move is to destroy the old key. A server that does not have the former keyring must not take it for done.
func TestAServerWithoutTheFormerKeyringLeavesItsKeysToOthers(t *testing.T) {
	for name, regenerate := range map[string]bool{"after the move": false, "after a regenerate": true} {
		t.Run(name, func(t *testing.T) {
			l, v := movingLab(t, func(cfg *custody.Config) { cfg.Keyring, cfg.Wait = undying{cfg.Keyring}, 200*time.Millisecond })
			if _, err := l.MoveKey(t.Context(), test, "docs"); err != nil {
				t.Fatal(err)
			}
			l.close()
			l.moving = false
			current := l.ring("current.key")
			l.open(func(cfg *custody.Config) { cfg.Keyring = current })
			if regenerate {
				confirm := custody.Confirmation{Confirm: "docs", Expected: 5}
				if _, err := l.RegenerateKey(t.Context(), by(root), "docs", custody.Regenerate{Confirmation: confirm}); err != nil {
					t.Fatal(err)
				}
				l.create("docs", "new")
			}
			for range 3 { // looks
				if _, err := l.RotateKey(t.Context(), by(root), "docs"); err != nil {
					t.Fatal(err)
				}
			}
			if s := l.scopeRecord("docs"); s.Work != nil || len(s.DoomedKeys) != 1 {
				t.Errorf("work %+v, doomed %v; want the one key of the former keyring", s.Work, s.DoomedKeys)
			}
			parts, err := l.Status(t.Context(), by(root))
			if err != nil || !slices.ContainsFunc(parts, func(p custody.Part) bool { return p.Name == "former key of scope docs" && p.Warn && p.Err != nil }) {
				t.Errorf("nobody is told: %+v, %v", parts, err)
			}
			l.close()
			if err := current.Close(); err != nil {
				t.Fatal(err)
			}
			l.moving = true
			l.open()
			if err := l.Settled(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := l.rings[0].KeyVersion(t.Context(), v.scope.Key.Name); keybearer.CodeOf(err) != keybearer.NotFound {
				t.Errorf("the old key is still there: %v", err)
			}
			if s := l.scopeRecord("docs"); len(s.DoomedKeys) != 0 {
				t.Errorf("doomed %v", s.DoomedKeys)
			}
		})
	}
}
