// Command keybearer is Caddy with the Keybearer modules built in, and the command line that manages it.
package main

import "os"

func main() { os.Exit(newCLI().execute(os.Args[1:])) }
