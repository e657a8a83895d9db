// Command keybearer is Caddy with the Keybearer modules built in, and the CLI of both.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
)

func main() { caddycmd.Main() }
