// Command keybearer is Caddy with the Keybearer modules built in, and the command line that manages it.
package main

import (
	"context"
	"os"
)

func main() { os.Exit(newCLI().execute(context.Background(), os.Args[1:])) }
