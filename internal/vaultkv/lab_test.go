package vaultkv_test

import (
	"context"
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

type role struct{ harness.AppRole }

// home is a path for one store, and roles with the documented rights for it.
type home struct {
	*lab
	path            string
	role, onlyReads role
}

func (l *lab) home(t *testing.T) *home {
	t.Helper()
	h := &home{lab: l, path: "kb-" + strings.TrimPrefix(keybearer.NewID(""), "_")}
	for name, hcl := range l.policies {
		l.Policy(t, h.path+name, strings.ReplaceAll(hcl, "/keybearer/", "/"+h.path+"/"))
	}
	h.role = role{l.AppRole(t, h.path, nil, h.path+"keybearer-kv")}
	h.onlyReads = role{l.AppRole(t, h.path+"-read", nil, h.path+"keybearer-kv-read")}
	return h
}

// config is how a store is opened, with a client of its own.
type config struct {
	vault vaultclient.Config
	vaultkv.Config
}

func (h *home) config(node string) config {
	return config{
		vault:  vaultclient.Config{Address: h.URL, Auth: h.role.auth()},
		Config: vaultkv.Config{Mount: mount, Path: h.path, Node: node},
	}
}

func (r role) auth() vaultclient.Auth {
	return &vaultclient.AppRole{RoleID: r.RoleID, SecretIDFile: r.SecretIDFile}
}

func (c config) open(ctx context.Context) (*vaultkv.Store, error) {
	var err error
	if c.Client, err = vaultclient.New(c.vault); err != nil {
		return nil, err
	}
	return vaultkv.Open(ctx, c.Config)
}

// open opens a store on the path.
func (h *home) open(t *testing.T, node string) *vaultkv.Store {
	t.Helper()
	return openWith(t, h.config(node))
}

func openWith(t *testing.T, c config) *vaultkv.Store {
	t.Helper()
	s, err := c.open(t.Context())
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
