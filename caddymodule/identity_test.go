package caddymodule

import (
	"os"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/harness"
)

// What identities are made of decides whether a reload makes them anew. A file that they follow does not, and a list of an issuer that has none any
// more does.
func TestReloadMakesIdentitiesAnewThatHaveChanged(t *testing.T) {
	s := newStand(t)
	ca := harness.NewCA(t)
	pem, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	s.write("clients.pem", string(pem))
	s.write("clients.crl", string(ca.Revoke(t, nil)))
	mtls := func(lines string) string {
		return basics + "\n identity mtls {\n trust {env.STAND}/clients.pem\n revoked {env.STAND}/clients.crl\n" + lines + "\n}\n"
	}
	s.mustLoad(mtls("map dns:billing app:billing"), site)
	s.furnish()
	s.works(s.proxy())
	last := current().engine
	for _, c := range []struct {
		what    string
		options string
		change  func()
		anew    bool
	}{
		{"nothing", mtls("map dns:billing app:billing"), nil, false},
		{"a root's file", mtls("map dns:billing app:billing"), func() { s.write("clients.pem", strings.Repeat(string(pem), 2)) }, false},
		{"a mapping", mtls("map dns:billing app:shop"), nil, true},
		{"a revocation list", mtls("map dns:billing app:shop"), func() { s.write("clients.crl", string(harness.NewCA(t).Revoke(t, nil))) }, true},
		{"tokens named", mtls("map dns:billing app:shop") + " identity token", nil, false},
		{"tokens in another place", " identity token\n" + mtls("map dns:billing app:shop"), nil, false},
		{"unix peers", mtls("map dns:billing app:shop") + " identity unix_peer {\n user daemon app:shop\n}", nil, true},
		{"the same user by its number", mtls("map dns:billing app:shop") + " identity unix_peer {\n uid 1 app:shop\n}", nil, false},
		{"tokens off", mtls("map dns:billing app:shop") + " identity token off", nil, true},
	} {
		if c.change != nil {
			c.change()
		}
		s.mustLoad(c.options, site)
		now := current().engine
		if anew := now != last; anew != c.anew {
			t.Errorf("%s: made anew: %v, want %v", c.what, anew, c.anew)
		}
		if now.core != last.core {
			t.Errorf("%s: another core", c.what)
		}
		last = now
	}
}
