package browser

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/keybearer/keybearer/test/browser/play"
	"github.com/keybearer/keybearer/test/harness"
)

// The first page is as it should be, and the others have something wrong with them, one each. %s is another origin.
var badPages = map[string]string{
	"sound":       `<h1>Sound</h1><noscript><p>scripts are off</p></noscript>`,
	"axe":         `<h1>No text for the picture</h1><img src="/dot.svg">`,
	"contrast":    `<h1>Pale</h1><p class="pale">hardly to be read</p>`,
	"overflow":    `<h1>Wide</h1><p class="wide">wider than any window</p>`,
	"inline":      `<h1>Inline</h1><script>window.ran = true</script>`,
	"handler":     `<h1>Handler</h1><p onclick="window.ran = true">a handler in the markup</p>`,
	"foreign":     `<h1>Foreign</h1><img alt="" src="%s/dot.svg">`,
	"missing":     `<h1>Missing</h1><img alt="" src="/none.svg">`,
	"script":      `<h1>Error</h1><script src="/throw.js"></script>`,
	"console":     `<h1>Console</h1><script src="/complain.js"></script>`,
	"dialog":      `<h1>Dialog</h1><script src="/alert.js"></script>`,
	"secret":      `<h1>Secret</h1><input type="hidden" value="planted-secret">`,
	"form-secret": `<h1>Form</h1><label>Secret <textarea>planted-secret</textarea></label>`,
}

// A harness that finds nothing is worth nothing: nginx serves pages that are wrong, and each is found with what is wrong with it, with
// JavaScript and without.
func TestABadPageIsFound(t *testing.T) {
	here, elsewhere := netip.AddrPortFrom(harness.Address(), 80), netip.AddrPortFrom(harness.Address(), 80)
	var locations strings.Builder
	for name, body := range badPages {
		if strings.Contains(body, "%s") {
			body = fmt.Sprintf(body, "http://"+elsewhere.Addr().String())
		}
		fmt.Fprintf(&locations, "location = /%s { default_type text/html; return 200 '<!doctype html><html lang=\"en\"><title>%s</title><link rel=\"icon\" href=\"/dot.svg\"><link rel=\"stylesheet\" href=\"/page.css\"><main>%s</main></html>'; }\n", name, name, body)
	}
	harness.StartNginxConfig(t, harness.Command{Name: "nginx-pages"}, here, fmt.Sprintf(`
		server {
			listen %s;
			listen %s;
			add_header Content-Security-Policy "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' http://%s" always;
			charset utf-8;
			location = /dot.svg { default_type image/svg+xml; return 200 '<svg xmlns="http://www.w3.org/2000/svg"/>'; }
			location = /page.css { default_type text/css; return 200 'body { background: #fff; color: #000 } .pale { color: #ddd } .wide { width: 3000px }'; }
			location = /throw.js { default_type text/javascript; return 200 'undefinedFunction()'; }
			location = /complain.js { default_type text/javascript; return 200 'console.error("complaint")'; }
			location = /alert.js { default_type text/javascript; return 200 'alert("look")'; }
			location / { return 404; }
			%s
		}`, here, elsewhere, elsewhere.Addr(), &locations))
	play.Play(t, play.Plan{Flow: "browser/flows/bad.mjs", URL: "http://" + here.Addr().String(), Secrets: []string{"planted-secret"}}, nil)
}

// The admin listener serves the browser, the proxy serves the app, and a flow reaches both.
func TestAFlowReachesTheBrowserTheProxyAndTheCommandLine(t *testing.T) {
	newWorld(t).play("reach", nil, nil)
}
