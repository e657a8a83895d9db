package browser

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"github.com/keybearer/keybearer/test/browser/play"
	"github.com/keybearer/keybearer/test/harness"
)

func TestWhoSignsInComesToThePageThatTheyWanted(t *testing.T) {
	w := newWorld(t)
	elsewhere := netip.AddrPortFrom(harness.Address(), 80)
	harness.StartNginxConfig(t, harness.Command{Name: "nginx-elsewhere"}, elsewhere, fmt.Sprintf(`
		server {
			listen %s;
			location / {
				default_type text/html;
				return 200 '<!doctype html><html lang="en"><title>Elsewhere</title><a href="http://%[2]s/credentials">Look</a>
					<form method="post" action="http://%[2]s/sign-out"><button>Win</button></form></html>';
			}
		}`, elsewhere, w.Admin))
	w.play("sign_in", map[string]any{"elsewhere": "http://" + elsewhere.Addr().String() + "/"}, map[string]play.Call{
		"restart": func([]json.RawMessage) (any, error) {
			w.Restart(t)
			return nil, nil
		},
	})
}
