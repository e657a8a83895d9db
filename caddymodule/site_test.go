package caddymodule

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
)

func TestOpenAddresses(t *testing.T) {
	server := &caddyhttp.Server{Listen: []string{
		":9080", "0.0.0.0:9081", "[::]:9082", "127.0.0.1:9083", "[::1]:9084", "10.1.2.3:9085", "localhost:9086", "unix//run/x.sock", "tcp4/:9087",
	}}
	want := []string{":9080", "0.0.0.0:9081", "[::]:9082", "tcp4/:9087"}
	if d := cmp.Diff(want, open(server)); d != "" {
		t.Error(d)
	}
	shareListeners(server)
	if d := cmp.Diff(want, open(server)); d != "" {
		t.Errorf("on our networks: %s", d)
	}
	for i, address := range server.Listen {
		if na, err := listenAddress(address); err != nil || na.Network == "" || na.Network[0] == 's' {
			t.Errorf("%d: %s is read as %+v, %v", i, address, na, err)
		}
	}
}

func TestTheHeadOfARequestIsNotWaitedForLong(t *testing.T) {
	for set, want := range map[caddy.Duration]caddy.Duration{0: headerTime, caddy.Duration(time.Hour): caddy.Duration(time.Hour)} {
		server := &caddyhttp.Server{ReadHeaderTimeout: set}
		if settle(server); server.ReadHeaderTimeout != want {
			t.Errorf("%v became %v", set, server.ReadHeaderTimeout)
		}
	}
}
