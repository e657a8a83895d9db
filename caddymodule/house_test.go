package caddymodule

import (
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/admin"
	"github.com/keybearer/keybearer/internal/custody"
)

const (
	newParts    = "\n keyring local {env.STAND}/kb/new.key\n store sqlite {env.STAND}/kb/new.db"
	formerParts = "\n former_keyring local\n former_store sqlite"
)

// Reloads bring the new parts in and take the old ones out, the old ones open all the time in between.
func TestReloadsAroundAMove(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	s.works(s.proxy())
	s.mustLoad(basics+newParts+formerParts, site)
	s.works(s.proxy())
	ctx := t.Context()
	if _, err := s.admin().MoveKey(ctx, "docs"); err != nil {
		t.Fatal(err)
	}
	s.works(s.proxy())
	m, err := s.admin().MoveStore(ctx)
	if err != nil || m.Phase != custody.Done || m.Total == 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	s.works(s.proxy())
	keys, err := s.admin().KeyMigration(ctx)
	if err != nil || !keys.Done || len(keys.Scopes) != 1 {
		t.Errorf("%+v, %v", keys, err)
	}
	s.mustLoad(basics+newParts+formerParts+"\n keep_previous 1h", site) // another core over the same two
	s.works(s.proxy())
	s.mustLoad(basics+newParts, site)
	s.works(s.proxy())
	if m, err := s.admin().StoreMigration(ctx); err != nil || m != (admin.StoreMigration{}) {
		t.Errorf("%+v, %v", m, err)
	}
	if err := s.load(basics, site); err == nil || !strings.Contains(err.Error(), "the records of this store have moved") {
		t.Errorf("back to the old parts: %v", err)
	}
	s.works(s.proxy())
}

// A scope that is half-way needs both keyrings.
func TestTheFormerKeyringIsNotTakenAwayTooEarly(t *testing.T) {
	s := newStand(t)
	s.mustLoad(basics, site)
	s.furnish()
	store := current().engine.core.store
	scope, err := store.Scope(t.Context(), "docs")
	if err != nil {
		t.Fatal(err)
	}
	scope = scope.Clone()
	scope.Former = &keybearer.ScopeKey{Name: "kb-elsewhere", Generation: 9, Version: 1, Share: make([]byte, 32)}
	if _, err := store.Commit(t.Context(), keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}}}); err != nil {
		t.Fatal(err)
	}
	err = s.load(basics+"\n keep_previous 1h", site)
	if err == nil || !strings.Contains(err.Error(), "secrets of the scope docs are on the move from another keyring") {
		t.Errorf("error is %v", err)
	}
	s.works(s.proxy())
}
