package identity_test

import (
	"strings"
	"testing"

	"github.com/keybearer/keybearer"
	"github.com/keybearer/keybearer/internal/identity"
)

func TestAPeerProvesTheCallerOfItsUserOrGroup(t *testing.T) {
	const self = 1500
	p, err := identity.NewPeers(named{}, map[uint32]string{1001: "billing", 1002: "shop"}, map[uint32]string{2000: "shop", 2001: "billing"}, self)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		uid, gid uint32
		want     string
	}{
		{1001, 1001, "billing"},
		{1002, 7, "shop"},
		{1003, 2000, "shop"},
		{1003, 1001, "nobody"}, // a gid is no uid
		{2000, 1001, "nobody"},
		{1001, 2001, "billing"},
		{1001, 2000, "refused"},
		{1002, 2000, "shop"},
		{0, 2000, "nobody"},
		{self, 2000, "nobody"},
		{65534, 2000, "nobody"}, // of another user namespace
		{1 << 31, 1 << 31, "nobody"},
	} {
		if got := who(t, p, &keybearer.Evidence{Peer: &keybearer.PeerCredentials{PID: 1, UID: c.uid, GID: c.gid}}); got != c.want {
			t.Errorf("uid %d, gid %d: %s, want %s", c.uid, c.gid, got, c.want)
		}
	}
	if got := who(t, p, &keybearer.Evidence{Fixed: "billing"}); got != "nobody" {
		t.Errorf("no unix socket: %s", got)
	}
}

func TestRootAndTheServerItselfAreNobodysCaller(t *testing.T) {
	const self = 1500
	for name, c := range map[string]struct {
		uids, gids map[uint32]string
		want       string
	}{
		"root":                  {map[uint32]string{0: "billing"}, nil, "root"},
		"the server":            {map[uint32]string{self: "billing"}, nil, "server's own"},
		"another namespace":     {map[uint32]string{65534: "billing"}, nil, "user namespace"},
		"root's group":          {nil, map[uint32]string{0: "billing"}, "root's group"},
		"another's group":       {nil, map[uint32]string{65534: "billing"}, "user namespace"},
		"one right, one wrong":  {map[uint32]string{1001: "billing", 0: "shop"}, nil, "root"},
		"right by uid, not gid": {map[uint32]string{1001: "billing"}, map[uint32]string{0: "billing"}, "root's group"},
	} {
		_, err := identity.NewPeers(named{}, c.uids, c.gids, self)
		e := keybearer.AsError(err)
		if e == nil || e.Code != keybearer.Invalid || e.Hint == "" || !strings.Contains(e.Detail, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
