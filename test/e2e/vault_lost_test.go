package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// What docs/emergency.md says of a Vault that is lost with its snapshots: the server that still runs exports, and another home with another Vault takes that, waits for its
// secrets and works. The old home does not start with the new Vault.
func TestANewVaultInThePlaceOfOneThatIsLost(t *testing.T) {
	begin := func() (*harness.Vault, string) {
		v := harness.StartVault(t, harness.VaultOptions{})
		data, control := v.Transit(t, "boxes")
		auth := func(r harness.AppRole) string {
			return fmt.Sprintf("auth approle {\n role_id %s\n secret_id_file %s\n}\n", r.RoleID, r.SecretIDFile)
		}
		return v, "keyring vault_transit {\n address " + v.URL + "\n mount boxes\n" + auth(data) + "control {\n" + auth(control) + "}\n}"
	}
	v, options := begin()
	k := harness.StartKeybearer(t, harness.KeybearerOptions{Options: options})
	k.Do(t, "", "scope", "create", "docs")
	k.Do(t, "", "scope", "generate-key", "docs")
	k.Do(t, "s3cret", "credential", "create", "docs/crm", "--kind", "bearer", "--domain", "api.example.com")
	k.Do(t, "", "caller", "create", "billing", "--scope", "docs")
	k.Do(t, "", "grant", "add", "docs/crm", "app:billing", "use")
	v.Stop(t)
	text := k.Do(t, "", "export")
	k.Stop(t)

	_, options = begin()
	k.Configure(t, options, "")
	if err := k.TryStart(t); err == nil || !strings.Contains(err.Error(), "has no key of the store's scopes") {
		t.Fatalf("the old home with the new Vault: %v", err)
	}
	k = harness.StartKeybearer(t, harness.KeybearerOptions{Options: options})
	k.Do(t, text+"\n", "apply", "-f", "-")
	if got := k.Do(t, "", "credential", "list", "--state", "needs_secret", "-o", "name"); got != "docs/crm" {
		t.Errorf("what waits for its secret: %q", got)
	}
	k.Do(t, "n3w", "credential", "set-secret", "docs/crm")
	if k.Do(t, "", "caller", "token", "rotate", "billing") == "" {
		t.Error("the app has no new token")
	}
	k.Do(t, "", "check", "--caller", "app:billing", "docs/crm", "POST", "https://api.example.com/hook")
}
