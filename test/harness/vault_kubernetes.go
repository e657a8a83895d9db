package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
)

// vaultPlugins returns the directory with the plugin that test/setup builds.
func vaultPlugins(tb TB) string {
	tb.Helper()
	return filepath.Join(filepath.Dir(VaultBinary(tb)), "vault-plugins-"+vaultVersion)
}

// registerKubernetes makes the plugin known to Vault, under the name of the method that other builds of Vault have built in.
func (v *Vault) registerKubernetes(tb TB) {
	tb.Helper()
	const name = "kubernetes"
	content, err := os.ReadFile(filepath.Join(vaultPlugins(tb), name))
	if err != nil {
		tb.Fatalf("Vault's Kubernetes auth method is not built: %v; run make setup", err)
	}
	sum := sha256.Sum256(content)
	v.Must(tb, "PUT", "sys/plugins/catalog/auth/"+name, map[string]any{"sha256": hex.EncodeToString(sum[:]), "command": name})
}
