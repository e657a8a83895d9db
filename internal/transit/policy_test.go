package transit

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"testing"
)

// Each role may do its work and nothing else, by the policies that stand in docs/vault.md, on the real Vault. These requests are whole, for
// a key that is there and one that is not: a policy that let one through would show.
func TestPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Mount(t, "other", "transit")
	w.Must(t, "POST", "other/keys/there", map[string]any{"derived": true})
	b64 := base64.StdEncoding.EncodeToString([]byte("x"))
	derived := map[string]any{"type": "aes256-gcm96", "derived": true}
	var sealed, elsewhere string
	renew := func() { // what a check that was allowed may have changed
		w.Do(t, "PUT", "keybearer/keys/there/config", map[string]any{"deletion_allowed": true})
		w.Do(t, "DELETE", "keybearer/keys/there", nil)
		w.Must(t, "POST", "keybearer/keys/there", derived)
		seal := map[string]any{"plaintext": b64, "context": b64}
		sealed = w.Must(t, "POST", "keybearer/encrypt/there", seal).Data(t)["ciphertext"].(string)
		elsewhere = w.Must(t, "POST", "other/encrypt/there", seal).Data(t)["ciphertext"].(string)
		w.Must(t, "PUT", "keybearer/keys/there/config", map[string]any{"deletion_allowed": true})
	}
	const (
		nobody  = 0
		data    = 1
		control = 2
		both    = data | control
	)
	checks := 0
	tokens := map[int]string{data: w.Login(t, w.data), control: w.Login(t, w.control)}
	for _, c := range []struct {
		who    int
		method string
		path   string
		body   func() map[string]any
	}{
		{data, "PUT", "keybearer/decrypt/there", func() map[string]any { return map[string]any{"ciphertext": sealed, "context": b64} }},
		{control, "PUT", "keybearer/encrypt/there", func() map[string]any { return map[string]any{"plaintext": b64, "context": b64} }},
		{nobody, "PUT", "keybearer/encrypt/absent", func() map[string]any { return map[string]any{"plaintext": b64, "context": b64} }}, // it would make the key
		{control, "PUT", "keybearer/rewrap/there", func() map[string]any { return map[string]any{"ciphertext": sealed, "context": b64} }},
		{control, "PUT", "keybearer/rewrap/there", func() map[string]any {
			return map[string]any{"batch_input": []any{map[string]any{"ciphertext": sealed, "context": b64}}}
		}},
		{control, "LIST", "keybearer/keys", nil},
		{control, "GET", "keybearer/keys/there", nil},
		{control, "PUT", "keybearer/keys/new", func() map[string]any { return derived }},
		{nobody, "PUT", "keybearer/keys/exportable", with(derived, "exportable", true)},
		{nobody, "PUT", "keybearer/keys/exportable", with(derived, "exportable", false)},
		{nobody, "PUT", "keybearer/keys/backup", with(derived, "allow_plaintext_backup", true)},
		{control, "PUT", "keybearer/keys/there/rotate", nil},
		{control, "PUT", "keybearer/keys/there/config", with(nil, "deletion_allowed", true)},
		{nobody, "PUT", "keybearer/keys/there/config", with(nil, "min_decryption_version", 1)},
		{nobody, "PUT", "keybearer/keys/there/config", with(nil, "exportable", true)},
		{nobody, "PUT", "keybearer/keys/there/config", with(nil, "allow_plaintext_backup", true)},
		{nobody, "PUT", "keybearer/keys/there/config", with(nil, "auto_rotate_period", "24h")},
		{control, "DELETE", "keybearer/keys/there", nil},
		{nobody, "PUT", "keybearer/keys/there/trim", with(nil, "min_available_version", 1)},
		{nobody, "PUT", "keybearer/keys/imported/import", with(nil, "ciphertext", b64)},
		{nobody, "PUT", "keybearer/keys/there/import_version", with(nil, "ciphertext", b64)},
		{nobody, "GET", "keybearer/wrapping_key", nil},
		{nobody, "GET", "keybearer/export/encryption-key/there", nil},
		{nobody, "GET", "keybearer/byok-export/there/there", nil},
		{nobody, "GET", "keybearer/backup/there", nil},
		{nobody, "PUT", "keybearer/restore/restored", with(nil, "backup", b64)},
		{nobody, "PUT", "keybearer/datakey/plaintext/there", with(nil, "context", b64)},
		{nobody, "PUT", "keybearer/datakey/wrapped/there", with(nil, "context", b64)},
		{nobody, "PUT", "keybearer/hmac/there", with(nil, "input", b64)},
		{nobody, "PUT", "keybearer/sign/there", with(nil, "input", b64)},
		{nobody, "PUT", "keybearer/verify/there", with(nil, "input", b64)},
		{control, "GET", "keybearer/config/keys", nil},
		{nobody, "PUT", "keybearer/config/keys", with(nil, "disable_upsert", false)},
		{nobody, "PUT", "keybearer/cache-config", with(nil, "size", 0)},
		{nobody, "PUT", "keybearer/random", nil},
		{both, "GET", "auth/token/lookup-self", nil},
		{both, "PUT", "auth/token/renew-self", nil},
		{nobody, "PUT", "auth/token/create", nil},
		{nobody, "PUT", "auth/token/lookup", with(nil, "token", "x")},
		{nobody, "PUT", "other/decrypt/there", func() map[string]any { return map[string]any{"ciphertext": elsewhere, "context": b64} }},
		{nobody, "PUT", "other/encrypt/there", func() map[string]any { return map[string]any{"plaintext": b64, "context": b64} }},
		{nobody, "LIST", "other/keys", nil},
		{nobody, "GET", "sys/mounts/keybearer", nil},
		{nobody, "PUT", "sys/mounts/keybearer/tune", with(nil, "description", "x")},
		{nobody, "DELETE", "sys/mounts/keybearer", nil},
		{nobody, "PUT", "sys/remount", with(nil, "from", "keybearer")},
		{nobody, "GET", "sys/policies/acl/keybearer-data", nil},
		{nobody, "PUT", "sys/policies/acl/keybearer-data", with(nil, "policy", "")},
		{nobody, "PUT", "auth/approle/role/keybearer-data/secret-id", nil},
		{nobody, "GET", "auth/approle/role/keybearer-control/role-id", nil},
		{nobody, "PUT", "sys/seal", nil},
		{nobody, "GET", "sys/raw/logical", nil},
		{both, "PUT", "auth/token/revoke-self", nil}, // the last
	} {
		for _, role := range []int{data, control} {
			renew()
			checks++
			var body any
			if c.body != nil {
				body = c.body()
			}
			a := w.DoAs(t, tokens[role], c.method, c.path, body)
			switch allowed := c.who&role != 0; {
			case allowed && a.Status >= 300:
				t.Errorf("role %d: %s %s %v: %d %s, want it allowed", role, c.method, c.path, body, a.Status, a.Body)
			case !allowed && a.Status != 403:
				t.Errorf("role %d: %s %s %v: %d %s, want 403", role, c.method, c.path, body, a.Status, a.Body)
			}
		}
	}
	if checks < 58 {
		t.Errorf("only %d checks", checks)
	}
	keys := fmt.Sprint(w.Must(t, "LIST", "keybearer/keys", nil).Data(t)["keys"])
	if keys != "[new there]" {
		t.Errorf("keys are there that nobody was to make: %s", keys)
	}
}

func with(body map[string]any, name string, value any) func() map[string]any {
	return func() map[string]any {
		b := maps.Clone(body)
		if b == nil {
			b = map[string]any{}
		}
		b[name] = value
		return b
	}
}

// The probes of Diagnose are what is tried above, and have no effect on a Vault where everything is allowed.
func TestProbesHaveNoEffect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.open(t)
	for _, name := range []string{"one", "two"} {
		if err := k.CreateKey(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	state := func() string {
		s := string(w.Must(t, "GET", "keybearer/config/keys", nil).Body) + string(w.Must(t, "GET", "keybearer/cache-config", nil).Body)
		for _, key := range w.Must(t, "LIST", "keybearer/keys", nil).Data(t)["keys"].([]any) {
			s += fmt.Sprint(w.Must(t, "GET", "keybearer/keys/"+key.(string), nil).Data(t))
		}
		return requestID.ReplaceAllString(s, "")
	}
	if len(dataLacks) != 25 || len(controlLacks) != 17 {
		t.Errorf("docs/vault.md gives other numbers than %d and %d", len(dataLacks), len(controlLacks))
	}
	before := state()
	root := w.root(t)
	for _, p := range slices.Concat(dataNeeds, dataLacks, controlNeeds, controlLacks) {
		for _, key := range []string{"one", "absent"} {
			path := w.mount + "/" + replaceAll(p.path, "@", key, "$", "absent")
			status, err := root.Probe(t.Context(), p.request(path))
			if err != nil || status == 403 {
				t.Errorf("%s: root got %d, %v", p.name, status, err)
			}
			if got := state(); got != before {
				t.Fatalf("%s (%s %s) had an effect: before\n%s\nafter\n%s", p.name, p.method, path, before, got)
			}
		}
	}
}
