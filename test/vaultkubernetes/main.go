// Command vaultkubernetes is Vault's Kubernetes auth method as a plugin, at one fixed version, for the tests.
package main

import (
	"fmt"
	"os"

	kubeauth "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault/sdk/plugin"
)

func main() {
	if err := plugin.ServeMultiplex(&plugin.ServeOpts{BackendFactoryFunc: kubeauth.Factory}); err != nil {
		fmt.Fprintln(os.Stderr, "vaultkubernetes:", err)
		os.Exit(1)
	}
}
