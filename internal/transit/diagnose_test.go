package transit

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/vaultclient"
	"github.com/keybearer/keybearer/test/harness"
)

var requestID = regexp.MustCompile(`"request_id":"[^"]*"`)

func replaceAll(s string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(s) }

// root returns a client that may do everything.
func (w *world) root(t *testing.T) *vaultclient.Client {
	t.Helper()
	c, err := vaultclient.New(vaultclient.Config{Address: w.URL, Auth: &vaultclient.TokenFile{Path: harness.WriteFile(t, filepath.Join(t.TempDir(), "token"), []byte(w.Token))}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Where all is as docs/vault.md has it, there is nothing to mend, and Diagnose says what it looked at.
func TestNothingToMend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.open(t)
	for _, state := range []string{"without a key", "with one"} {
		found := k.Diagnose(t.Context())
		for _, f := range found {
			if f.Err != nil {
				t.Errorf("%s: %s: %s (%s)", state, f.Check, f.Detail, f.Err.Advice())
			}
		}
		if len(found) < 10 {
			t.Errorf("%s: only %d findings", state, len(found))
		}
		if state == "without a key" {
			if err := k.CreateKey(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
		}
	}
	only := New(Config{Mount: w.mount, Data: w.client(t, w.data)})
	t.Cleanup(func() { _ = only.Close() })
	for _, f := range only.Diagnose(t.Context()) {
		if f.Err != nil {
			t.Errorf("open only: %s: %s", f.Check, f.Detail)
		}
	}
}

// Each mistake is found, and the hint is the fix.
func TestMistakesAreFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.open(t)
	if err := k.CreateKey(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	policies := harness.DocumentedPolicies(t, "docs/vault.md")
	policy := func(role, from, to string) func() func() {
		return func() func() {
			name, hcl := "keybearer-"+role, policies["keybearer-"+role]
			changed := strings.Replace(hcl, from, to, 1)
			if changed == hcl {
				t.Fatalf("%q is not in the policy", from)
			}
			w.Policy(t, name, changed)
			return func() { w.Policy(t, name, hcl) }
		}
	}
	grant := func(role, rule string) func() func() { return policy(role, "path ", rule+"\npath ") }
	for _, m := range []struct {
		name   string
		make   func() (undo func())
		check  string
		detail string
		hint   string
		warn   bool
	}{
		{"upsert", func() func() {
			w.Must(t, "PUT", "keybearer/config/keys", map[string]any{"disable_upsert": false})
			return func() { w.Must(t, "PUT", "keybearer/config/keys", map[string]any{"disable_upsert": true}) }
		}, "disable_upsert of keybearer", "off", "vault write keybearer/config/keys disable_upsert=true", false},
		{"data may not open", policy("data", `path "keybearer/decrypt/+"`, `path "keybearer/elsewhere/+"`), "rights of the data role", "open secrets", `path "keybearer/decrypt/+" { capabilities = ["update"] }`, false},
		{"data may seal", grant("data", `path "keybearer/encrypt/+" { capabilities = ["update"] }`), "limits of the data role", "seal secrets", "docs/vault.md", false},
		{"data may upsert", grant("data", `path "keybearer/encrypt/+" { capabilities = ["create"] }`), "limits of the data role", "create keys by sealing", "docs/vault.md", false},
		{"data may rewrap", grant("data", `path "keybearer/rewrap/+" { capabilities = ["update"] }`), "limits of the data role", "rewrap secrets", "docs/vault.md", false},
		{"data may read keys", grant("data", `path "keybearer/keys/*" { capabilities = ["read"] }`), "limits of the data role", "read keys", "docs/vault.md", false},
		{"data may do all", grant("data", `path "keybearer/*" { capabilities = ["create", "read", "update", "delete", "list"] }`), "limits of the data role", "export keys", "docs/vault.md", false},
		{"control may open", grant("control", `path "keybearer/decrypt/*" { capabilities = ["update"] }`), "limits of the control role", "open secrets", "docs/vault.md", false},
		{"control may trim", policy("control", `path "keybearer/keys/+/rotate"`, `path "keybearer/keys/+/*" { capabilities = ["update"] }
			path "keybearer/keys/+/rotate"`), "limits of the control role", "trim keys", "docs/vault.md", false},
		{"control may export", grant("control", `path "keybearer/export/*" { capabilities = ["read"] }`), "limits of the control role", "export keys", "docs/vault.md", false},
		{"control may back up", grant("control", `path "keybearer/backup/*" { capabilities = ["read"] }`), "limits of the control role", "back keys up", "docs/vault.md", false},
		{"control may make exportable keys", policy("control", `"exportable" = [], `, ``), "limits of the control role", "create keys that can be exported", "docs/vault.md", false},
		{"control may not seal", policy("control", `path "keybearer/encrypt/+"`, `path "keybearer/elsewhere/+"`), "rights of the control role", "seal secrets", `path "keybearer/encrypt/+" { capabilities = ["update"] }`, false},
		{"control may not delete", policy("control", `"update", "delete"]`, `"update"]`), "rights of the control role", "delete keys", `path "keybearer/keys/+"`, false},
		{"control may not rotate", policy("control", `path "keybearer/keys/+/rotate"`, `path "keybearer/elsewhere/+"`), "rights of the control role", "rotate keys", `path "keybearer/keys/+/rotate"`, false},
		{"control may not allow deletion", policy("control", `path "keybearer/keys/+/config"`, `path "keybearer/elsewhere/+"`), "rights of the control role", "allow the deletion", `allowed_parameters = { "deletion_allowed" = [] }`, false},
		{"control may not see the switch", policy("control", `path "keybearer/config/keys"`, `path "keybearer/elsewhere"`), "disable_upsert of keybearer", "may not look", `path "keybearer/config/keys" { capabilities = ["read"] }`, true},
		{"a foreign key", func() func() {
			w.Must(t, "PUT", "keybearer/keys/a-foreign", map[string]any{"type": "aes256-gcm96", "exportable": true})
			return func() {
				w.Must(t, "PUT", "keybearer/keys/a-foreign/config", map[string]any{"deletion_allowed": true})
				w.Must(t, "DELETE", "keybearer/keys/a-foreign", nil)
			}
		}, "keys of keybearer", "does not bind", "vault read keybearer/keys/a-foreign", true},
		{"an old version is refused", func() func() {
			w.Must(t, "PUT", "keybearer/keys/one/rotate", nil)
			w.Must(t, "PUT", "keybearer/keys/one/config", map[string]any{"min_decryption_version": 2})
			return func() { w.Must(t, "PUT", "keybearer/keys/one/config", map[string]any{"min_decryption_version": 1}) }
		}, "keys of keybearer", "older versions", "min_decryption_version=1", true},
		{"sealed", func() func() { w.Seal(t); return func() { w.Unseal(t) } }, "vault", "sealed", "vault operator unseal", false},
	} {
		t.Run(m.name, func(t *testing.T) {
			undo := m.make()
			found := k.Diagnose(t.Context())
			undo()
			wantFinding(t, found, m.check, m.detail, m.hint, m.warn)
			for _, f := range k.Diagnose(t.Context()) {
				if f.Err != nil {
					t.Errorf("mended, it still finds %s: %s", f.Check, f.Detail)
				}
			}
		})
	}
}

func wantFinding(t *testing.T, found []keybearer.Finding, check, detail, hint string, warn bool) {
	t.Helper()
	for _, f := range found {
		if f.Check == check && f.Err != nil {
			if !strings.Contains(f.Detail, detail) || !strings.Contains(f.Err.Advice(), hint) || f.Warn != warn {
				t.Errorf("%s: %s\nhint %s\nwarning %v; want %q, hint %q, warning %v", check, f.Detail, f.Err.Advice(), f.Warn, detail, hint, warn)
			}
			return
		}
	}
	var all []string
	for _, f := range found {
		all = append(all, fmt.Sprintf("%s: %s", f.Check, f.Detail))
	}
	t.Errorf("no complaint about %s in\n%s", check, strings.Join(all, "\n"))
}

// What is wrong with the configuration rather than with Vault.
func TestWrongConfigurationIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Mount(t, "kv", "kv-v2")
	w.Policy(t, "kv", `path "kv/*" { capabilities = ["read"] }
		path "auth/token/lookup-self" { capabilities = ["read"] }`)
	role := w.AppRole(t, "kv", nil, "kv")
	id := harness.WriteFile(t, filepath.Join(t.TempDir(), "id"), []byte("none"))
	bad := harness.AppRole{RoleID: w.data.RoleID, SecretIDFile: id}
	far, err := vaultclient.New(vaultclient.Config{Address: w.URL, Namespace: "team-a", Auth: &vaultclient.AppRole{RoleID: w.data.RoleID, SecretIDFile: w.data.SecretIDFile}})
	if err != nil {
		t.Fatal(err)
	}
	lost, err := vaultclient.New(vaultclient.Config{Address: w.URL, Auth: &vaultclient.AppRole{Mount: "none", RoleID: w.data.RoleID, SecretIDFile: w.data.SecretIDFile}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config Config
		check  string
		detail string
		hint   string
		warn   bool
	}{
		"no such mount":      {Config{Mount: "none", Data: w.client(t, w.data)}, "mount none", "not there", "vault secrets enable -path=none transit", false},
		"another engine":     {Config{Mount: "kv", Data: w.client(t, role)}, "mount kv", "no transit engine", "vault secrets enable", false},
		"no such auth mount": {Config{Mount: w.mount, Data: lost}, "login of the data role", "refuses the login", "auth method", false},
		"wrong secret id":    {Config{Mount: w.mount, Data: w.client(t, bad)}, "login of the data role", "refuses the login", "secret id", false},
		"wrong control":      {Config{Mount: w.mount, Data: w.client(t, w.data), Control: w.client(t, bad)}, "login of the control role", "refuses the login", "secret id", false},
		"root":               {Config{Mount: w.mount, Data: w.root(t)}, "login of the data role", "root token", "policy of docs/vault.md", false},
		"roles swapped":      {Config{Mount: w.mount, Data: w.client(t, w.control), Control: w.client(t, w.data)}, "limits of the data role", "rewrap secrets", "keybearer-data", false},
		"ignored namespace":  {Config{Mount: w.mount, Data: far}, "namespace team-a", "ignores", "remove namespace", true},
	} {
		t.Run(name, func(t *testing.T) {
			k := New(c.config)
			t.Cleanup(func() { _ = k.Close() })
			wantFinding(t, k.Diagnose(t.Context()), c.check, c.detail, c.hint, c.warn)
		})
	}
}

// A clock that differs is found, whichever goes ahead. Between this Vault and the keyring stands a proxy that changes what time it is.
func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	shift := int64(0)
	k := w.behind(t, nil, func(r *http.Response) error {
		body, err := io.ReadAll(r.Body)
		body = serverTime.ReplaceAllFunc(body, func([]byte) []byte { return fmt.Appendf(nil, `"server_time_utc":%d`, time.Now().Unix()+shift) })
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return err
	})
	for _, shift = range []int64{0, 20, -20} {
		for _, f := range k.Diagnose(t.Context()) {
			if f.Err != nil {
				t.Errorf("%d s apart: %s: %s", shift, f.Check, f.Detail)
			}
		}
	}
	for _, shift = range []int64{40, -40, 3600} {
		wantFinding(t, k.Diagnose(t.Context()), "clock of vault", "differs from this machine's by", "NTP", true)
	}
}

var serverTime = regexp.MustCompile(`"server_time_utc":[0-9]+`)
