package fleet

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/sqlstore"
	"github.com/keybearer/keybearer/internal/transit"
	"github.com/keybearer/keybearer/internal/vaultclient"
)

// open opens the store, past the servers.
func (f *fleet) open() *sqlstore.Postgres {
	f.t.Helper()
	store, err := sqlstore.OpenPostgres(f.t.Context(), sqlstore.PostgresConfig{DSN: keybearer.NewSecret(f.dsn), Node: "test"})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { store.Close() })
	return store
}

// stock puts so many credentials that billing may use into the scope docs, past the servers, since that is quicker: docs/s0 and so on.
func (f *fleet) stock(t *testing.T, n int) (names []string) {
	t.Helper()
	store := f.open()
	client, err := vaultclient.New(vaultclient.Config{Address: f.vault.URL, Auth: &vaultclient.AppRole{
		RoleID: f.control.RoleID, SecretIDFile: f.control.SecretIDFile,
	}})
	if err != nil {
		t.Fatal(err)
	}
	keyring := transit.New(transit.Config{Mount: "keybearer", Data: client, Control: client})
	defer keyring.Close()
	scope := must(store.Scope(t.Context(), "docs"))(t)
	rule := keybearer.Rule{Scheme: "https", Host: host, Port: 443, Private: true}
	now := time.Now().UTC()
	records := make([]*keybearer.Credential, n)
	var all sync.WaitGroup
	free := make(chan struct{}, 16)
	for i := range records {
		name := fmt.Sprintf("docs/s%d", i)
		names = append(names, name)
		f.allow(name, secretOf(name))
		c := &keybearer.Credential{
			ID: keybearer.NewID(keybearer.IDCredential), ScopeID: scope.ID, Name: name[len("docs/"):], CreatedAt: now, UpdatedAt: now, LastVersion: 1,
			Grants:  []keybearer.Grant{{Subject: "app:billing", Level: keybearer.Use}},
			Current: keybearer.Version{Number: 1, Generation: scope.Key.Generation, CreatedAt: now, Terms: keybearer.Terms{Kind: keybearer.Bearer, Rules: []keybearer.Rule{rule}}},
		}
		records[i] = c
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			bundle := keybearer.Bundle{Terms: c.Current.Terms, Secret: keybearer.NewSecret(secretOf(name))}
			plain, err := bundle.Encode()
			if err != nil {
				t.Error(err)
				return
			}
			sc, err := keybearer.NewSealContext(scope.ID, scope.Key.Generation, c.ID, 1, scope.Key.Share)
			if err == nil {
				c.Current.Sealed, err = keyring.Seal(t.Context(), scope.Key.Name, sc, plain)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for page := range slices.Chunk(records, 500) {
		var b keybearer.Batch
		for _, c := range page {
			b.Writes = append(b.Writes, keybearer.Write{Credential: c})
		}
		must(store.Commit(t.Context(), b))(t)
	}
	return names
}

// stored are the records of a scope's credentials, as they lie in the store.
func stored(t *testing.T, store keybearer.Store, scope string) (all []*keybearer.Credential) {
	t.Helper()
	s := must(store.Scope(t.Context(), scope))(t)
	q := keybearer.Query{ScopeID: s.ID, Deleted: true, AfterID: "0", Limit: 1000}
	for {
		page := must(store.Credentials(t.Context(), q))(t)
		all = append(all, page.Items...)
		if q.AfterID = page.Next; q.AfterID == "" {
			return all
		}
	}
}
