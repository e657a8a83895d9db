package custody_test

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/audit"
	"github.com/keybearer/keybearer/internal/custody"
	"github.com/keybearer/keybearer/internal/handover"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/sqlstore"
)

// TestMain keeps the files in memory where it can: what a power cut does to them is the store's own test.
func TestMain(m *testing.M) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		_ = os.Setenv("TMPDIR", "/dev/shm")
	}
	os.Exit(m.Run())
}

// lab is custody over the real embedded parts, in files that survive a reopen.
type lab struct {
	*custody.Custody
	t       testing.TB
	dir     string
	clock   *clock
	cfg     custody.Config // as opened last
	store   *sqlstore.Store
	keyring keybearer.Keyring
	rings   []*localkeys.Keyring // that keyring is made of
	moving  bool                 // there is a second keyring, and the first is the former one
	only    string               // the one keyring, if not that one
	log     *audit.Log
}

// clock moves only when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// root is an instance admin, as the admin socket makes them.
var root = custody.Actor{Subject: "user:uid-0", Roles: []string{keybearer.RoleInstanceAdmin}}

func by(a custody.Actor) custody.Ask { return custody.Ask{Actor: a} }

func newLab(t testing.TB, change ...func(*custody.Config)) *lab {
	t.Helper()
	l := &lab{t: t, dir: filepath.Join(t.TempDir(), "kb"), clock: &clock{now: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}}
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.open(change...)
	t.Cleanup(l.close)
	return l
}

// open opens the parts and, over them or over what change puts in their place, custody.
func (l *lab) open(change ...func(*custody.Config)) {
	l.t.Helper()
	var err error
	if l.store, err = sqlstore.OpenSQLite(context.Background(), filepath.Join(l.dir, "kb.db")); err != nil {
		l.t.Fatal(err)
	}
	l.rings = []*localkeys.Keyring{l.ring(cmp.Or(l.only, "keyring.key"))}
	l.keyring = l.rings[0]
	var both *handover.Keyring
	if l.moving {
		l.rings = append(l.rings, l.ring("current.key"))
		both = handover.NewKeyring(handover.Part{Keyring: l.rings[1], Kind: "local"}, handover.Part{Keyring: l.rings[0], Kind: "local"})
		l.keyring = both
	}
	if l.log, err = audit.OpenFile(l.auditPath(), audit.Options{}); err != nil {
		l.t.Fatal(err)
	}
	l.cfg = custody.Config{
		Store: l.store, Keyring: l.keyring, Auditor: l.log, Ledger: l.store, Now: l.clock.Now,
		Tail: func(ctx context.Context, n int, keep func(*keybearer.Event) bool) ([]keybearer.Event, error) {
			return audit.Tail(ctx, l.auditPath(), n, keep)
		},
	}
	if both != nil {
		l.cfg.Current = both.Current
	}
	for _, fn := range change {
		fn(&l.cfg)
	}
	l.Custody = l.another()
	if err := l.Resume(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) ring(name string) *localkeys.Keyring {
	l.t.Helper()
	k, err := localkeys.Open(localkeys.Config{Path: filepath.Join(l.dir, name)})
	if err != nil {
		l.t.Fatal(err)
	}
	return k
}

// another is one more custody over the same parts, as another server has it.
func (l *lab) another() *custody.Custody {
	l.t.Helper()
	c, err := custody.New(l.cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	c.Hurry(2)
	return c
}

func (l *lab) close() {
	for _, c := range []interface{ Close() error }{l.Custody, l.log, l.store} {
		if err := c.Close(); err != nil {
			l.t.Error(err)
		}
	}
	for _, k := range l.rings {
		if err := k.Close(); err != nil {
			l.t.Error(err)
		}
	}
}

func (l *lab) auditPath() string { return filepath.Join(l.dir, "audit.jsonl") }

// lines are the audit events of changes and refusals so far.
func (l *lab) lines(keep func(*keybearer.Event) bool) []keybearer.Event {
	l.t.Helper()
	if err := l.log.Record(context.Background(), &keybearer.Event{ID: "flush", Kind: "flush"}); err != nil { // behind all that was posted
		l.t.Fatal(err)
	}
	events, err := audit.Tail(context.Background(), l.auditPath(), 1_000_000, func(e *keybearer.Event) bool { return e.Kind != "flush" && keep(e) })
	if err != nil {
		l.t.Fatal(err)
	}
	return events
}

func (l *lab) action(a custody.Action) []keybearer.Event {
	return l.lines(func(e *keybearer.Event) bool { return e.Action == string(a) })
}

// scope makes a scope with a key.
func (l *lab) scope(name string) custody.Scope {
	l.t.Helper()
	if _, err := l.CreateScope(l.t.Context(), by(root), name, ""); err != nil {
		l.t.Fatal(err)
	}
	s, err := l.GenerateKey(l.t.Context(), by(root), name)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

func text(s string) custody.Secret { return custody.Secret{Value: keybearer.NewSecret(s)} }

func bearer(name, secret string, rules ...string) custody.NewCredential {
	n := custody.NewCredential{Name: name, Kind: keybearer.Bearer, Secret: text(secret)}
	for _, r := range rules {
		n.Rules = append(n.Rules, custody.Destination{Rule: r})
	}
	return n
}

// credential makes one that root administers.
func (l *lab) credential(scope, name, secret string, rules ...string) custody.Credential {
	l.t.Helper()
	c, err := l.CreateCredential(l.t.Context(), by(root), scope, bearer(name, secret, rules...))
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

func ref(scope, name string) keybearer.Ref { return keybearer.Ref{Scope: scope, Name: name} }

// record is the credential as it is stored.
func (l *lab) record(r keybearer.Ref) *keybearer.Credential {
	l.t.Helper()
	c, err := l.store.Credential(context.Background(), r)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

func (l *lab) scopeRecord(name string) *keybearer.Scope {
	l.t.Helper()
	s, err := l.store.Scope(context.Background(), name)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// opened is a sealed version, opened as the data path does it.
func (l *lab) opened(s *keybearer.Scope, credentialID string, v *keybearer.Version) (*keybearer.Bundle, error) {
	key := s.KeyOf(v.Generation)
	if key == nil {
		key = s.Key // it is not to open with this one
	}
	if key == nil {
		return nil, keybearer.NewError(keybearer.ScopeKeyMissing, "")
	}
	sc, err := keybearer.NewSealContext(s.ID, v.Generation, credentialID, v.Number, key.Share)
	if err != nil {
		return nil, err
	}
	p, err := l.keyring.Open(context.Background(), key.Name, sc, v.Sealed)
	if err != nil {
		return nil, err
	}
	return keybearer.DecodeBundle(p)
}

// secretOf is the current secret of a credential.
func (l *lab) secretOf(r keybearer.Ref) string {
	l.t.Helper()
	c := l.record(r)
	b, err := l.opened(l.scopeRecord(c.ScopeID), c.ID, &c.Current)
	if err != nil {
		l.t.Fatalf("%s does not open: %v", r, err)
	}
	return b.Secret.Reveal()
}

// benchLab is a lab whose steps are as large as in earnest.
func benchLab(b *testing.B) *lab {
	l := newLab(b)
	l.Hurry(200)
	return l
}

func wantCode(t *testing.T, err error, want keybearer.Code) {
	t.Helper()
	if got := keybearer.CodeOf(err); got != want {
		t.Fatalf("got code %q (%v), want %q", got, err, want)
	}
}

// dump is everything that the store holds of a scope, byte for byte.
func (l *lab) dump(scope string) string {
	l.t.Helper()
	s := l.scopeRecord(scope)
	all := []any{s, s.Revision}
	q := keybearer.Query{ScopeID: s.ID, Deleted: true, AfterID: "0", Limit: 1000}
	page, err := l.store.Credentials(context.Background(), q)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, c := range page.Items {
		all = append(all, c, c.Revision)
	}
	b, err := json.Marshal(all)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(b)
}
