package caddymodule

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/localkeys"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/test/harness"
)

// A keyring is asked with the rights that it has: one that only opens, too. The question never counts as an operation.
func TestEveryKeyringCanBeAskedWhetherItAnswers(t *testing.T) {
	v := harness.StartVault(t, harness.VaultOptions{})
	data, control := v.Transit(t, "boxes")
	transit := func(roles string) keybearer.Keyring {
		t.Helper()
		m := new(VaultTransit)
		text := "vault_transit {\naddress " + v.URL + "\nmount boxes\nauth approle {\nrole_id " + data.RoleID + "\nsecret_id_file " + data.SecretIDFile + "\n}\n" + roles + "}"
		if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
			t.Fatal(err)
		}
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		k, err := m.OpenKeyring(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = k.Close() })
		return k
	}
	local, err := localkeys.Open(localkeys.Config{Path: filepath.Join(t.TempDir(), "keyring.key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	opens := transit("")
	if o, ok := opens.(keybearer.OpenOnly); !ok || !o.OpenOnly() {
		t.Fatal("a keyring without the control role can do more than open")
	}
	whole := transit("control {\nauth approle {\nrole_id " + control.RoleID + "\nsecret_id_file " + control.SecretIDFile + "\n}\n}\n")
	for name, k := range map[string]keybearer.Keyring{"local": local, "transit": whole, "transit that only opens": opens} {
		if err := (&core{bare: k}).askKeyring(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Requests need what the data role may, and nothing of the control role.
	v.Policy(t, "boxes-control", `path "boxes/keys/+" { capabilities = ["deny"] }`)
	if err := (&core{bare: whole}).askKeyring(t.Context()); err != nil {
		t.Errorf("without the right to keep keys: %v", err)
	}
	v.Policy(t, "boxes-data", `path "boxes/decrypt/+" { capabilities = ["deny"] }`)
	for name, k := range map[string]keybearer.Keyring{"transit": whole, "transit that only opens": opens} {
		if err := (&core{bare: k}).askKeyring(t.Context()); !errors.Is(err, keybearer.ErrRefused) {
			t.Errorf("%s may open nothing: %v", name, err)
		}
	}
	v.Stop(t)
	for name, k := range map[string]keybearer.Keyring{"transit": whole, "transit that only opens": opens} {
		harness.Await(t, name+" is away", 20*time.Second, func() error {
			if err := (&core{bare: k}).askKeyring(t.Context()); keybearer.CodeOf(err) == keybearer.KeyringUnavailable {
				return nil
			}
			return errStillThere
		})
	}
}

var errStillThere = keybearer.NewError(keybearer.Internal, "it answers")

// deafStore answers, and does not hear what others change in it.
type deafStore struct {
	keybearer.Store
	heard time.Time
}

func (s *deafStore) Current() time.Time { return s.heard }

// Records whose changes are not heard of are refused before long, so that must not look well.
func TestAStoreThatIsNotFollowedDoesNotWork(t *testing.T) {
	store, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	for heard, want := range map[time.Duration]keybearer.Code{0: "", behind / 2: "", 2 * behind: keybearer.StoreUnavailable} {
		c := &core{store: &deafStore{store, time.Now().Add(-heard)}}
		if err := c.askStore(t.Context()); keybearer.CodeOf(err) != want {
			t.Errorf("heard of changes %v ago: %v", heard, err)
		}
	}
	if err := (&core{store: store}).askStore(t.Context()); err != nil {
		t.Errorf("a store of one process: %v", err)
	}
}

// How long a server whose keyring does not open is well enough to be asked is how long the request path serves what it opened before.
func TestTheKeyringsGraceIsThatOfOpenedSecrets(t *testing.T) {
	away := keybearer.NewError(keybearer.KeyringUnavailable, "")
	refuses := keybearer.NewError(keybearer.KeyringUnavailable, "").Wrap(keybearer.ErrUnopenable)
	of := func(d time.Duration) *caddy.Duration { return new(caddy.Duration(d)) }
	for _, c := range []struct {
		what       string
		ttl, stale *caddy.Duration
		err        error
		want       time.Duration
	}{
		{"away, by default", nil, nil, away, 15 * time.Minute},
		{"away, and secrets serve their own time at least", nil, of(0), away, 5 * time.Minute},
		{"away, and nothing is kept", of(0), of(0), away, 0},
		{"away, and nothing is kept but while it is", of(0), of(time.Minute), away, time.Minute},
		{"it answers, and refuses", nil, nil, refuses, 5 * time.Minute},
		{"it answers, and nothing is kept", of(0), nil, refuses, 0},
	} {
		if got := (&App{SecretTTL: c.ttl, KeyringMaxStale: c.stale}).keyringGrace(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
