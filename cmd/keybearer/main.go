// Command keybearer is Caddy with the Keybearer modules built in, and the command line that manages it.
package main

import (
	"context"
	"os"

	"github.com/keybearer/keybearer/internal/process"
)

func main() {
	_ = process.Harden() // any command may hold a secret; doctor tells what could not be done
	os.Exit(newCLI().execute(context.Background(), os.Args[1:]))
}
