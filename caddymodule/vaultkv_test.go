package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/test/harness"
)

// With the records in KV and the keys in Transit a request goes through, a revocation holds, and a restart finds all as it was; on this machine there
// is nothing but the audit log and the node's name.
func TestEverythingInVault(t *testing.T) {
	s := newStand(t)
	v := harness.StartVault(t, harness.VaultOptions{})
	data, control := v.Transit(t, "boxes")
	typed := harness.DocumentedCommands(t, "docs/vault-kv.md")
	v.Type(t, s.dir, typed[0])
	harness.Await(t, "the KV engine is ready", 10*time.Second, func() error {
		if a := v.Do(t, "PUT", "secret/data/elsewhere", map[string]any{"data": map[string]any{"a": "1"}}); a.Status != 200 {
			return errors.New(string(a.Body))
		}
		return nil
	})
	v.Policy(t, "keybearer-kv", harness.DocumentedPolicies(t, "docs/vault-kv.md")["keybearer-kv"])
	records := v.AppRole(t, "records", nil, "keybearer-kv")
	auth := func(r harness.AppRole) string {
		return fmt.Sprintf("auth approle {\n role_id %s\n secret_id_file %s\n}\n", r.RoleID, r.SecretIDFile)
	}
	options := basics + "\nstore vault_kv {\n address " + v.URL + "\n" + auth(records) + "}\n" +
		"keyring vault_transit {\n address " + v.URL + "\n mount boxes\n" + auth(data) + "control {\n" + auth(control) + "}\n}\n"
	s.mustLoad(options, site)
	s.furnish()
	s.works(s.proxy())
	if index := v.Type(t, s.dir, strings.Join(typed[1:], "")); !strings.Contains(index, "{") {
		t.Errorf("the index as the page reads it:\n%s", index)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	retired.Wait()
	s.mustLoad(options, site)
	s.works(s.proxy())

	if _, err := s.admin().RemoveGrant(t.Context(), keybearer.Ref{Scope: "docs", Name: "crm"}, keybearer.AppSubject("billing")); err != nil {
		t.Fatal(err)
	}
	tr := transport(s.proxy())
	defer tr.CloseIdleConnections()
	if res, body := s.send(tr, s.request("POST", "hello")); res.StatusCode != 403 {
		t.Errorf("after the grant was removed: %s %s", res.Status, body)
	}
	audit, err := os.ReadFile(filepath.Join(s.dir, "kb", "audit.jsonl"))
	if err != nil || strings.Count(string(audit), `"action":"credential.create"`) != 1 {
		t.Errorf("the audit log, %v:\n%s", err, audit)
	}
	for _, name := range []string{"keybearer.db", "keyring.key"} {
		if _, err := os.Stat(filepath.Join(s.dir, "kb", name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	if info, err := os.Stat(filepath.Join(s.dir, "kb", "node")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("node: %v, %v", info, err)
	}
}
