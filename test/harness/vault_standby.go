package harness

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// StartStandby starts a second Vault that joins the first, which must be persistent, as its standby: it forwards what it is
// asked to the active one. When either is gone, none of the two can be active.
func StartStandby(tb TB, active *Vault) *Vault {
	tb.Helper()
	v := &Vault{
		Addr: netip.AddrPortFrom(Address(), 8200), Token: active.Token, unseal: active.unseal,
		options: VaultOptions{Persistent: true}, client: &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	v.URL = "http://" + v.Addr.String()
	tb.Cleanup(v.client.CloseIdleConnections)
	dir := Dir(tb)
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		tb.Fatalf("%v", err)
	}
	v.config = WriteFile(tb, filepath.Join(dir, "vault.hcl"), fmt.Appendf(nil, `storage "raft" {
  path = %q
  node_id = "two"
  performance_multiplier = 1
}
listener "tcp" {
  address = %q
  tls_disable = true
}
api_addr = %q
cluster_addr = "https://%s:8201"
disable_mlock = true
log_level = "warn"
`, data, v.Addr, v.URL, v.Addr.Addr()))
	v.start(tb)
	v.Must(tb, "PUT", "sys/storage/raft/join", map[string]any{"leader_api_addr": active.URL})
	if a := v.Do(tb, "PUT", "sys/unseal", map[string]any{"key": v.unseal}); a.Status != http.StatusOK {
		tb.Fatalf("unseal the standby: %d %s", a.Status, a.Body)
	}
	Await(tb, "the second Vault is a standby", 30*time.Second, func() error {
		if a := v.Do(tb, "GET", "sys/health", nil); a.Status != http.StatusTooManyRequests {
			return fmt.Errorf("health is %d", a.Status)
		}
		return nil
	})
	return v
}

// Rejoin unseals one of two Vaults, which was started again, and waits until either is active and the other its standby.
func Rejoin(tb TB, back, other *Vault) {
	tb.Helper()
	back.Must(tb, "PUT", "sys/unseal", map[string]any{"key": back.unseal})
	Await(tb, "one Vault is active, the other its standby", 60*time.Second, func() error {
		a, b := back.Do(tb, "GET", "sys/health", nil).Status, other.Do(tb, "GET", "sys/health", nil).Status
		if a+b != http.StatusOK+http.StatusTooManyRequests {
			return fmt.Errorf("health is %d and %d", a, b)
		}
		return nil
	})
}
