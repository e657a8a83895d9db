package custody_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/custody"
)

// movingLab is a lab with a village that was made in the former keyring.
func movingLab(t *testing.T, change ...func(*custody.Config)) (*lab, village) {
	t.Helper()
	l := newLab(t)
	v := l.village()
	l.close()
	l.moving = true
	l.open(change...)
	return l, v
}

// moved checks that the scope is in the current keyring as a whole, and that nothing of its old key is left.
func (l *lab) moved(t *testing.T, v village) {
	t.Helper()
	s := l.scopeRecord("docs")
	if s.Work != nil || s.Former != nil || len(s.DoomedKeys) > 0 || s.Generation != 2 || s.Key.Generation != 2 ||
		s.Key.Name == v.scope.Key.Name || string(s.Key.Share) == string(v.scope.Key.Share) {
		t.Fatalf("%+v %+v", s, s.Key)
	}
	if _, err := l.rings[1].KeyVersion(t.Context(), s.Key.Name); err != nil {
		t.Error("the new key is not in the current keyring:", err)
	}
	for i, ring := range l.rings {
		if _, err := ring.KeyVersion(t.Context(), v.scope.Key.Name); keybearer.CodeOf(err) != keybearer.NotFound {
			t.Errorf("the old key is in keyring %d: %v", i, err)
		}
	}
	for _, c := range l.inScope(s) {
		for _, version := range []*keybearer.Version{&c.Current, c.Previous} {
			if version != nil && len(version.Sealed) > 0 && version.Generation != 2 {
				t.Errorf("%s version %d was not moved", c.Name, version.Number)
			}
		}
	}
	for _, scope := range []*keybearer.Scope{v.scope, s} {
		for id, secret := range l.openAll(scope, v.creds) {
			if secret != "" {
				t.Errorf("%s of an old backup opens", id)
			}
		}
	}
}

func TestCrashInMove(t *testing.T) {
	crashesWith(t, func(l *lab) { l.moving = true }, func(ctx context.Context, l *lab) error {
		_, err := l.MoveKey(ctx, test, "docs")
		return err
	}, func(t *testing.T, l *lab, v village, made []string, acknowledged bool) {
		s := l.scopeRecord("docs")
		creds := l.inScope(s)
		if diff := cmp.Diff(v.secrets, l.openAll(s, creds)); diff != "" {
			t.Errorf("secrets changed: %s", diff)
		}
		l.onlyKey(s, append(made, v.scope.Key.Name)...)
		if s.Generation == 1 {
			if acknowledged {
				t.Error("an acknowledged move was lost")
			}
			l.oneLine(custody.ScopeMove, 0)
			return
		}
		l.oneLine(custody.ScopeMove, 1)
		l.moved(t, v)
		for i, c := range creds { // nothing but the sealing changed
			was, now := v.creds[i].Clone(), c.Clone()
			for _, r := range []*keybearer.Credential{was, now} {
				r.Revision, r.Current.Sealed, r.Current.Generation = 0, nil, 0
				if r.Previous != nil {
					r.Previous.Sealed, r.Previous.Generation = nil, 0
				}
			}
			if diff := cmp.Diff(was, now); diff != "" {
				t.Error(diff)
			}
		}
	})
}

func TestAMovedScopeRollsBackAndRestores(t *testing.T) {
	l, v := movingLab(t)
	if _, err := l.MoveKey(t.Context(), test, "docs"); err != nil {
		t.Fatal(err)
	}
	l.moved(t, v)
	if _, err := l.RollbackCredential(t.Context(), by(root), ref("docs", "c0")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"c2", "c3"} {
		if _, err := l.RestoreCredential(t.Context(), by(root), ref("docs", name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"c0": "c0-one", "c1": "c1-one", "c2": "c2-two", "c3": "c3-one", "c4": "c4-two"} {
		if got := l.secretOf(ref("docs", name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if _, err := l.RotateKey(t.Context(), by(root), "docs"); err != nil {
		t.Error(err)
	}
}

// refusingKeyring may not open one ciphertext, as Vault answers to a role that has lost its right.
type refusingKeyring struct {
	keybearer.Keyring
	sealed []byte
	lifted atomic.Bool
}

func (k *refusingKeyring) Open(ctx context.Context, key string, sc keybearer.SealContext, sealed []byte) ([]byte, error) {
	if !k.lifted.Load() && bytes.Equal(sealed, k.sealed) {
		return nil, &keybearer.Error{Code: keybearer.KeyringUnavailable, Err: fmt.Errorf("%w: %w: 403", keybearer.ErrUnopenable, keybearer.ErrRefused)}
	}
	return k.Keyring.Open(ctx, key, sc, sealed)
}

// A right that is missing is no reason to give a secret up: the old key stays until it can be restored with.
func TestAMoveGivesNothingUpThatItMayNotOpen(t *testing.T) {
	refusing := &refusingKeyring{}
	l := newLab(t)
	v := l.village()
	tombstone := l.record(ref("docs", "c3"))
	refusing.sealed = tombstone.Current.Sealed
	l.close()
	l.moving = true
	l.open(func(cfg *custody.Config) {
		refusing.Keyring, cfg.Keyring, cfg.Wait = cfg.Keyring, refusing, 100*time.Millisecond
	})
	s, err := l.MoveKey(t.Context(), test, "docs")
	if err != nil || s.Work == nil || s.Work.Waiting != keybearer.KeyringUnavailable || l.scopeRecord("docs").Former == nil {
		t.Fatalf("%+v, work %+v, %v", s, s.Work, err)
	}
	refusing.lifted.Store(true)
	if err := l.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.moved(t, v)
	if _, err := l.RestoreCredential(t.Context(), by(root), ref("docs", "c3")); err != nil {
		t.Fatal(err)
	}
	if got := l.secretOf(ref("docs", "c3")); got != "c3-one" {
		t.Errorf("the secret is %q", got)
	}
}

// slowKeyring lets a number of secrets be sealed, and then none until it is opened.
type slowKeyring struct {
	keybearer.Keyring
	tokens chan struct{}
	open   chan struct{}
	held   chan struct{} // gets one token when somebody waits
}

func newSlow(k keybearer.Keyring, free int) *slowKeyring {
	g := &slowKeyring{k, make(chan struct{}, free), make(chan struct{}), make(chan struct{}, 1)}
	for range free {
		g.tokens <- struct{}{}
	}
	return g
}

func (g *slowKeyring) Seal(ctx context.Context, key string, sc keybearer.SealContext, plain []byte) ([]byte, error) {
	select {
	case <-g.tokens:
	case <-g.open:
	default:
		select {
		case g.held <- struct{}{}:
		default:
		}
		select {
		case <-g.open:
		case <-ctx.Done():
			return nil, keybearer.NewError(keybearer.KeyringUnavailable, "").Wrap(ctx.Err())
		}
	}
	return g.Keyring.Seal(ctx, key, sc, plain)
}

// halfway is a lab whose scope docs stands between two keyrings: some of its secrets have moved, and the server was stopped.
func halfway(t *testing.T) (*lab, village) {
	t.Helper()
	var gate *slowKeyring
	l, v := movingLab(t, func(cfg *custody.Config) {
		gate = newSlow(cfg.Keyring, 4)
		cfg.Keyring = gate
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-gate.held
		cancel() // nobody waits any more, and the work stands
	}()
	if _, err := l.MoveKey(ctx, test, "docs"); err != nil {
		t.Fatal(err)
	}
	l.close()
	var held *slowKeyring
	l.open(func(cfg *custody.Config) {
		held = newSlow(cfg.Keyring, 0)
		cfg.Keyring = held
	})
	<-held.held
	t.Cleanup(func() { close(held.open) }) // before the lab is closed
	s := l.scopeRecord("docs")
	generations := map[uint32]int{}
	for _, c := range l.inScope(s) {
		generations[c.Current.Generation]++
	}
	if s.Work == nil || s.Work.Kind != keybearer.WorkMove || s.Former == nil || generations[1] == 0 || generations[2] == 0 {
		t.Fatalf("%+v %v", s.Work, generations)
	}
	if diff := cmp.Diff(v.secrets, l.openAll(s, l.inScope(s))); diff != "" {
		t.Errorf("secrets changed: %s", diff)
	}
	return l, v
}

func TestOtherWorkDuringAMove(t *testing.T) {
	l, _ := halfway(t)
	other := l.another() // waits for no lock of the first
	defer other.Close()
	_, err := other.RotateKey(t.Context(), by(root), "docs")
	wantCode(t, err, keybearer.Conflict)
	m, err := other.KeyMigration(t.Context(), by(root))
	if err != nil || !m.Former || m.Done() {
		t.Errorf("%+v, %v", m, err)
	}
	want := map[string]custody.Place{"docs": custody.Moving, "ops": custody.Waiting}
	got := map[string]custody.Place{}
	for _, s := range m.Scopes {
		got[s.Name] = s.Place
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRegenerateEndsAMove(t *testing.T) {
	l, v := halfway(t)
	before := l.scopeRecord("docs")
	other := l.another()
	defer other.Close()
	_, err := other.RegenerateKey(t.Context(), test, "docs", custody.Regenerate{
		Confirmation: custody.Confirmation{Confirm: "docs", Expected: 5}, KeepShells: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := l.scopeRecord("docs")
	l.onlyKey(s, before.Key.Name, before.Former.Name, s.Key.Name)
	if s.Former != nil || s.Work != nil || s.Generation != 3 || len(l.inScope(s)) != 5 {
		t.Errorf("%+v", s)
	}
	for _, scope := range []*keybearer.Scope{v.scope, before, s} {
		for id, secret := range l.openAll(scope, v.creds) {
			if secret != "" {
				t.Errorf("%s opens", id)
			}
		}
	}
}

func TestDeleteEndsAMove(t *testing.T) {
	l, _ := halfway(t)
	before := l.scopeRecord("docs")
	other := l.another()
	defer other.Close()
	for _, name := range []string{"c0", "c1", "c4"} {
		if _, err := other.DeleteCredential(t.Context(), by(root), ref("docs", name), true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.DeleteScope(t.Context(), test, "docs", custody.Confirmation{Confirm: "docs", Expected: 5}); err != nil {
		t.Fatal(err)
	}
	s := l.scopeRecord("docs")
	l.onlyKey(s, before.Key.Name, before.Former.Name)
	if s.Key != nil || s.Former != nil || s.Work != nil {
		t.Errorf("%+v", s)
	}
}

func TestWhatCannotMove(t *testing.T) {
	l := newLab(t)
	l.village()
	_, err := l.MoveKey(t.Context(), by(root), "docs")
	wantCode(t, err, keybearer.Conflict) // no former keyring
	l.close()
	l.moving = true
	l.open()
	_, err = l.MoveKey(t.Context(), by(root), "bare")
	wantCode(t, err, keybearer.ScopeKeyMissing)
	for range 2 {
		_, err = l.MoveKey(t.Context(), by(root), "docs")
		if l.scopeRecord("docs").Generation != 2 {
			t.Fatal("it did not move")
		}
	}
	wantCode(t, err, keybearer.Conflict) // it is there already
	fresh := l.scope("fresh")
	_, err = l.MoveKey(t.Context(), by(root), fresh.Name)
	wantCode(t, err, keybearer.Conflict)
	if _, err := l.MoveKey(t.Context(), by(root), "ops"); err != nil {
		t.Fatal(err)
	}
	m, err := l.KeyMigration(t.Context(), by(root))
	if err != nil || !m.Done() || len(m.Scopes) != 3 {
		t.Errorf("%+v, %v", m, err)
	}
}

// A secret that does not open holds the old key until an operator has dealt with it; one of a tombstone, or a previous one, does not.
func TestASecretThatDoesNotOpenHoldsTheKey(t *testing.T) {
	for _, mend := range []string{"delete", "set anew"} {
		t.Run(mend, func(t *testing.T) {
			l, v := movingLab(t, func(cfg *custody.Config) { cfg.Wait = time.Millisecond }) // it is not going to end
			var writes []keybearer.Write
			for _, c := range v.creds {
				c = c.Clone()
				switch c.Name {
				case "c0", "c2": // live, and a tombstone
					c.Current.Sealed = slices.Concat(c.Current.Sealed[:len(c.Current.Sealed)-4], []byte("AAA="))
				case "c4":
					c.Previous.Sealed = slices.Concat(c.Previous.Sealed[:len(c.Previous.Sealed)-4], []byte("AAA="))
				default:
					continue
				}
				writes = append(writes, keybearer.Write{Credential: c})
			}
			if _, err := l.store.Commit(t.Context(), keybearer.Batch{Writes: writes}); err != nil {
				t.Fatal(err)
			}
			if _, err := l.MoveKey(t.Context(), test, "docs"); err != nil {
				t.Fatal(err)
			}
			s, err := custody.Scope{}, error(nil)
			for s.Work == nil || len(s.Work.Stuck) == 0 {
				if s, err = l.Scope(t.Context(), by(root), "docs"); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff([]string{"c0"}, s.Work.Stuck); diff != "" {
				t.Error(diff)
			}
			if _, err := l.rings[0].KeyVersion(t.Context(), v.scope.Key.Name); err != nil {
				t.Error("the old key is gone:", err)
			}
			if mend == "delete" {
				_, err = l.DeleteCredential(t.Context(), by(root), ref("docs", "c0"), true)
			} else {
				_, err = l.SetSecret(t.Context(), by(root), ref("docs", "c0"), text("anew"))
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Settled(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r := l.scopeRecord("docs"); r.Work != nil || r.Former != nil || len(r.DoomedKeys) > 0 {
				t.Errorf("%+v", r)
			}
			if _, err := l.rings[0].KeyVersion(t.Context(), v.scope.Key.Name); keybearer.CodeOf(err) != keybearer.NotFound {
				t.Error("the old key is left:", err)
			}
			_, err = l.RollbackCredential(t.Context(), by(root), ref("docs", "c4")) // its previous secret opens no more
			wantCode(t, err, keybearer.NoPreviousVersion)
			if got := l.secretOf(ref("docs", "c4")); got != "c4-two" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Two servers edit while one of them moves: what was acknowledged is there afterwards, and opens.
func TestEditsDuringAMove(t *testing.T) {
	l, _ := movingLab(t)
	other := l.another()
	defer other.Close()
	const n = 24
	last := make([]string, n)
	for i := range last {
		last[i] = "first"
		l.credential("ops", fmt.Sprintf("n%d", i), last[i], "a.example.com")
	}
	moved := make(chan error, 1)
	go func() {
		_, err := l.MoveKey(t.Context(), test, "ops")
		moved <- err
	}()
	var group sync.WaitGroup
	for i := range n {
		server := []*custody.Custody{l.Custody, other}[i%2]
		group.Go(func() {
			r, random := ref("ops", fmt.Sprintf("n%d", i)), rand.New(rand.NewPCG(uint64(i), 1))
			previous := ""
			for round := range 8 {
				var err error
				switch secret := fmt.Sprintf("%d-%d", i, round); random.IntN(4) {
				case 0, 1:
					if _, err = server.SetSecret(t.Context(), by(root), r, text(secret)); err == nil {
						last[i], previous = secret, last[i]
					}
				case 2:
					if previous == "" {
						continue
					}
					if _, err = server.RollbackCredential(t.Context(), by(root), r); err == nil {
						last[i], previous = previous, last[i]
					}
				default:
					if _, err = server.DeleteCredential(t.Context(), by(root), r, true); err == nil {
						_, err = server.RestoreCredential(t.Context(), by(root), r)
					}
				}
				if err != nil {
					t.Errorf("%s: %v", r, err)
				}
			}
		})
	}
	group.Wait()
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	if err := l.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := l.scopeRecord("ops")
	if s.Work != nil || s.Former != nil || s.Generation != 2 {
		t.Errorf("%+v", s)
	}
	for i := range last {
		if got := l.secretOf(ref("ops", fmt.Sprintf("n%d", i))); got != last[i] {
			t.Errorf("n%d is %q, want %q", i, got, last[i])
		}
	}
}

// A server without the former keyring leaves a move alone, whatever the scope holds.
func TestAServerWithoutTheFormerKeyringMovesNothing(t *testing.T) {
	l, _ := halfway(t)
	l.close()
	l.moving, l.only = false, "current.key"
	var failed atomic.Int32
	l.open(func(cfg *custody.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(writer(func() { failed.Add(1) }), nil))
	})
	for _, name := range []string{"c0", "c1", "c4"} { // only tombstones are left, which would hold up nothing
		if _, err := l.DeleteCredential(t.Context(), by(root), ref("docs", name), true); err != nil {
			t.Fatal(err)
		}
	}
	for before := failed.Load(); failed.Load() < before+3; {
		runtime.Gosched()
	}
	if s := l.scopeRecord("docs"); s.Work == nil || s.Former == nil {
		t.Errorf("%+v", s)
	}
	l.close()
	l.moving, l.only = true, ""
	l.open()
	if err := l.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"c0", "c1", "c2", "c3", "c4"} {
		if _, err := l.RestoreCredential(t.Context(), by(root), ref("docs", name)); err != nil {
			t.Fatal(err)
		}
		if got := l.secretOf(ref("docs", name)); !strings.HasPrefix(got, name) {
			t.Errorf("%s is %q", name, got)
		}
	}
}

type writer func()

func (w writer) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}

// Where others follow the store, the old key stays until they have learned that nothing needs it.
func TestTheOldKeyOutlivesWhatOthersMayNotKnowYet(t *testing.T) {
	l, v := movingLab(t, func(cfg *custody.Config) { cfg.Wait = time.Millisecond })
	l.Learn(time.Millisecond)
	if _, err := l.MoveKey(t.Context(), test, "docs"); err != nil {
		t.Fatal(err)
	}
	s := l.scopeRecord("docs")
	for s.Work != nil && s.Work.Done < s.Work.Total {
		s = l.scopeRecord("docs")
	}
	for range 20 { // the clock stands
		if _, err := l.MoveKey(t.Context(), test, "docs"); err != nil {
			t.Fatal(err)
		}
	}
	if s := l.scopeRecord("docs"); s.Work == nil || s.Former == nil {
		t.Fatalf("%+v", s)
	}
	if _, err := l.rings[0].KeyVersion(t.Context(), v.scope.Key.Name); err != nil {
		t.Error("the old key is gone:", err)
	}
	l.clock.Add(time.Millisecond)
	if err := l.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.moved(t, v)
}

func TestAMoveWaitsForOlderConfigurations(t *testing.T) {
	var asked atomic.Int32
	l, v := movingLab(t, func(cfg *custody.Config) { cfg.Quiet = func() bool { return asked.Add(1) > 3 } })
	_, err := l.MoveKey(t.Context(), by(custody.Actor{Subject: "user:ada"}), "docs")
	wantCode(t, err, keybearer.Forbidden)
	if n := asked.Load(); n != 1 {
		t.Errorf("whoever may not move it waited: %d", n)
	}
	if _, err := l.MoveKey(t.Context(), test, "docs"); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 4 {
		t.Errorf("asked %d times", n)
	}
	l.moved(t, v)
	l.cfg.Quiet = func() bool { return false }
	restless := l.another()
	defer restless.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = restless.MoveKey(ctx, test, "ops")
	wantCode(t, err, keybearer.Conflict)
	if l.scopeRecord("ops").Generation != 1 {
		t.Error("it did not wait")
	}
}
