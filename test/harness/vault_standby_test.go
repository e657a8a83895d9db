package harness_test

import (
	"net/http"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// A standby forwards what it is asked, and cannot answer when the active Vault is gone.
func TestStandby(t *testing.T) {
	active := harness.StartVault(t, harness.VaultOptions{Persistent: true})
	standby := harness.StartStandby(t, active)
	standby.Mount(t, "keybearer", "transit")
	if a := active.Do(t, "GET", "sys/mounts/keybearer", nil); a.Status != http.StatusOK {
		t.Fatalf("the active Vault does not know what its standby was told: %d %s", a.Status, a.Body)
	}
	active.Kill()
	if a := standby.Do(t, "GET", "sys/mounts/keybearer", nil); a.Status < 500 && a.Status != http.StatusTemporaryRedirect {
		t.Fatalf("a standby alone answered %d %s", a.Status, a.Body)
	}
	active.StartSealed(t)
	harness.Rejoin(t, active, standby)
	if a := standby.Do(t, "GET", "sys/mounts/keybearer", nil); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
}
