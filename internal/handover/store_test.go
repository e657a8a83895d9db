package handover_test

import (
	"context"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/handover"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/keybearertest"
	"github.com/keybearer/keybearer/test/harness"
)

func sqlite(t *testing.T, path string) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func postgres(t *testing.T, dsn string) *sqlstore.Postgres {
	t.Helper()
	s, err := sqlstore.OpenPostgres(t.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn), Node: "a", Wait: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// kinds are those of the current store; each opens a new one.
func kinds(t *testing.T, fn func(t *testing.T, open func(*testing.T) keybearer.Store)) {
	t.Run("sqlite", func(t *testing.T) {
		fn(t, func(t *testing.T) keybearer.Store {
			return sqlite(t, filepath.Join(t.TempDir(), "new", "keybearer.db"))
		})
	})
	t.Run("postgres", func(t *testing.T) {
		server := harness.StartPostgres(t, "fsync=off")
		fn(t, func(t *testing.T) keybearer.Store { return postgres(t, server.Database(t)) })
	})
}

func both(t *testing.T, current, former keybearer.Store) *handover.Store {
	t.Helper()
	s, err := handover.OpenStore(t.Context(), handover.Config{Current: current, Former: former})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func former(t *testing.T) *sqlstore.Store {
	return sqlite(t, filepath.Join(t.TempDir(), "old", "keybearer.db"))
}

// moveAll moves everything, and fails the test when that does not end well.
func moveAll(t *testing.T, s *handover.Store) {
	t.Helper()
	<-s.Move()
	if phase, _, _, err := s.Progress(); phase != handover.Done || err != nil {
		t.Fatalf("%s: %v", phase, err)
	}
}

func alwaysOne(s keybearer.Spender) func(string) keybearer.Spender {
	return func(string) keybearer.Spender { return s }
}

func TestTwoStoresAreOneBeforeTheMove(t *testing.T) {
	keybearertest.TestStore(t, func(t *testing.T) keybearer.Store { return both(t, former(t), former(t)) })
	keybearertest.TestLedger(t, func(t *testing.T) keybearer.Ledger { return both(t, former(t), former(t)) })
	keybearertest.TestSpender(t, func(t *testing.T) func(string) keybearer.Spender { return alwaysOne(both(t, former(t), former(t))) })
}

func TestTwoStoresAreOneAfterTheMove(t *testing.T) {
	server := harness.StartPostgres(t, "fsync=off")
	moved := func(t *testing.T) *handover.Store {
		s := both(t, postgres(t, server.Database(t)), former(t))
		moveAll(t, s)
		return s
	}
	keybearertest.TestStore(t, func(t *testing.T) keybearer.Store { return moved(t) })
	keybearertest.TestLedger(t, func(t *testing.T) keybearer.Ledger { return moved(t) })
	keybearertest.TestSpender(t, func(t *testing.T) func(string) keybearer.Spender { return alwaysOne(moved(t)) })
}

func TestEverythingMovesUnderEdits(t *testing.T) {
	kinds(t, func(t *testing.T, open func(*testing.T) keybearer.Store) {
		ctx := t.Context()
		current, old := open(t), former(t)
		s := both(t, current, old)
		o := newTown(s)
		var told, highest atomic.Uint64
		defer s.Watch(func(changes []keybearer.Change) {
			told.Add(uint64(len(changes)))
			for _, c := range changes {
				if c.Seq < highest.Load() {
					t.Errorf("change %d was told after %d", c.Seq, highest.Load())
				}
				highest.Store(c.Seq)
			}
		})()
		var residents []*resident
		for n := range 3 {
			r, err := o.resident(ctx, n)
			if err != nil {
				t.Fatal(err)
			}
			residents = append(residents, r)
			for range 150 {
				if err := r.edit(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		ended := make(chan struct{})
		var group sync.WaitGroup
		var scopes []string
		for _, r := range residents {
			scopes = append(scopes, r.scope.ID)
			group.Go(func() {
				for after := 0; after < 20; { // and some more when all has moved
					if err := r.edit(ctx); err != nil {
						t.Errorf("%s: %v", r.name, err)
						return
					}
					select {
					case <-ended:
						after++
					default:
					}
				}
			})
		}
		group.Go(func() { // reads never stop
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				for _, id := range scopes {
					if _, err := s.Scope(ctx, id); err != nil {
						t.Error(err)
					}
				}
				select {
				case <-ended:
					return
				case <-tick.C:
				}
			}
		})
		used := 0
		group.Go(func() { // uses go on, and are recorded later when they cannot be now
			for {
				err := s.RecordUses(ctx, []keybearer.UseRecord{{CredentialID: "crd_x", Caller: "a", At: built}}, keybearer.Checkpoint{File: "x", Offset: int64(used)})
				if err == nil {
					used++
				} else if keybearer.CodeOf(err) != keybearer.StoreUnavailable {
					t.Error(err)
				}
				select {
				case <-ended:
					return
				default:
				}
			}
		})
		<-s.Move()
		close(ended)
		group.Wait()
		if usage, err := s.Usage(ctx, "crd_x"); err != nil || usage["crd_x"].Count != uint64(used) {
			t.Errorf("%d uses, recorded were %d; %v", usage["crd_x"].Count, used, err)
		}
		if phase, _, total, err := s.Progress(); phase != handover.Done || err != nil || total == 0 {
			t.Fatalf("%s: %d, %v", phase, total, err)
		}
		if diff := cmp.Diff(o.acknowledged(t), contents(t, s)); diff != "" {
			t.Errorf("through both (-acknowledged +found): %s", diff)
		}
		if diff := cmp.Diff(o.acknowledged(t), contents(t, current)); diff != "" {
			t.Errorf("in the current store: %s", diff)
		}
		seq, err := s.Sequence(ctx)
		if err != nil || seq != highest.Load() {
			t.Errorf("sequence %d, the last change told was %d, %v", seq, highest.Load(), err)
		}
		if _, err := s.Changes(ctx, 0, 10); keybearer.CodeOf(err) != keybearer.Stale {
			t.Error("the feed reaches back behind the move:", err)
		}

		// The former one is never written again, and of no use by itself.
		_, err = old.Commit(ctx, keybearer.Batch{Writes: []keybearer.Write{{Scope: &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: "late"}}}})
		if keybearer.CodeOf(err) != keybearer.StoreUnavailable {
			t.Error("a commit to the former store:", err)
		}
		if err := old.RecordUses(ctx, nil, keybearer.Checkpoint{File: "x"}); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
			t.Error("uses in the former store:", err)
		}
		if err := old.Alone(ctx); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
			t.Error("the former store alone:", err)
		}
		if err := sqlstore.Of(current).Alone(ctx); err != nil {
			t.Error("the current store alone:", err)
		}
		moveAll(t, s) // once more changes nothing
	})
}

func TestTheLedgerMovesToo(t *testing.T) {
	kinds(t, func(t *testing.T, open func(*testing.T) keybearer.Store) {
		ctx := t.Context()
		current, old := open(t), former(t)
		s := both(t, current, old)
		o := newTown(s)
		r, err := o.resident(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		var uses []keybearer.UseRecord
		for range 3 {
			if err := r.edit(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range r.creds {
			ids = append(ids, c.ID)
		}
		now := time.Now()
		for i := range 700 {
			uses = append(uses, keybearer.UseRecord{
				CredentialID: ids[i%len(ids)], Caller: []string{"a", "b"}[i%2], Host: "api.example.com:443", Status: 200 + 300*(i%3/2),
				Scope: "docs", Code: keybearer.AddressDenied, WouldRefuse: keybearer.MethodNotAllowed, Trial: []string{"try_a", "try_b"}[i%2],
				Refused: i%7 == 0, At: now.Add(-time.Duration(i) * time.Hour),
			})
		}
		at := keybearer.Checkpoint{File: "7-9", Offset: 4711}
		if err := s.RecordUses(ctx, uses, at); err != nil {
			t.Fatal(err)
		}
		all := func() []any {
			a, err := s.Trial(ctx, "try_a")
			if err != nil || len(a) == 0 {
				t.Fatal(a, err)
			}
			usage, err := s.Usage(ctx, ids...)
			if err != nil {
				t.Fatal(err)
			}
			out := []any{usage, a}
			since := now.Add(-60 * 24 * time.Hour)
			hours, err := s.UsageHours(ctx, since, append(ids, "", "docs")...)
			if err != nil || len(hours) != len(ids)+2 {
				t.Fatal(hours, err)
			}
			refusals, err := s.Refusals(ctx, since, "docs")
			if err != nil || len(refusals) == 0 {
				t.Fatal(refusals, err)
			}
			out = append(out, hours, refusals)
			c, err := s.Checkpoint(ctx)
			if err != nil || c != at {
				t.Errorf("%+v, %v", c, err)
			}
			return out
		}
		before := all()
		moveAll(t, s)
		if diff := cmp.Diff(before, all()); diff != "" {
			t.Error(diff)
		}
		if err := s.RecordUses(ctx, uses[:1], at); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(before, all()); diff == "" {
			t.Error("what was recorded after the move is not there")
		}
	})
}

func TestStoresThatDoNotBelongTogether(t *testing.T) {
	ctx := t.Context()
	filled := func(t *testing.T) *sqlstore.Store {
		s := former(t)
		if _, err := newTown(s).resident(ctx, 0); err != nil {
			t.Fatal(err)
		}
		return s
	}
	refused := func(t *testing.T, current, old keybearer.Store, want keybearer.Code) {
		t.Helper()
		s, err := handover.OpenStore(ctx, handover.Config{Current: current, Former: old})
		if keybearer.CodeOf(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if err == nil {
			_ = s.Close()
		} else if keybearer.AsError(err).Advice() == "" {
			t.Error("no hint:", err)
		}
	}
	t.Run("both hold records", func(t *testing.T) { refused(t, filled(t), filled(t), keybearer.Conflict) })
	t.Run("the former one has moved elsewhere", func(t *testing.T) {
		old := filled(t)
		moveAll(t, both(t, former(t), old))
		refused(t, former(t), old, keybearer.Conflict)
	})
	t.Run("the former one is empty and the other is not", func(t *testing.T) { refused(t, filled(t), former(t), keybearer.Conflict) })
	t.Run("another kind", func(t *testing.T) { refused(t, struct{ keybearer.Store }{former(t)}, filled(t), keybearer.Invalid) })
	t.Run("half of another store", func(t *testing.T) {
		half := former(t)
		transfer, err := sqlstore.NewTransfer(filled(t), half, nil)
		if err == nil {
			err = transfer.Begin(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		refused(t, half, filled(t), keybearer.Conflict)
		if err := half.Alone(ctx); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
			t.Error("alone:", err)
		}
	})
}

func TestAMoveWaitsForAuditEventsAndOlderConfigurations(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	old := former(t)
	var asked atomic.Int32
	s, err := handover.OpenStore(ctx, handover.Config{Current: former(t), Former: old, Quiet: func() bool { return asked.Add(1) > 2 }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	scope := &keybearer.Scope{ID: keybearer.NewID(keybearer.IDScope), Name: "docs"}
	_, err = s.Commit(ctx, keybearer.Batch{Writes: []keybearer.Write{{Scope: scope}}, Events: []keybearer.Event{{ID: "req_1", Time: built}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Hurry(time.Millisecond)
	<-s.Move()
	if phase, _, _, err := s.Progress(); phase != handover.Ready || keybearer.CodeOf(err) != keybearer.AuditUnavailable {
		t.Errorf("with an event that nobody delivers: %s, %v", phase, err)
	}
	if err := old.Alone(ctx); err != nil {
		t.Error("the former store is not in use any more:", err)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times whether it is quiet", n)
	}
	s.Hurry(time.Minute)
	ended := s.Move()
	pending, err := s.Events(ctx, 10)
	if err != nil || len(pending) != 1 {
		t.Fatal(pending, err)
	}
	if err := s.Delivered(ctx, pending[0].Seq); err != nil {
		t.Fatal(err)
	}
	<-ended
	if phase, _, _, err := s.Progress(); phase != handover.Done || err != nil {
		t.Fatal(phase, err)
	}
}
