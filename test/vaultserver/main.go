// Command vaultserver is HashiCorp Vault itself, built from its own module at one fixed version for the tests.
package main

import (
	"os"

	"github.com/hashicorp/vault/command"
)

func main() { os.Exit(command.Run(os.Args[1:])) }
