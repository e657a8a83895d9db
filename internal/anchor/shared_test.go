package anchor_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/anchor"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/internal/vaultclient"
	"github.com/keybearer/keybearer/internal/vaultkv"
	"github.com/keybearer/keybearer/test/harness"
)

// shared is a store that several processes share, and its backups.
type shared struct {
	open   func(t *testing.T, node string) keybearer.Store
	backup func(t *testing.T) (restore func(t *testing.T))
}

func onPostgres(t *testing.T) shared {
	server := harness.StartPostgres(t, "fsync=off")
	dsn := server.Database(t)
	return shared{
		open: func(t *testing.T, node string) keybearer.Store {
			return must(sqlstore.OpenPostgres(t.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(dsn), Node: node}))(t)
		},
		backup: func(t *testing.T) func(t *testing.T) {
			dump := server.Dump(t, dsn)
			return func(t *testing.T) { server.Restore(t, dsn, dump) }
		},
	}
}

func onVault(t *testing.T) shared {
	server := harness.StartVault(t, harness.VaultOptions{})
	server.Mount(t, "secret", "kv-v2")
	server.Policy(t, "all", `path "secret/*" { capabilities = ["create", "read", "update", "delete", "list"] }`)
	role := server.AppRole(t, "keybearer", nil, "all")
	harness.Await(t, "the KV engine is ready", 10*time.Second, func() error {
		if a := server.Do(t, "PUT", "secret/data/elsewhere", map[string]any{"data": map[string]any{"a": "1"}}); a.Status != 200 {
			return fmt.Errorf("%s", a.Body)
		}
		return nil
	})
	return shared{
		open: func(t *testing.T, node string) keybearer.Store {
			client := must(vaultclient.New(vaultclient.Config{Address: server.URL, Auth: &vaultclient.AppRole{RoleID: role.RoleID, SecretIDFile: role.SecretIDFile}}))(t)
			return must(vaultkv.Open(t.Context(), vaultkv.Config{Client: client, Node: node}))(t)
		},
		backup: func(t *testing.T) func(t *testing.T) {
			var list struct{ Data struct{ Keys []string } }
			server.Must(t, "LIST", "secret/metadata/keybearer", nil).Decode(t, &list)
			kept := map[string]any{}
			for _, name := range list.Data.Keys {
				kept[name] = server.Must(t, "GET", "secret/data/keybearer/"+name, nil).Data(t)["data"]
			}
			return func(t *testing.T) {
				for name, data := range kept {
					if name != "index" {
						server.Must(t, "PUT", "secret/data/keybearer/"+name, map[string]any{"data": data})
					}
				}
				now := server.Must(t, "GET", "secret/data/keybearer/index", nil).Data(t)["metadata"].(map[string]any)["version"]
				server.Must(t, "PUT", "secret/data/keybearer/index", map[string]any{"data": kept["index"], "options": map[string]any{"cas": now}})
			}
		},
	}
}

// A backup that is restored under two running servers: no one who follows the store hears that all is to be read again before the anchor has refused it,
// nothing is committed, and it stays refused, on each server, until the loss is accepted there.
func TestASharedStoreThatIsRestoredWhileItIsServedFrom(t *testing.T) {
	for name, start := range map[string]func(*testing.T) shared{"postgres": onPostgres, "vault_kv": onVault} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := start(t)
			type node struct {
				keybearer.Store
				*anchor.Anchor
				ear  *listener
				path string
			}
			nodes := make([]*node, 2)
			for i := range nodes {
				n := &node{Store: store.open(t, fmt.Sprint("n", i)), path: filepath.Join(t.TempDir(), "anchor")}
				n.Anchor = must(anchor.Open(t.Context(), anchor.Config{Path: n.path, Place: "here", Kind: name, Store: n.Store}))(t)
				n.ear = &listener{a: n.Anchor}
				n.Watch(n.ear.told)
				t.Cleanup(func() {
					if err := n.Anchor.Close(); err != nil {
						t.Error(err)
					}
					if err := n.Store.Close(); err != nil {
						t.Error(err)
					}
				})
				nodes[i] = n
			}
			a, b := nodes[0], nodes[1]
			everywhere := func(what string, check func(n *node) error) {
				t.Helper()
				for i, n := range nodes {
					harness.Await(t, fmt.Sprintf("node %d: %s", i, what), 15*time.Second, func() error { return check(n) })
				}
			}
			at := func(seq uint64, refused bool) func(n *node) error {
				return func(n *node) error {
					entries, err := anchor.Read(n.path)
					if err != nil || len(entries) != 1 || entries[0].Sequence != seq || entries[0].Refused != refused {
						return fmt.Errorf("the anchor is %+v, %v", entries, err)
					}
					return nil
				}
			}
			commit(t, a.Store, a.Anchor)
			old := commit(t, a.Store, a.Anchor)
			restore := store.backup(t)
			commit(t, b.Store, b.Anchor)
			seen := commit(t, a.Store, a.Anchor)
			everywhere("the anchor has what others committed, too", at(seen, false))
			newest := store.backup(t)

			restore(t)
			everywhere("the store is refused, and the file says so", at(seen, true))
			everywhere("the file says what was found", func(n *node) error {
				e := must(anchor.Read(n.path))(t)[0]
				if e.Found != old {
					return fmt.Errorf("%+v", e)
				}
				return nil
			})
			for i, n := range nodes {
				if n.ear.has("*true") || !n.ear.has("*false") {
					t.Errorf("node %d heard %v", i, n.ear.heard)
				}
				for what, err := range map[string]error{"holds": n.Holds(), "ready": n.Ready(), "advance": n.Advance(old + 1)} {
					if keybearer.CodeOf(err) != keybearer.StoreUnavailable {
						t.Errorf("node %d: %s: %v", i, what, err)
					}
				}
				if f := n.Diagnose(t.Context()); len(f) != 1 || f[0].Err == nil {
					t.Errorf("node %d: diagnosed: %+v", i, f)
				}
			}
			// Nor is it opened by a server that starts now.
			if err := func() error {
				c, err := anchor.Open(context.Background(), anchor.Config{Path: a.path, Place: "here", Kind: name, Store: a.Store})
				if err == nil {
					_ = c.Close()
				}
				return err
			}(); keybearer.CodeOf(err) != keybearer.StoreUnavailable {
				t.Errorf("opened: %v", err)
			}

			newest(t)
			everywhere("the newest state is served from", func(n *node) error { return n.Holds() })
			everywhere("and the file says so", at(seen, false))
			commit(t, b.Store, b.Anchor)
			everywhere("commits go on", at(seen+1, false))

			restore(t)
			everywhere("the store is refused again", at(seen+1, true))
			must(anchor.Accept(a.path, ""))(t)
			harness.Await(t, "service where the loss was accepted", 15*time.Second, a.Holds)
			if b.Holds() == nil {
				t.Error("the other server serves, too, and nobody has accepted anything there")
			}
			must(anchor.Accept(b.path, ""))(t)
			harness.Await(t, "service on the other server", 15*time.Second, b.Holds)
			if seq := commit(t, b.Store, b.Anchor); seq != old+1 {
				t.Errorf("commit %d", seq)
			}
			everywhere("the anchor begins where the backup ends", at(old+1, false))
		})
	}
}
