package vaultclient

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keybearer/keybearer/test/harness"
)

// world is a Vault with one secret that the role "reader" may read, and nothing else.
type world struct {
	*harness.Vault
	role harness.AppRole
}

const readerPolicy = `
path "kv/data/*" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
`

func newWorld(t *testing.T, o harness.VaultOptions, settings map[string]any) *world {
	t.Helper()
	v := harness.StartVault(t, o)
	v.Mount(t, "kv", "kv-v2")
	v.Policy(t, "reader", readerPolicy)
	harness.Await(t, "KV is ready", 10*time.Second, func() error {
		if a := v.Do(t, "PUT", "kv/data/one", map[string]any{"data": map[string]any{"a": "1"}}); a.Status != 200 {
			return errors.New(string(a.Body))
		}
		return nil
	})
	return &world{v, v.AppRole(t, "reader", settings, "reader")}
}

func (w *world) config() Config {
	return Config{Address: w.URL, Auth: &AppRole{RoleID: w.role.RoleID, SecretIDFile: w.role.SecretIDFile}}
}

func newClient(t *testing.T, c Config) *Client {
	t.Helper()
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// reads checks that the secret can be read.
func reads(t *testing.T, c *Client) {
	t.Helper()
	if err := read(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func read(ctx context.Context, c *Client) error {
	s, err := c.Read(ctx, "kv/data/one")
	if err != nil {
		return err
	}
	if got := s.Data["data"].(map[string]any)["a"]; got != "1" {
		return errors.New("another secret")
	}
	return nil
}

func TestReadsAndRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, harness.VaultOptions{}, nil)
	c := newClient(t, w.config())
	reads(t, c)
	if s, err := c.Read(t.Context(), "kv/data/none"); Status(err) != 404 || Away(err) || s != nil {
		t.Errorf("an absent secret: %v, %v", s, err)
	}
	if _, err := c.Write(t.Context(), "kv/data/one", map[string]any{}); Status(err) != 403 || Away(err) {
		t.Errorf("a write without the right: %v", err)
	}
	reads(t, c)
}
