package vaultkv_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
	"github.com/keybearer/keybearer/internal/vaultkv"
	"github.com/keybearer/keybearer/test/harness"
)

const mount = "secret"

// lab is a real Vault with a KV engine.
type lab struct {
	*harness.Vault
	policies map[string]string // as the documentation has them
}

func newLab(t *testing.T, o harness.VaultOptions) *lab {
	t.Helper()
	l := &lab{harness.StartVault(t, o), harness.DocumentedPolicies(t, "docs/vault-kv.md")}
	l.Mount(t, mount, "kv-v2")
	harness.Await(t, "the KV engine is ready", 10*time.Second, func() error {
		if a := l.Do(t, "PUT", mount+"/data/elsewhere", map[string]any{"data": map[string]any{"a": "1"}}); a.Status != 200 {
			return errors.New(string(a.Body))
		}
		return nil
	})
	return l
}

// home is a path for one store, and roles with the documented rights for it.
type home struct {
	*lab
	path            string
	role, onlyReads harness.AppRole
}

func (l *lab) home(t *testing.T) *home {
	t.Helper()
	h := &home{lab: l, path: "kb-" + strings.TrimPrefix(keybearer.NewID(""), "_")}
	for name, hcl := range l.policies {
		l.Policy(t, h.path+name, strings.ReplaceAll(hcl, "/keybearer/", "/"+h.path+"/"))
	}
	h.role = l.AppRole(t, h.path, nil, h.path+"keybearer-kv")
	h.onlyReads = l.AppRole(t, h.path+"-read", nil, h.path+"keybearer-kv-read")
	return h
}

func (h *home) config(node string) vaultkv.Config {
	return vaultkv.Config{
		Vault: vaultclient.Config{Address: h.URL, Auth: &vaultclient.AppRole{RoleID: h.role.RoleID, SecretIDFile: h.role.SecretIDFile}},
		Mount: mount, Path: h.path, Node: node,
	}
}

// open opens a store on the path.
func (h *home) open(t *testing.T, node string) *vaultkv.Store {
	t.Helper()
	return openWith(t, h.config(node))
}

func openWith(t *testing.T, c vaultkv.Config) *vaultkv.Store {
	t.Helper()
	s, err := vaultkv.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// look has a store look for others' changes now; the machine may be busy.
func look(t *testing.T, s *vaultkv.Store) {
	t.Helper()
	harness.Await(t, "Vault answers", 10*time.Second, s.Look)
}
