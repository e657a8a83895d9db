package main

import (
	"fmt"
	"strings"

	"github.com/keybearer/keybearer/test/harness"
)

// startKeybearer sets up the whole decision: a caller with a token and a grant, a destination rule, the audit log. The request
// is in proxy mode.
func startKeybearer(b *run, s site, name string) *contender {
	dns := harness.StartDNS(b)
	dns.Set(host, s.destination.Addr())
	k := harness.StartKeybearer(b, harness.KeybearerOptions{
		CPU:     s.cpu,
		Options: fmt.Sprintf("trust %s\nallow_private 127.0.0.0/8\nresolver %s", s.ca.File, dns.Addr),
	})
	k.Do(b, "", "scope", "create", "bench")
	k.Do(b, "", "scope", "generate-key", "bench")
	k.Do(b, strings.TrimPrefix(authorization, "Bearer "), "credential", "create", "bench/hook", "--kind", "bearer", "--domain", host, "--private")
	token := k.Do(b, "", "caller", "create", "bench", "--scope", "bench")
	k.Do(b, "", "grant", "add", "bench/hook", "app:bench", "use")
	return &contender{
		name, k.Process, k.Proxy,
		post("http://"+host+"/hook", "Keybearer-Credential: bench/hook", "Proxy-Authorization: Bearer "+token),
	}
}
