package caddymodule

import _ "embed" // for the Caddyfile

// DefaultCaddyfile is the configuration with every default: the proxy on 127.0.0.1:9080, the admin API on 127.0.0.1:9081. The
// environment may set KEYBEARER_PORT, KEYBEARER_BIND and KEYBEARER_ADMIN_PORT. The repository's Caddyfile is the same text.
//
//go:embed Caddyfile
var DefaultCaddyfile string
